"""Balanced accuracy with a threshold that never saw the models or the records it is applied to."""

import numpy as np

from undertow.metrics.resample import unit_of
from undertow.types import Array, Scores


def guesses(scores: Scores, rng: np.random.Generator) -> Array:
    """Which pairs are called members, (T, Q) bool, by the best threshold of the other models on other points.

    The best threshold on the evaluated data itself is optimistic: its null is above .5. Leaving out only the
    model is pessimistic where models come in complementary pairs: a record that is hard for every model is IN
    in one exactly where it is OUT in its partner, and the null falls to .477 (4 models of 50 points; .494 at
    16 of 200). So the points are split in two halves as well, and the null is .5. With one model the halves
    alone separate.

    An interval of the result takes these thresholds as given, so it covers the mean over thresholds in .91 to
    .96 of audits, not .95; in .85 (4 models) to .91 (16) where models differ as much as the points in one.
    """
    models, points = scores.values.shape
    half = rng.permutation(points) % 2
    called = np.zeros(scores.member.shape, bool)
    for side in (0, 1):
        here, there = np.flatnonzero(half == side), np.flatnonzero((half != side) | (points == 1))
        order = np.argsort(scores.values[:, there], axis=None, kind="stable")
        values, member = (a[:, there].ravel()[order] for a in (scores.values, scores.member))
        model = order // max(1, len(there))
        for t in range(models):
            other = slice(None) if models == 1 else model != t
            called[t, here] = scores.values[t, here] > best_threshold(values[other], member[other])
    return called


def best_threshold(values: Array, member: Array) -> float:
    """The value above which to call "member" for the highest balanced accuracy; `values` (n,) ascending.

    The middle of the thresholds within one standard error of the best (the rule of Breiman et al. 1984): the
    very best jumps about with the noise, which costs accuracy where it is applied and coverage of its interval.
    A class that is absent counts for nothing; with no values at all nobody is called a member.

    >>> best_threshold(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True]))
    1.0
    """
    if not len(values):
        return float("inf")
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # a threshold cannot cut a tie
    n, m = (max(1, int(part.sum())) for part in (~member, member))
    cleared, lost = np.cumsum(~member)[last] / n, np.cumsum(member)[last] / m
    best = np.argmax(cleared - lost)
    error = np.sqrt(cleared * (1 - cleared) / n + lost * (1 - lost) / m)[best]
    near = np.flatnonzero(cleared - lost >= (cleared - lost)[best] - error)
    return float(values[last[near[len(near) // 2]]])


def tally(scores: Scores, called: Array) -> Array:
    """Per unit: members called so, members, non-members called so, non-members, (U, 4) int."""
    unit, member = unit_of(scores), scores.member
    size = int(unit.max()) + 1
    cells = (member & called, member, ~member & ~called, ~member)
    return np.stack([np.bincount(unit[cell], minlength=size) for cell in cells], 1)


def balanced_accuracy(counts: Array, weights: Array) -> Array:
    """Mean of the true positive and the true negative rate, (B,), of weighted samples (B, U) of a `tally`."""
    found, members, cleared, non_members = (weights @ counts).T
    result: Array = (found / members + cleared / non_members) / 2
    return result
