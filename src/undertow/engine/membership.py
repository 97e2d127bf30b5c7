"""What a membership matrix (M models, N points) tells of the design it came from, and what that asks of an attack.

A model that is attacked by the others must not be told its own membership by what was left out with it: in a design
whose columns have a fixed sum, the counts of the rest give it away (null AUC .45 at 8 models).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from undertow.types import Array

NOBODY = -1
UNEVEN = 0.001  # probability that independent rows are called uneven


def complements(member: Array) -> Array:
    """For each model the index of a model with exactly the opposite membership, (M,) int; -1 where there is none.

    Every model is in at most one pair.
    """
    rows = [row.tobytes() for row in np.packbits(member, axis=1)]
    opposite = [row.tobytes() for row in np.packbits(~member, axis=1)]
    waiting: dict[bytes, list[int]] = {}
    partner = np.full(len(member), NOBODY)
    for m in range(len(member)):
        if waiting.get(opposite[m]):
            other = waiting[opposite[m]].pop(0)
            partner[m], partner[other] = other, m
        else:
            waiting.setdefault(rows[m], []).append(m)
    return partner


def balanced(member: Array) -> bool:
    """Whether every point is IN the same number of models although some models have no complement.

    k-fold splits, and designs that deal each point to exactly half of the models.
    """
    inside = member.sum(0)
    fixed = len(member) > 2 and bool((inside == inside[0]).all()) and 0 < inside[0] < len(member)
    return fixed and bool((complements(member) < 0).any())


def left_out(member: Array, rng: np.random.Generator) -> Array:
    """Which model is left out beside target m at point q, (M, N) int; NOBODY where there is none.

    With a complement: the complement. Balanced columns without complements: at each point a random model of the
    *other* side, so that as many IN and OUT models remain whatever the target is. Independent rows: nobody, since
    leaving out an opposite would itself give the target's membership away.
    """
    count, points = member.shape
    partner = complements(member)
    out = np.repeat(partner[:, None], points, 1)
    if not balanced(member):
        return out
    key, alone = rng.random((count, points)), (partner < 0)[:, None]
    for side in (True, False):
        others = np.argsort(np.where(member == side, np.inf, key), 0)  # models of the other side first, shuffled
        size = (member != side).sum(0)
        turn = np.cumsum(member == side, 0) - 1  # spread over the other side: a matching where sizes agree
        pick = np.take_along_axis(others, turn % size, 0)
        out = np.where(alone & (member == side), pick, out)
    return out


def remaining(member: Array, out: Array) -> tuple[Array, Array]:
    """How few IN and OUT models remain at each point, (N,) int each: the fewest over all targets."""
    someone = out != NOBODY
    gone = np.take_along_axis(member, np.maximum(out, 0), 0)
    inside = member.sum(0) - member - (gone & someone)
    outside = (~member).sum(0) - ~member - (~gone & someone)
    return inside.min(0), outside.min(0)


def redraw(member: Array, rng: np.random.Generator, groups: Array | None = None) -> Array:
    """Another membership matrix of the same design: the columns are dealt to the points again, (M, N) bool.

    Complements, sizes of rows, folds, alike rows and how often points are IN stay as they are, so that one rule
    serves every design. Exact where membership was dealt to points at random. Where all points of a group have one
    column (members by person), columns are dealt to groups.
    """
    points = member.shape[1]
    if groups is None:
        return member[:, rng.permutation(points)]
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    if (member[:, first[group]] != member).any():
        return member[:, rng.permutation(points)]
    return member[:, first[rng.permutation(len(first))][group]]


def uneven(member: Array) -> bool:
    """Whether points differ in how often they are IN by more than independent rows would.

    The other models' membership then foretells the target's, and a shadow attack beats .5 without any leak.
    """
    models, points = member.shape
    inside = member.sum(0)
    share = inside.mean() / models
    if models < 2 or points < 2 or not 0 < share < 1:
        return False
    return bool(inside.var() * points / (models * share * (1 - share)) > chi2.ppf(1 - UNEVEN, points - 1))


@dataclass(frozen=True, eq=False)
class Fold:
    """Which models are attacked, and which the attack may learn from."""

    targets: Array  # (t,) int
    shadows: Array  # (s,) int; never a target


def held_out_targets(targets: Sequence[int], count: int) -> Fold:
    """The given models, attacked together by all the others."""
    held = np.unique(np.asarray(targets, int))
    return Fold(held, np.setdiff1d(np.arange(count), held))


def folds(member: Array) -> list[Fold]:
    """Each model in turn, with its complement where it has one: what an attack that knows no shortcut must run."""
    count = len(member)
    partner = complements(member)
    done: set[int] = set()
    result = []
    for m in range(count):
        if m in done:
            continue
        group = np.array(sorted({m, int(partner[m])} if partner[m] >= 0 else {m}))
        done.update(int(g) for g in group)
        result.append(Fold(group, np.setdiff1d(np.arange(count), group)))
    return result
