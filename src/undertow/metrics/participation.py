"""Does a loader draw batches as the accountant assumes? Tests on the rows that each step really used."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from undertow.types import Array, BadInput


@dataclass(frozen=True)
class Participation:
    """P-values of "every record joins every step by a coin of its own, with probability `rate`" (Poisson sampling)."""

    rate: float  # declared
    observed: float  # records per step over all records
    rate_p: float  # the total number of participations
    sizes_p: float  # batch sizes vary as coins make them; fixed batches do not
    counts_p: float  # participations per record vary as coins make them; shuffled epochs give all the same number
    repeats: int  # records drawn more than once in one step

    @property
    def p_value(self) -> float:
        """Of all of them together (Bonferroni); 0 where a step repeats a record."""
        return 0.0 if self.repeats else min(1.0, 3 * min(self.rate_p, self.sizes_p, self.counts_p))


def participation(batches: Iterable[Array], records: int, rate: float) -> Participation:
    """Test the row numbers of each step, (B_t,) int arrays in 0..records-1, against Poisson sampling at `rate`.

    Empty batches must be among them. Raises BadInput for rows out of range or fewer than two steps.
    Sizes: sum of (B_t - Nq)^2 / (Nq(1-q)) over T steps is nearly chi-square(T); counts likewise over records.
    """
    drawn = [np.asarray(batch, dtype=np.int64).ravel() for batch in batches]
    if len(drawn) < 2 or not 0 < rate <= 1:
        raise BadInput(f"{len(drawn)} batches at rate {rate}: give at least two batches and a rate in (0, 1]")
    rows = np.concatenate(drawn)
    if len(rows) and (rows.min() < 0 or rows.max() >= records):
        raise BadInput(f"batches name row {int(rows.max())}; rows are 0 to {records - 1}")
    here = np.zeros((len(drawn), records), bool)
    for t, batch in enumerate(drawn):
        here[t, batch] = True
    repeats = len(rows) - int(here.sum())
    steps, total = len(drawn), len(rows)
    if rate == 1.0:
        whole = 1.0 if here.all() else 0.0
        return Participation(rate, total / (steps * records), whole, whole, whole, repeats)
    null = stats.binom(max(steps * records, total), rate)
    number = min(1.0, 2 * min(null.cdf(total), null.sf(total - 1)))
    each = rate * (1 - rate)
    sizes = float(np.square([len(b) - records * rate for b in drawn]).sum()) / (records * each)
    counts = float(np.square(here.sum(0) - steps * rate).sum()) / (steps * each)
    spread = _both_sides(sizes, steps), _both_sides(counts, records)
    return Participation(rate, total / (steps * records), float(number), *spread, repeats)


def _both_sides(squares: float, count: int) -> float:
    return float(min(1.0, 2 * min(stats.chi2.cdf(squares, count), stats.chi2.sf(squares, count))))
