"""One piece of evidence: how far each row of a tensor is out of line, on a scale that limits are set on."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from undertow.types import Array

FEWEST = 8  # rows of which a median says something
ZERO = -30.0  # decades
NORMAL = 1.4826  # standard deviation of a normal law, in median deviations
ALIVE = 0.25  # of the rows, below which the rest is zero in so odd a way that the layer is no measure of itself
THIRD = 1 / 3  # of the way, in decades, from the least that benign layers have to the most
END = 4.0  # standard deviations from the median, where a layer of thousands of rows ends


@dataclass(frozen=True, eq=False)
class Measured:
    """What a test looks at: a number of each row of a tensor, zero or larger."""

    test: str  # of TESTS in `limits`
    tensor: str
    kind: Hashable  # equal for the same layer of other blocks
    value: Array = field(repr=False)  # (R,)
    sparse: bool = False  # most of it may be zero, and what is not is no measure of itself: changes of a few units

    @property
    def middle(self) -> float:
        """The median of what is not zero; NaN where all is. 0 where it is `sparse` and most of it is zero."""
        alive = self.value[self.value > 0]
        if self.sparse and 2 * len(alive) < len(self.value):
            return 0.0
        return float(np.median(alive)) if len(alive) else float("nan")

    @property
    def alive(self) -> float:
        """Share that is not zero."""
        return float((self.value > 0).mean()) if len(self.value) else 0.0

    @property
    def spread(self) -> float:
        """Standard deviation of the logarithms of what is not zero, in decades, from their median deviation."""
        if self.middle == 0:
            return 0.0
        alive = np.log10(self.value[self.value > 0])
        return float(NORMAL * np.median(np.abs(alive - np.median(alive)))) if len(alive) else 0.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """One test of one tensor."""

    test: str
    tensor: str
    excess: Array = field(repr=False)  # (R,) decades above where the layer should end; larger is worse


def compared(measured: Iterable[Measured], usual: Mapping[str, tuple[float, float]]) -> list[Evidence]:
    """Each row against its tensor and the same layer of other blocks: the median of their medians and of their spreads.

    The excess counts from where a log-normal layer of that median and spread ends: some layers have long tails. The
    median is kept within what benign layers have (`usual` of the test), so that a layer most of whose units have died
    is not its own measure; where nearly all have, as where a trap took the whole range of int8, it counts no more than
    THIRD of the way into that.
    """
    kinds: dict[tuple[str, Hashable], list[Measured]] = defaultdict(list)
    for one in measured:
        kinds[one.test, one.kind].append(one)
    found = []
    for (test, _), members in kinds.items():
        alive = [one for one in members if np.isfinite(one.middle)]
        low, high = usual[test]
        high = high if any(one.alive >= ALIVE for one in alive) else low * (high / low) ** THIRD
        over = float(np.clip(np.median([one.middle for one in alive]), low, high)) if alive else low
        end = END * float(np.median([one.spread for one in alive])) if alive else 0.0
        found += [Evidence(test, one.tensor, decades(one.value, over) - end) for one in members]
    return found


def decades(value: Array, over: float) -> Array:
    """(R,) log10 of value / over; ZERO where the value is zero, or as good as."""
    result: Array = np.log10(np.maximum(value / over, 10**ZERO))
    return result
