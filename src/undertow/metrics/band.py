"""The band of a ROC curve: the interval of the TPR at every FPR of a grid."""

import numpy as np

from undertow.metrics.influence import rank, tpr_influence
from undertow.metrics.interval import error_of
from undertow.metrics.limits import rate_interval
from undertow.metrics.roc import allowed
from undertow.types import Array, Scores

KNOTS = 12


def tpr_band(scores: Scores, grid: Array) -> tuple[Array, Array]:
    """Pointwise 95 % bounds (low, high) of the TPR at each FPR of `grid` (G,), ascending fractions; each (G,).

    The intervals of `measure`. The variance is worked out at KNOTS rates; between them the design effect (variance
    over the binomial one) and the degrees of freedom are interpolated over log FPR. Pointwise, so the whole curve
    leaves the band more often than one time in twenty. Below one expected false positive the threshold is the largest
    non-member: read the band there as that of FPR 1 / non-members. BadInput where a class is missing.
    """
    ranking = rank(scores)
    m, n = ranking.counts
    rates = np.clip(grid, 1 / n, 1 - 1e-9)
    knots = np.unique(np.geomspace(rates.min(), rates.max(), KNOTS))
    effects, freedom = [], []
    for fpr in knots:
        value, phi = tpr_influence(ranking, float(fpr))
        error, level = error_of(phi, scores), np.clip(value, 0.5 / m, 1 - 0.5 / m)
        effects.append(max(error.total, 1e-300) * m / (level * (1 - level)))
        freedom.append(error.df)
    effect, df = (np.interp(np.log(rates), np.log(knots), np.log(x)) for x in (effects, freedom))
    low, high = np.empty(len(grid)), np.empty(len(grid))
    for i, fpr in enumerate(grid):
        k = min(allowed(n, float(fpr)), n - 1)
        found = float(m - np.searchsorted(ranking.inside, ranking.outside[n - 1 - k], "right")) / m
        found = 1.0 if fpr >= 1 else found
        trials = m / np.exp(effect[i])
        spread = float(np.sqrt(found * (1 - found) / trials))
        low[i], high[i] = rate_interval(found, spread, float(np.exp(df[i])), float(trials))
    return low, high
