"""How often a trap should fire: the rate at which most traps end with one clean record.

A trap fires on a random share of the records. It is lost where it never fires, and where its first firing batch holds
two records that fire it. Derivation in docs/papers.md (Feng & Tramer 2024 fix the rate by hand).
"""

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import beta

from undertow.types import Array, ConfigError

MOST = 64.0  # expected firings that are looked at
ENOUGH = 0.995  # use the fewest firings that reach this share of the best capture probability; each disturbs training


def capture_probability(expected: float, records: int, batch: int, *, classes: int = 0, auxiliary: int = 0) -> float:
    """The chance that a trap ends with exactly one record.

    `expected`: records of the whole finetuning set that fire it, on average. `classes`: where the head is random, a
    record of the class that the trap drives the logits to leaves no trace, one in `classes` (0: none is lost so).
    `auxiliary`: records that the threshold is an order statistic of, so that the true share is not what was asked for
    but Beta distributed around it (0: the share is exact). Order and number of epochs do not matter: the records that
    fire a trap are the same in every epoch. ConfigError for what cannot be planned.

    >>> round(capture_probability(4, 1000, 32), 3)
    0.922
    """
    if not 0 < expected < records or not 1 <= batch <= records:
        raise ConfigError(
            f"a trap cannot be planned for {records} records, batch {batch}, {expected:g} expected firings"
        )
    shares = np.array([expected / records])
    if auxiliary:
        rank = expected / records * (auxiliary + 1)
        shares = beta(rank, auxiliary + 1 - rank).ppf((np.arange(256) + 0.5) / 256)
    return float(_clean(shares * (1 - 1 / classes if classes else 1), records, batch).mean())


def best_expected(records: int, batch: int, *, classes: int = 0, auxiliary: int = 0) -> float:
    """The fewest expected firings whose `capture_probability` is ENOUGH of the largest there is.

    >>> round(best_expected(1000, 32), 1)
    3.5
    """
    most = min(MOST, records / 2)

    def lost(expected: float) -> float:
        return -capture_probability(expected, records, batch, classes=classes, auxiliary=auxiliary)

    best = minimize_scalar(lost, bounds=(min(0.05, most / 2), most), method="bounded")
    low = 1e-9 * records
    return float(brentq(lambda expected: lost(expected) - ENOUGH * best.fun, low, float(best.x)))


def _clean(share: Array, records: int, batch: int) -> Array:
    """The chance that some record fires, and that it is alone in the first batch in which one does."""
    share = np.clip(share, 1e-12, 1 - 1e-12)
    fires = -np.expm1(records * np.log1p(-share))
    first: Array = batch * share * (1 - share) ** (batch - 1) / -np.expm1(batch * np.log1p(-share))
    clean: Array = fires * first
    return clean
