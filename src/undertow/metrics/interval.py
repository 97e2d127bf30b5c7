"""Scores -> Measurement: every number leaves with its interval, its count, its unit and what that is worth."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from undertow.metrics.held_out import guesses, threshold_noise
from undertow.metrics.influence import Ranking, accuracy_influence, auc_influence, rank, tpr_influence
from undertow.metrics.limits import logit_interval, rate_interval, trials_of
from undertow.metrics.roc import allowed
from undertow.metrics.variance import Error, draws, pool_factor, two_way
from undertow.types import Array, ConfigError, Measurement, Scores

FPRS = (0.01, 0.001, 0.0001)  # fractions
FEW_FALSE_POSITIVES = 10  # below, the threshold itself is mostly noise
ONE_DRAW = 1.5  # of membership, at most
ALIKE = 0.32  # draws for each model, below which members are alike

Interval = Callable[[float, float, float, float], tuple[float, float]]


def measure(scores: Scores, rng: np.random.Generator, *, fprs: Sequence[float] = FPRS) -> tuple[Measurement, ...]:
    """AUC, balanced accuracy, and the TPR at each FPR (fractions), of one attack, in that order.

    The statistics are of the pooled pairs. The intervals are for other models *and* other records of the same kind,
    dealt by the same design (`metrics.variance`); `rng` halves the points for the balanced accuracy. A TPR that allows
    less than one false positive has a reason in place of a value. ConfigError for a rate that is none, BadInput where
    a class is missing.
    """
    if not all(0 < fpr < 1 for fpr in fprs):
        raise ConfigError(f"fprs = {tuple(fprs)}; they must be fractions between 0 and 1, such as 0.001")
    ranking = rank(scores)
    blank = unit_row(scores, ranking)
    auc = _row(replace(blank, metric="auc"), scores, auc_influence(ranking), logit_interval)
    return (auc, _accuracy(blank, scores, rng), *(_tpr(replace(blank, fpr=fpr), scores, ranking) for fpr in fprs))


def _accuracy(blank: Measurement, scores: Scores, rng: np.random.Generator) -> Measurement:
    """The balanced accuracy, with the noise of its thresholds; only a reason where the models' members are alike."""
    row = replace(blank, metric="balanced_accuracy")
    if ONE_DRAW <= (worth := draws(scores.member)) < ALIKE * len(scores.member):
        return replace(
            row,
            reason=f"the {len(scores.member)} models' members are alike (worth {worth:.1f} draws): a threshold cannot "
            "be tested on models that did not help to find it",
        )
    called = guesses(scores, rng)
    halvings = np.array([accuracy_influence(scores, one)[0] for one in called])
    return _row(row, scores, accuracy_influence(scores, called.mean(0)), logit_interval, threshold_noise(halvings))


def _tpr(blank: Measurement, scores: Scores, ranking: Ranking) -> Measurement:
    """The TPR at the rate of `blank`; only a reason where not even one false positive is allowed."""
    row, fpr = replace(blank, metric="tpr"), blank.fpr or 0.0
    if allowed(ranking.counts[1], fpr) < 1:
        return replace(row, reason=f"not resolvable with {ranking.counts[1]} non-members")
    return _row(row, scores, tpr_influence(ranking, fpr), rate_interval)


def unit_row(scores: Scores, ranking: Ranking) -> Measurement:
    """A row with all that can be said before looking: whose membership was drawn, and how much was counted."""
    models, points = ranking.shape
    one_draw = models < 2 or draws(scores.member) < ONE_DRAW
    count = points if scores.groups is None else len(np.unique(scores.groups))
    members, non_members = ranking.counts
    return Measurement(
        attack=scores.attack,
        metric="auc",
        value=None,
        low=None,
        high=None,
        n=count if one_draw else models,
        unit=("points" if scores.groups is None else "groups") if one_draw else "models",
        group=scores.group,
        members=members,
        non_members=non_members,
    )


def guessing(non_members: int, fpr: float) -> float:
    """The share of members that guessing finds at `fpr`: (k + 1) / (n + 1) with k = floor(n fpr) allowed.

    The (k + 1)-th largest of n non-members is the threshold, and a member is as likely as they are to lie anywhere.
    """
    return (allowed(non_members, fpr) + 1) / (non_members + 1)


def auc_of(metric: str, value: float) -> float | None:
    """The AUC that a number means: its own; of a balanced accuracy, that of two normal laws of one spread; else None.

    >>> auc_of("auc", 0.8), round(auc_of("balanced_accuracy", 0.786), 2), auc_of("tpr", 0.3)
    (0.8, 0.87, None)
    """
    if metric == "balanced_accuracy":
        return float(ndtr(np.sqrt(2) * ndtri(value)))
    return value if metric == "auc" else None


def error_of(phi: Array, scores: Scores, auc: float | None = None) -> Error:
    """The error of a number of `scores` whose influence is phi (M, N); `auc`: how much leaks, where that is known."""
    sides, pool = (scores.inside, scores.outside), pool_factor(auc)
    return two_way(phi, sides, in_turn=scores.in_turn, groups=scores.groups, pool=pool)


def _row(
    blank: Measurement, scores: Scores, found: tuple[float, Array], interval: Interval, noise: float = 0.0
) -> Measurement:
    """A number with its interval; `noise`: a variance beside that of its influence."""
    value, phi = found
    error = error_of(phi, scores, auc_of(blank.metric, value))
    spread = float(np.sqrt(error.total + noise))
    row = replace(blank, value=value, error=spread, df=error.df, effective=error.effective)
    if row.fpr is not None:
        row = replace(row, chance=guessing(row.non_members or 0, row.fpr))
    if spread == 0:
        row = replace(row, effective=_independent(blank, scores))
    low, high = interval(value, spread, error.df, trials_of(row))
    return replace(row, low=min(low, value), high=max(high, value), warning=_warning(row))


def _independent(blank: Measurement, scores: Scores) -> float:
    """Effective pairs where every pair had one outcome and the error says nothing: one for each point and draw."""
    pairs = float((blank.members or 0) + (blank.non_members or 0))
    carriers = [side.any(0) for side in (scores.inside, scores.outside)]
    names = np.arange(scores.values.shape[1]) if scores.groups is None else scores.groups
    fewest = min(len(np.unique(names[carrier])) for carrier in carriers)
    return min(pairs, 2 * fewest * draws(scores.member))


def _warning(row: Measurement) -> str | None:
    """What makes a rate rough, in words; few degrees of freedom are in `df`."""
    expected = np.inf if row.fpr is None else (row.non_members or 0) * row.fpr
    return f"only {expected:.3g} expected false positives" if expected < FEW_FALSE_POSITIVES else None
