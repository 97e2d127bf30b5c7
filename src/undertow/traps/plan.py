"""How often a trap should fire: the rate at which most traps end with one clean record.

A trap fires on a random share of the records. It is lost where it never fires, and where its first firing batch holds
two records that fire it. Derivation in docs/papers.md (Feng & Tramer 2024 fix the rate by hand).
"""

from scipy.optimize import minimize_scalar

from undertow.types import ConfigError


def capture_probability(expected: float, records: int, batch: int, classes: int = 0) -> float:
    """The chance that a trap ends with exactly one record.

    `expected`: records of the whole finetuning set that fire it, on average; `classes`: where the head is random, a
    record of the class that the trap drives the logits to leaves no trace, one in `classes` (0: none is lost so).
    Order and number of epochs do not matter: the records that fire it are the same in every epoch.

    >>> round(capture_probability(4, 1000, 32), 3)
    0.922
    """
    if not 0 < expected < records or not 1 <= batch <= records:
        raise ConfigError(
            f"a trap cannot be planned for {records} records, batch {batch}, {expected:g} expected firings"
        )
    share = expected / records * (1 - 1 / classes if classes else 1)
    fires = 1 - (1 - share) ** records
    alone: float = batch * share * (1 - share) ** (batch - 1) / (1 - (1 - share) ** batch)
    return fires * alone


def best_expected(records: int, batch: int, classes: int = 0) -> float:
    """The expected number of firing records that makes `capture_probability` largest.

    >>> round(best_expected(1000, 32), 1)
    4.2
    """
    most = min(64.0, records / 2)
    found = minimize_scalar(
        lambda c: -capture_probability(c, records, batch, classes), bounds=(min(0.05, most / 2), most), method="bounded"
    )
    return float(found.x)
