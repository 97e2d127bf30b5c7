"""Balanced accuracy with a threshold that never saw the models or the records it is applied to."""

import numpy as np

from undertow.types import Array, Scores

FOLDS = 4  # parts of the models whose threshold is found without them
SPLITS, FEWER, SMALL = 5, 2, 50_000  # halvings of audits of at most so many pairs, and of larger ones


def guesses(scores: Scores, rng: np.random.Generator) -> Array:
    """How often each pair is called a member, (S, T, Q) bool: one layer for each of S halvings of the points.

    A pair is called by the best threshold of other models on other points. The best threshold on the evaluated data
    itself is optimistic: its null is above .5. Leaving out only the model is pessimistic where models come in
    complementary pairs: a record that is hard for every model is IN in one exactly where it is OUT in its partner, and
    the null falls to .477 (4 models of 50 points; .494 at 16 of 200). So the points are split in two halves as well,
    and the null is .5. With one model the halves alone separate. Many models are left out in FOLDS parts: that is
    linear in their number. Points of one group stay in one half. Small audits are halved SPLITS times: how they were
    halved must not decide the number, and what it moves is the noise of the thresholds (`threshold_noise`).
    """
    splits = SPLITS if scores.values.size <= SMALL else FEWER
    result: Array = np.stack([_called(scores, _halves(scores, rng)) for _ in range(splits)])
    return result


def threshold_noise(accuracies: Array) -> float:
    """The variance that thresholds add to a balanced accuracy: that of the accuracies (S,) of the halvings.

    The influence of a pair takes the thresholds as given. Each halving has its own, from half of the points, so that
    one halving's variance around the mean stands for what thresholds from other data would do.
    """
    return float(np.var(accuracies, ddof=1))


def _called(scores: Scores, half: Array) -> Array:
    """Which pairs are called members, (T, Q) bool, where the points of one half judge those of the other."""
    models, points = scores.values.shape
    part = np.arange(models) % FOLDS
    called = np.zeros(scores.member.shape, bool)
    for side in (0, 1):
        here, there = np.flatnonzero(half == side), np.flatnonzero((half != side) | (points == 1))
        order = np.argsort(scores.values[:, there], axis=None, kind="stable")
        if scores.scored is not None:
            order = order[scores.scored[:, there].ravel()[order]]
        values, member = (a[:, there].ravel()[order] for a in (scores.values, scores.member))
        owner = part[order // max(1, len(there))]
        for fold in range(min(models, FOLDS)):
            other = slice(None) if models == 1 else owner != fold
            own = np.ix_(part == fold, here)
            called[own] = scores.values[own] > best_threshold(values[other], member[other])
    return called


def _halves(scores: Scores, rng: np.random.Generator) -> Array:
    """0 or 1 for each point, (Q,): two random halves that no group straddles."""
    points = scores.values.shape[1]
    if scores.groups is None:
        return rng.permutation(points) % 2
    _, group = np.unique(scores.groups, return_inverse=True)
    result: Array = (rng.permutation(int(group.max()) + 1) % 2)[group]
    return result


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
