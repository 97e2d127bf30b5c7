"""Tests behind the verdict on a checkpoint: are two samples of one kind, and is a measured rise above a limit?"""

from warnings import catch_warnings

import numpy as np
from scipy.stats import hypergeom, ks_2samp, t

from undertow.types import Array, Measurement, Scores

ALPHA = 0.01  # false alarms of one test, where my records and the look-alikes are exchangeable


def apart(own: Array, other: Array) -> float:
    """p-value of "these samples, (n,) and (m,), are exchangeable", against any difference and against few odd records.

    Bonferroni over three distribution-free tests: Kolmogorov and Smirnov's, and whether `own` has more than its share
    of the highest and of the lowest tenth of all values (hypergeometric), where a poisoned minority shows. Values that
    tie (a checkpoint judged against itself moves nothing) count against a finding.
    """
    n, total = len(own), len(own) + len(other)
    tenth = max(1, total // 10)
    low = np.argsort(np.concatenate([other, own]), kind="stable")[:tenth] >= len(other)
    high = np.argsort(np.concatenate([own, other]), kind="stable")[-tenth:] < n
    tails = [hypergeom.sf(side.sum() - 1, total, n, tenth) for side in (low, high)]
    with catch_warnings(action="ignore", category=RuntimeWarning):  # of scipy, where p is about 1
        p = ks_2samp(own, other).pvalue
    return float(min(1.0, 3 * min(p, *tails)))


def leak(scores: Scores) -> Array:
    """(Q,) of each record, its mean score (M, Q) where it is a member less that where it is none."""
    member, values = scores.member, scores.values
    inside, outside = ((values * mask).sum(0) / np.maximum(mask.sum(0), 1) for mask in (member, ~member))
    gap: Array = inside - outside
    return gap


def above(row: Measurement, limit: float) -> float:
    """p-value of "this is at most `limit`": Student's t, with the row's standard error and its degrees of freedom.

    A row that does not say them is read by its 95 % interval, as one of Student's over its n units.
    """
    value, df = float(row.value or 0), row.df if row.df is not None else max(row.n - 1, 1)
    error = row.error if row.error is not None else (float(row.high or 0) - float(row.low or 0)) / 2 / t.ppf(0.975, df)
    return float(t.sf((value - limit) / error, df)) if error > 0 else float(value <= limit)


def strength(p: float, limit: float = ALPHA) -> float:
    """1 at `limit`, 2 at its square; 0 at p = 1."""
    return abs(float(np.log(max(p, 1e-300)) / np.log(limit)))
