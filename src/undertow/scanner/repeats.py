"""Rows that repeat each other, or mirror each other: found in the sketches, so that no tensor is read again."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from undertow.scanner.evidence import FEWEST
from undertow.scanner.statistics import Statistics
from undertow.types import Array

NEAR = 0.99  # cosine of two sketches that counts as the same direction
ALIVE = 1e-4  # of the largest row, below which a row says nothing
ALL = 2048  # rows up to which every pair is compared
ORDERS = 4  # beyond: random orders in which each row is compared with the next WINDOW ones
WINDOW = 4
TOGETHER = 64  # rows that are compared at once
ROUNDING = 1e-5  # of a cosine in float32, at most
Pairs = tuple[Array, Array]
_NONE: Pairs = (np.empty(0, np.int64), np.empty(0, np.int64))


def groups(one: Statistics) -> list[Array]:
    """Row indices of groups of two and more rows that point in nearly the same direction."""
    near = _near(one)
    return [near.alive[group] for group in _connected(len(near.alive), *near.same)]


def mirrored(one: Statistics) -> Array:
    """(n, 2) row indices of pairs that are nearly each other's negative."""
    near = _near(one)
    pairs: Array = near.alive[np.stack(near.opposite, 1)]
    return pairs


@dataclass(frozen=True, eq=False)
class _Near:
    """Pairs of rows by their places in `alive`, the first below the second."""

    alive: Array  # (A,) row indices
    same: Pairs
    opposite: Pairs


_SEEN: WeakKeyDictionary[Statistics, _Near] = WeakKeyDictionary()  # several tests ask for the pairs of one matrix


def _near(one: Statistics) -> _Near:
    """The pairs of rows that point in nearly the same or the opposite direction."""
    if one not in _SEEN:
        alive, unit = _directions(one)
        if len(alive) < FEWEST:
            _SEEN[one] = _Near(alive[:0], _NONE, _NONE)
        elif len(alive) <= ALL:
            _SEEN[one] = _Near(alive, *_every_pair(unit))
        else:
            _SEEN[one] = _Near(alive, _ordered(unit, 1.0), _ordered(unit, -1.0))
    return _SEEN[one]


def _directions(one: Statistics) -> tuple[Array, Array]:
    size = np.linalg.norm(one.sketch.astype(np.float64), axis=1)
    alive = np.flatnonzero(one.norm > ALIVE * max(1e-30, float(one.norm.max(initial=0))))
    alive = alive[size[alive] > 0] if one.sketch.shape[1] >= FEWEST else alive[:0]
    return alive, one.sketch[alive] / size[alive, None]


def _ordered(unit: Array, sign: float) -> Pairs:
    """Of many rows: each against the next few in some orders."""
    count, found = len(unit), [np.empty(0, np.int64)]
    for axis in range(ORDERS):
        order = np.argsort(np.abs(unit[:, axis]) if sign < 0 else unit[:, axis], kind="stable")
        for shift in range(1, WINDOW + 1):
            a, b = order[:-shift], order[shift:]
            near = sign * np.einsum("ij,ij->i", unit[a], unit[b]) > NEAR
            found.append(np.minimum(a[near], b[near]) * count + np.maximum(a[near], b[near]))
    keys = np.unique(np.concatenate(found))
    return keys // count, keys % count


def _every_pair(unit: Array) -> tuple[Pairs, Pairs]:
    """(pairs in the same direction, in the opposite one), a few rows against those behind them at a time: the products
    of all would not stay in the cache. Products in float32 leave out what is far from NEAR; float64 decides the rest.
    """
    short, found = unit.astype(np.float32), []
    columns = np.ascontiguousarray(short.T)
    for start in range(0, len(unit), TOGETHER):
        cosine = short[start : start + TOGETHER] @ columns[:, start:]
        np.fill_diagonal(cosine, 0)
        if max(cosine.max(), -cosine.min()) > NEAR - ROUNDING:
            a, b = np.nonzero(np.abs(cosine) > NEAR - ROUNDING)
            found.append(start + np.stack([a, b])[:, b > a])
    if not found:
        return _NONE, _NONE
    first, second = np.concatenate(found, 1)
    exact = np.einsum("ij,ij->i", unit[first], unit[second])
    same, opposite = exact > NEAR, exact < -NEAR
    return (first[same], second[same]), (first[opposite], second[opposite])


def _connected(count: int, first: Array, second: Array) -> list[Array]:
    """The connected sets of more than one of `count` points."""
    if not len(first):
        return []
    label, changed = np.arange(count), True
    while changed:
        low = np.minimum(label[first], label[second])
        before = label.copy()
        np.minimum.at(label, first, low)
        np.minimum.at(label, second, low)
        changed = bool((label != before).any())
    touched = np.unique(np.concatenate([first, second]))
    return [touched[label[touched] == one] for one in np.unique(label[touched])]
