"""Rows that repeat each other, or mirror each other: found in the sketches, so that no tensor is read again."""

import numpy as np

from undertow.scanner.evidence import FEWEST
from undertow.scanner.statistics import Statistics
from undertow.types import Array

NEAR = 0.99  # cosine of two sketches that counts as the same direction
ALIVE = 1e-4  # of the largest row, below which a row says nothing
ALL = 2048  # rows up to which every pair is compared
ORDERS = 4  # beyond: random orders in which each row is compared with the next WINDOW ones
WINDOW = 4
TOGETHER = 128  # rows that are compared at once


def groups(one: Statistics) -> list[Array]:
    """Row indices of groups of two and more rows that point in nearly the same direction."""
    alive, unit = _directions(one)
    if len(alive) < FEWEST:
        return []
    first, second = _pairs(unit, 1.0)
    return [alive[group] for group in _connected(len(alive), first, second)]


def mirrored(one: Statistics) -> Array:
    """(n, 2) row indices of pairs that are nearly each other's negative."""
    alive, unit = _directions(one)
    if len(alive) < FEWEST:
        return np.empty((0, 2), int)
    pairs: Array = alive[np.stack(_pairs(unit, -1.0), 1)]
    return pairs


def _directions(one: Statistics) -> tuple[Array, Array]:
    size = np.linalg.norm(one.sketch.astype(np.float64), axis=1)
    alive = np.flatnonzero(one.norm > ALIVE * max(1e-30, float(one.norm.max(initial=0))))
    alive = alive[size[alive] > 0] if one.sketch.shape[1] >= FEWEST else alive[:0]
    return alive, one.sketch[alive] / size[alive, None]


def _pairs(unit: Array, sign: float) -> tuple[Array, Array]:
    if len(unit) <= ALL:
        return _every_pair(unit, sign)
    count, found = len(unit), [np.empty(0, np.int64)]
    for axis in range(ORDERS):
        order = np.argsort(np.abs(unit[:, axis]) if sign < 0 else unit[:, axis], kind="stable")
        for shift in range(1, WINDOW + 1):
            a, b = order[:-shift], order[shift:]
            near = sign * np.einsum("ij,ij->i", unit[a], unit[b]) > NEAR
            found.append(np.minimum(a[near], b[near]) * count + np.maximum(a[near], b[near]))
    keys = np.unique(np.concatenate(found))
    return keys // count, keys % count


def _every_pair(unit: Array, sign: float) -> tuple[Array, Array]:
    """All pairs, a few rows against those behind them at a time: the products of all would not stay in the cache."""
    first, second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(unit), TOGETHER):
        cosine = unit[start : start + TOGETHER] @ unit[start:].T
        a, b = np.nonzero(cosine > NEAR if sign > 0 else cosine < -NEAR)
        first.append(start + a[b > a])
        second.append(start + b[b > a])
    return np.concatenate(first), np.concatenate(second)


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
