"""What a membership matrix (M models, N points) tells of the design it came from, and what that asks of an attack.

A model that is attacked by the others must not be told its own membership by what was left out with it: in a design
whose columns have a fixed sum, the counts of the rest give it away (null AUC .45 at 8 models).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from undertow.left_out import NOBODY, LeftOut
from undertow.types import Array

UNEVEN = 0.001  # probability that independent rows are called uneven
COLUMNS = 2000  # looked at to find which models share no point


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


def blocks(member: Array) -> Array:
    """Models that are left out together, (M,) int: complementary pairs, and the folds of one cross-validation.

    The models of a block have one column sum, so that the counts of the others say nothing of a target. And what the
    models of one repeat share (the same folds) must not tell its membership either.
    """
    partner = complements(member)
    block = np.where(partner >= 0, np.minimum(np.arange(len(member)), partner), np.arange(len(member)))
    alone = np.flatnonzero(partner < 0)
    for side in (False, True):
        for models in _partitions(member[alone] == side):
            block[alone[models]] = alone[models[0]]
    return block


def _partitions(sets: Array) -> list[Array]:
    """Groups of rows of `sets` (M, N) bool that part the points among them: every point in exactly one."""
    count = len(sets)
    size = sets.sum(1)
    if count < 3 or not size.all():
        return []
    parts = round(sets.shape[1] / float(np.median(size)))
    in_order = [np.arange(i, i + parts) for i in range(0, count - parts + 1, parts)] if parts > 2 else []
    if in_order and all((sets[models].sum(0) == 1).all() for models in in_order) and count % parts == 0:
        return in_order
    some = sets[:, :: max(1, sets.shape[1] // COLUMNS)].astype(np.float32)
    apart = some @ some.T == 0
    found, seen = [], np.zeros(count, bool)
    for i in range(count):
        models = np.flatnonzero(apart[i] & ~seen)
        models = np.append(models, i) if not seen[i] else models[:0]
        if len(models) > 2 and (sets[models].sum(0) == 1).all():
            found.append(np.sort(models))
            seen[models] = True
    return found


def balanced(member: Array) -> bool:
    """Whether models that belong to no block have one column sum: every point was dealt to as many of them.

    Nobody can be left out with such a target once and for all; at each point it is another one.
    """
    block = blocks(member)
    alone = np.bincount(block, minlength=len(member))[block] == 1
    inside = member[alone].sum(0)
    return bool(alone.sum() > 2 and (inside == inside[0]).all() and 0 < inside[0] < alone.sum())


def left_out(member: Array, rng: np.random.Generator) -> LeftOut:
    """Who is left out with each target.

    With a block (a complement, the folds of one repeat): the block. Balanced columns without blocks: at each point a
    random model of the *other* side, so that as many IN and OUT models remain whatever the target is. Independent
    rows: nobody, since leaving out an opposite would itself give the target's membership away.
    """
    block = blocks(member)
    if not balanced(member):
        return LeftOut(block)
    alone = np.flatnonzero(np.bincount(block, minlength=len(member))[block] == 1)
    beside = np.full(member.shape, NOBODY)
    beside[alone] = alone[_opposites(member[alone], rng)]
    return LeftOut(block, beside)


def _opposites(member: Array, rng: np.random.Generator) -> Array:
    """At each point for each model a random model of the other side, (M, N) int: a matching where sizes agree."""
    key = rng.random(member.shape)
    result = np.empty(member.shape, int)
    for side in (True, False):
        others = np.argsort(np.where(member == side, np.inf, key), 0)  # models of the other side first, shuffled
        turn = np.cumsum(member == side, 0) - 1
        pick = np.take_along_axis(others, turn % (member != side).sum(0), 0)
        result = np.where(member == side, pick, result)
    return result


def remaining(member: Array, out: LeftOut) -> tuple[Array, Array]:
    """How many IN and OUT models remain for every target at every point, (M, N) int each."""
    return out.rest(member.astype(int)), out.rest((~member).astype(int))


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
    if models < 2 or points < 2 or member.all() or not member.any():
        return False
    inside = member.sum(0)
    share = inside.mean() / models
    return bool(inside.var() * points / (models * share * (1 - share)) > chi2.ppf(1 - UNEVEN, points - 1))


@dataclass(frozen=True, eq=False)
class Fold:
    """Which models are attacked, and which the attack may learn from."""

    targets: Array  # (t,) int
    shadows: Array  # (s,) int; never a target


def held_out_targets(targets: Sequence[int], member: Array) -> Fold:
    """The given models, attacked together by all the others that are in no block of theirs.

    A complement among the shadows would say what the target was: all columns of a design in pairs have one sum.
    """
    held = np.unique(np.asarray(targets, int))
    block = blocks(member)
    return Fold(held, np.flatnonzero(~np.isin(block, block[held])))


def folds(member: Array) -> list[Fold]:
    """Each block in turn, attacked by the models of all other blocks."""
    block, everyone = blocks(member), np.arange(len(member))
    return [Fold(np.flatnonzero(block == b), everyone[block != b]) for b in dict.fromkeys(block.tolist())]
