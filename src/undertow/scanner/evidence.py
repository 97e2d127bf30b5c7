"""One piece of evidence: how far each row of a tensor is out of line, on a scale that limits are set on."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from undertow.types import Array

FEWEST = 8  # rows of which a median says something
ZERO = -30.0  # decades


@dataclass(frozen=True, eq=False)
class Measured:
    """What a test looks at: a number of each row of a tensor, zero or larger."""

    test: str  # of TESTS in `limits`
    tensor: str
    kind: Hashable  # equal for the same layer of other blocks
    value: Array = field(repr=False)  # (R,)

    @property
    def middle(self) -> float:
        """The median of what is not zero; NaN where all is."""
        alive = self.value[self.value > 0]
        return float(np.median(alive)) if len(alive) else float("nan")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One test of one tensor."""

    test: str
    tensor: str
    excess: Array = field(repr=False)  # (R,) decades above what is usual; larger is worse


def compared(measured: Iterable[Measured], usual: Mapping[str, tuple[float, float]]) -> list[Evidence]:
    """Each row against the median of the medians of its tensor and of the same layer of other blocks.

    That median is kept within what benign layers have (`usual` of the test), so that a layer whose units have died for
    the most part, or are loud for the most part, is not its own measure.
    """
    kinds: dict[tuple[str, Hashable], list[Measured]] = defaultdict(list)
    for one in measured:
        kinds[one.test, one.kind].append(one)
    found = []
    for (test, _), members in kinds.items():
        middles = np.array([one.middle for one in members])
        middles = middles[np.isfinite(middles)]
        low, high = usual[test]
        over = float(np.clip(np.median(middles), low, high)) if len(middles) else low
        found += [Evidence(test, one.tensor, decades(one.value, over)) for one in members]
    return found


def decades(value: Array, over: float) -> Array:
    """(R,) log10 of value / over; ZERO where the value is zero, or as good as."""
    result: Array = np.log10(np.maximum(value / over, 10**ZERO))
    return result
