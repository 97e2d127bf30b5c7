"""How much each scored pair moves a number: the first-order influence, whose sum has the number's variance.

Every function gives the value and phi (M, N), one number for each (model, point), with

    value - truth = sum of phi, to first order,

so that the variance of the value is that of a sum, whatever is correlated with what (`metrics.variance`).
"""

from dataclasses import dataclass

import numpy as np

from undertow.metrics.roc import allowed
from undertow.types import Array, BadInput, Scores


@dataclass(frozen=True, eq=False)
class Ranking:
    """The pooled pairs of one attack, each class in ascending order of score: sorted once for all numbers."""

    shape: tuple[int, int]  # (M, N)
    places: tuple[Array, Array]  # flat places of members (m,) and of non-members (n,), ascending in score
    inside: Array  # (m,) scores of members, ascending
    outside: Array  # (n,) scores of non-members, ascending

    @property
    def counts(self) -> tuple[int, int]:
        """Pairs that are members, and pairs that are not."""
        return len(self.inside), len(self.outside)


def rank(scores: Scores) -> Ranking:
    """The ranking of `scores`; BadInput where a class is missing, since nothing can then be told apart."""
    flat, sides = scores.values.ravel(), [np.flatnonzero(side) for side in (scores.inside, scores.outside)]
    for side, name in zip(sides, ("members", "non-members")):
        if not len(side):
            raise BadInput(f"{scores.attack}: no {name} among {sum(map(len, sides))} scored pairs; both are needed")
    places = tuple(side[np.argsort(flat[side], kind="stable")] for side in sides)
    shape = (scores.values.shape[0], scores.values.shape[1])
    return Ranking(shape, (places[0], places[1]), flat[places[0]], flat[places[1]])


def auc_influence(ranking: Ranking) -> tuple[float, Array]:
    """AUC and phi (M, N): DeLong, DeLong and Clarke-Pearson's placements (Biometrics 1988); ties half."""
    inside, outside = ranking.inside, ranking.outside
    m, n = ranking.counts
    won = (np.searchsorted(outside, inside, "left") + np.searchsorted(outside, inside, "right")) / (2 * n)
    lost = (np.searchsorted(inside, outside, "left") + np.searchsorted(inside, outside, "right")) / (2 * m)
    value = float(won.mean())
    phi = np.zeros(ranking.shape[0] * ranking.shape[1])
    phi[ranking.places[0]] = (won - value) / m
    phi[ranking.places[1]] = (1 - lost - value) / n
    return value, phi.reshape(ranking.shape)


def tpr_influence(ranking: Ranking, fpr: float) -> tuple[float, Array]:
    """TPR at `fpr` (a fraction), and phi (M, N) with the noise of the threshold in it.

    The slope of the ROC at `fpr` says what a wrong threshold costs. It is b TPR / fpr, with b in 0..1 (the curve is
    concave) the slope on log-log axes between fpr / 2 and 2 fpr; guessing has b = 1.
    """
    m, n = ranking.counts
    k = allowed(n, fpr)
    low, high = (k + 1) // 2, 2 * k + 1
    a, value, b = (_found(ranking, min(j, n - 1)) for j in (low, k, high))
    # Half a hit keeps the logarithms finite; the (k + 1)-th of n order statistics cuts off (k + 1) / (n + 1).
    bend = np.log((b * m + 0.5) / (a * m + 0.5)) / np.log((high + 1) / (low + 1))
    slope = np.clip(bend, 0, 1) * max(value, 0.5 / m) * n / (k + 1)
    cut = ranking.outside[n - 1 - min(k, n - 1)]
    phi = np.zeros(ranking.shape[0] * ranking.shape[1])
    phi[ranking.places[0]] = ((ranking.inside > cut) - value) / m
    accused = ranking.outside > cut
    phi[ranking.places[1]] = -slope * (accused - accused.mean()) / n
    return value, phi.reshape(ranking.shape)


def _found(ranking: Ranking, k: int) -> float:
    """Share of members above the (k + 1)-th largest non-member."""
    m, n = ranking.counts
    return float(m - np.searchsorted(ranking.inside, ranking.outside[n - 1 - k], "right")) / m


def accuracy_influence(scores: Scores, called: Array) -> tuple[float, Array]:
    """Balanced accuracy of guesses, and phi (M, N), the thresholds taken as given.

    `called` (M, N): how often each pair is called a member, 0..1.
    """
    inside, outside = scores.inside, scores.outside
    m, n = int(inside.sum()), int(outside.sum())
    found, cleared = called[inside].mean(), 1 - called[outside].mean()
    phi = np.where(inside, (called - found) / (2 * m), np.where(outside, (1 - called - cleared) / (2 * n), 0))
    return float((found + cleared) / 2), phi
