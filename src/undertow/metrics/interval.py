"""Scores -> Measurement: every number leaves with its interval, its count and its unit."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t

from undertow.metrics.binomial import above, below
from undertow.metrics.held_out import balanced_accuracy, guesses, tally
from undertow.metrics.resample import Ranking, draws, rank, roc_numbers
from undertow.types import Array, ConfigError, Measurement, Scores

FPRS = (0.01, 0.001, 0.0001)  # fractions
CONFIDENCE = 0.95
FEW_MODELS = 8  # below, the bootstrap has little to draw from
FEW_FALSE_POSITIVES = 10  # below, the threshold itself is mostly noise


def measure(
    scores: Scores, rng: np.random.Generator, *, fprs: Sequence[float] = FPRS, resamples: int = 1000
) -> tuple[Measurement, ...]:
    """AUC, balanced accuracy, and the TPR at each FPR (fractions), of one attack, in that order.

    The statistics are of the pooled pairs. The bootstrap draws models where there are at least two (so the
    interval speaks of other models and the same points), otherwise points; see `intervals`. A TPR that asks
    for less than one false positive has a reason in place of a value. BadInput where a class is missing.
    """
    if not all(0 < fpr < 1 for fpr in fprs):
        raise ConfigError(f"fprs = {tuple(fprs)}; they must be fractions between 0 and 1, such as 0.001")
    ranking = rank(scores)
    resolved = [fpr for fpr in fprs if len(ranking.non_members) * fpr >= 1]
    numbers = partial(_numbers, ranking, tally(scores, guesses(scores, rng)), resolved)
    value = numbers(np.ones((1, ranking.size), np.int32))[0]
    resampled = np.concatenate([numbers(weights) for weights in draws(ranking, rng, resamples)])
    m, n = len(ranking.members), len(ranking.non_members)
    trials = np.array([min(m, n), 2 * min(m, n)] + [m] * len(resolved))
    skewed = np.arange(len(value)) < 2  # AUC and balanced accuracy, not the TPRs
    found = zip(value, *intervals(value, resampled, ranking.units, trials, skewed))  # in the order of the filled rows
    blank = partial(_blank, scores, ranking)
    rows = [blank("auc"), blank("balanced_accuracy"), *(blank("tpr", fpr) for fpr in fprs)]
    return tuple(_filled(row, *next(found)) if row.reason is None else row for row in rows)


def _numbers(ranking: Ranking, counts: Array, fprs: Sequence[float], weights: Array) -> Array:
    """AUC, balanced accuracy, TPRs: (B, 2 + F)."""
    return np.insert(roc_numbers(ranking, weights, fprs), 1, balanced_accuracy(counts, weights), 1)


def _blank(scores: Scores, ranking: Ranking, metric: str, fpr: float | None = None) -> Measurement:
    """A row without its value, with what can be said before looking: the counts, a reason, warnings."""
    m, n = len(ranking.members), len(ranking.non_members)
    expected = np.inf if fpr is None else n * fpr
    warnings = []
    if 1 <= expected < FEW_FALSE_POSITIVES:
        warnings.append(f"only {expected:.3g} expected false positives")
    if ranking.unit == "models" and ranking.size < FEW_MODELS:
        warnings.append(f"only {ranking.size} models were resampled")
    return Measurement(
        attack=scores.attack,
        metric=metric,
        value=None,
        low=None,
        high=None,
        n=ranking.size,
        unit=ranking.unit,
        fpr=fpr,
        group=scores.group,
        members=m,
        non_members=n,
        reason=f"not resolvable with {n} non-members" if expected < 1 else None,
        warning="; ".join(warnings) or None,
    )


def _filled(row: Measurement, value: float, low: float, high: float) -> Measurement:
    return replace(row, value=float(value), low=float(low), high=float(high))


def intervals(value: Array, resampled: Array, units: int, trials: Array, skewed: Array) -> tuple[Array, Array]:
    """95 % intervals (low, high), each (K,), of K proportions `value` (K,) from B resamples (B, K).

    A t interval with the bootstrap standard error, on the logit scale where `skewed` (K,). Resamples of U
    units are centred on their own mean, so their variance is (U - 1) / U of the unbiased one, and it is
    itself an estimate on U - 1 degrees of freedom. Hence, with t the .975 quantile of Student's t_{U-1},

        logit(value) -+ t sqrt(U / (U - 1)) sd(resampled) / (value (1 - value)).

    Hesterberg 2015 (arXiv:1411.5279) makes the same two corrections by moving the
    percentiles, to Phi(-+ t sqrt(U / (U - 1))). But percentiles never leave the range of the drawn models and
    under-cover an AUC over two or four of them, and they miss the skew near 1 that the logit takes up. A TPR at
    a low FPR is near 0, where the slope of the logit turns an ordinary error into an interval that ends at 1
    and still covers too seldom, so it stays on its own scale (LOG.md; coverage: benchmarks/coverage.py).
    `units` is the count of the rarer class: less one, a lower bound of Satterthwaite's degrees of freedom
    where the classes are drawn apart.

    At 0 or 1, where all resamples agree, or with one unit, the resamples say little. The interval is then the
    hull with Clopper and Pearson's for `trials` (K,) independent trials: for a TPR the members, given the
    threshold; for an AUC min(m, n) disjoint pairs, all concordant with probability AUC^min(m, n); for
    balanced accuracy both ends of those pairs (Hoeffding 1956). It cannot see what the pairs of one model
    have in common: with models as units it is still too narrow rather than too wide.
    """
    inside = (value > 0) & (value < 1)
    silent = ~inside | (np.ptp(resampled, 0) == 0) | (units < 2)
    df = max(units, 2) - 1
    reach = t.ppf((1 + CONFIDENCE) / 2, df) * np.sqrt((df + 1) / df) * resampled.std(0)
    bent = inside & skewed
    centre, slope = logit(np.where(bent, value, 0.5)), np.where(bent, value * (1 - value), 1)
    low, high = (np.where(bent, expit(centre + r / slope), value + r) for r in (-reach, reach))
    tail, hits = (1 - CONFIDENCE) / 2, value * trials
    exact_low, exact_high = below(hits, trials, tail), above(hits, trials, tail)
    low = np.minimum(np.where(silent, np.minimum(low, exact_low), low), value)
    high = np.maximum(np.where(silent, np.maximum(high, exact_high), high), value)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
