"""All crafted trainings of one private trainer, and what is common to the tests of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from undertow.audits.dp.claim import DpClaim, Response
from undertow.audits.dp.probe import Movements, Probe
from undertow.metrics.conformance import same_signs
from undertow.rng import stream
from undertow.types import Array

FAMILIES = 10  # noise too small, too large; seeds, tensors, coordinates; sensitivity; sampling; mixing; crowding, both
DRIFT = 1e-3  # p-value under which silent records are taken to move the model after all; then little is tested


@dataclass(frozen=True)
class Check:
    """One test that was made."""

    test: str
    about: str  # the tensor or experiment that decided
    measured: float  # over declared, unless `means` says otherwise; 1 is as declared
    p_value: float  # that the trainer is as declared; corrected for all tests made
    found: bool
    means: str
    fix: str


@dataclass(frozen=True, eq=False)
class Bench:
    """All crafted trainings of one trainer."""

    probe: Probe
    claim: DpClaim
    answer: Response
    level: float  # 1 - confidence
    some: int  # copies of a loud record where not all are
    silent: Movements  # no record has a gradient
    full: Movements  # every record is loud
    few: Movements  # `some` are loud
    wild: Movements  # `some` are loud, as many others are far from the data, with no gradient
    crowd: Movements  # `some` are loud, as many are louder
    louder: Movements  # `some` are louder

    def corrected(self, p: float, within: int = 1) -> float:
        """Bonferroni over all families and over `within` questions of this one."""
        return min(1.0, p * FAMILIES * max(1, within))

    @cached_property
    def sets(self) -> tuple[Movements, ...]:
        return self.silent, self.full, self.few, self.wild, self.crowd, self.louder

    @cached_property
    def moved(self) -> tuple[str, ...]:
        """Tensors that moved in any training."""
        return tuple(name for name in self.silent.parts if any(m.of(name).any() for m in self.sets))

    @cached_property
    def ratios(self) -> dict[str, tuple[float, int]]:
        """Per moved tensor: mean square in silent trainings over the declared, and how many squares there are.

        Values so large that rounding would hide the noise are left out. Trainings that share their noise count as
        one; where they drift, squares are around their mean.
        """
        found = {}
        for name in self.moved:
            values = self.silent.of(name)[:, self.fine(name)]
            lost = 0
            if self.one_noise:
                values = values[:1]
            elif self.drift:
                values, lost = values - values.mean(0), 1
            count = (len(values) - lost) * values.shape[1]
            if count:
                found[name] = float(np.square(values).sum()) / self.answer.noise**2 / count, count
        return found

    def fine(self, name: str) -> Array:
        """(size,) which values of a tensor show a movement of a twentieth of the declared noise."""
        return np.spacing(np.abs(self.probe.checkpoint[name].ravel())) <= self.answer.noise / 20

    @cached_property
    def alike(self) -> tuple[str, ...]:
        """Moved tensors whose noise is within a factor of 2 (variance) of the usual: not buffers, not forgotten."""
        level = float(np.median([ratio for ratio, _ in self.ratios.values()] or [0.0]))
        return tuple(name for name, (ratio, _) in self.ratios.items() if level / 2 <= ratio <= level * 2)

    @cached_property
    def noisy(self) -> bool:
        """Whether any tensor is noised at all."""
        return any(self.silent.of(name).any() for name in self.moved if not follows_records(name))

    def of(self, which: Movements, names: Sequence[str] | None = None) -> Array:
        """(R, d) movements of the tensors `names` (None: those alike) side by side."""
        return np.concatenate([which.of(name) for name in (self.alike if names is None else names)], axis=1)

    @cached_property
    def scale(self) -> Array:
        """(d,) variance of the noise of each value, as the silent trainings show it."""
        return np.concatenate(
            [np.full(self.silent.of(n).shape[1], np.square(self.silent.of(n)).mean()) for n in self.alike]
        )

    @cached_property
    def cosines(self) -> Array:
        """(R, R) between silent trainings, 0 on the diagonal; buffers that follow the records are left out."""
        names = [name for name in self.moved if not follows_records(name)]
        rows = np.concatenate([self.silent.of(name) for name in names], axis=1)
        lengths = np.linalg.norm(rows, axis=1)
        cosines: Array = rows @ rows.T / np.maximum(np.outer(lengths, lengths), 1e-300)
        return cosines - np.diag(np.diag(cosines))

    @cached_property
    def one_noise(self) -> bool:
        """Whether trainings share their noise: they move alike, and do not differ."""
        if float(np.median(self.cosines[np.triu_indices(len(self.cosines), 1)])) < 0.7:
            return False
        differ = [self.silent.of(name)[:, self.fine(name)] for name in self.moved if not follows_records(name)]
        spread = float(np.median(np.concatenate([v.var(0, ddof=1) for v in differ], axis=None)))
        return spread < self.answer.noise**2 / 1e4

    @cached_property
    def drift(self) -> bool:
        """Whether silent trainings move in a common direction: weight decay, or records that are not silent after all.

        The noise is symmetric, so signs may be flipped training by training, whatever the values within one share.
        """
        names = [name for name in self.moved if not follows_records(name) and self.silent.of(name).any()]
        if self.one_noise or not names:
            return False
        rng = stream(self.probe.seed, "drift")
        worst = min(same_signs(self.silent.of(name), rng) for name in names)
        return worst < max(DRIFT / len(names), 2e-4)


def follows_records(name: str) -> bool:
    """Whether a tensor is a running statistic of a normalisation."""
    return name.rpartition(".")[2].startswith("running_")
