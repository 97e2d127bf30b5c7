"""All crafted trainings of one private trainer, and what is common to the tests of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.probe import Movements, Probe
from undertow.audits.dp.response import Response
from undertow.metrics.conformance import along_own_mean, same_signs
from undertow.rng import stream
from undertow.types import Array

# noise low, high; seeds, tensors, coordinates; sensitivity; rates; spread; sampling; mixing; crowding, both ways
FAMILIES = 12
DRIFT = 1e-3  # p-value under which silent records are taken to move the model after all; then little is tested
ALIKE = 1.2  # of variance: tensors whose noise differs by less are scaled as one
SPARE = 1.15  # times the declared reach over the noise: below, a trainer of another scale is not called weaker
NO_SCALE = 1.05  # of the noise's deviation: below, it is as declared
SURE = 2.0  # standard errors of the limit under which a trainer of another scale is not weaker


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
    least: str = ""  # the smallest violation that this test would have found at this size, 19 times in 20
    weaker: bool = True  # False: it differs from the declaration, and the privacy is not weakened


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
    wild: Movements | None  # `some` are loud, as many others are far from the data, with no gradient
    crowd: Movements | None  # `some` are loud, as many are louder
    louder: Movements | None  # `some` are louder
    halves: Mapping[str, Movements] = field(default_factory=dict)  # the records of one half are loud
    spread: Movements | None = None  # `some` are loud, others in each training
    faint: tuple[Movements, int] | None = None  # so few are loud that they move it as far as the noise; how many
    tied: Movements | None = None  # every record is loud at a checkpoint where both uses of tied weights are large
    varied: Movements | None = None  # every record is loud in its own way

    def corrected(self, p: float, within: int = 1) -> float:
        """Bonferroni over all families and over `within` questions of this one."""
        return min(1.0, p * FAMILIES * max(1, within))

    def single(self, within: int = 1) -> float:
        """The level of one of `within` questions of one family."""
        return self.level / FAMILIES / max(1, within)

    @cached_property
    def sets(self) -> tuple[Movements, ...]:
        found = (self.silent, self.full, self.few, self.wild, self.crowd, self.louder, self.spread, self.varied)
        faint = self.faint[:1] if self.faint else ()
        return (*(m for m in found if m is not None), *self.halves.values(), *faint)

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
            squares, count = self.squares(name)
            if count and self.fine(name).any():
                found[name] = float(squares[self.fine(name)].mean()) / count, count * int(self.fine(name).sum())
        return found

    def squares(self, name: str) -> tuple[Array, int]:
        """(size,) sums of squares of a tensor in silent trainings, over the declared variance, and their degrees."""
        values, lost = self.silent.of(name), 0
        if self.one_noise:
            values = values[:1]
        elif self.drift or name in self.steady:
            values, lost = values - values.mean(0), 1
        return np.square(values).sum(0) / self.answer.noise**2, len(values) - lost

    @cached_property
    def steady(self) -> tuple[str, ...]:
        """Tensors that move by exactly the same in every silent training: they decay, and have no noise."""
        able = [n for n in self.moved if not follows_records(n)]
        found = tuple(n for n in able if self.silent.of(n).any() and not np.ptp(self.silent.of(n), axis=0).any())
        return found if len(found) < len(able) else ()

    def fine(self, name: str) -> Array:
        """(size,) which values of a tensor moved in some training, and show a twentieth of the declared noise."""
        moved: Array = self.shows(name) & np.any([m.of(name).any(0) for m in self.sets], axis=0)
        return moved

    def shows(self, name: str) -> Array:
        """(size,) which values of a tensor show a movement of a twentieth of the declared noise."""
        rounds = self.claim.steps if self.claim.weight_decay else 1
        return fine(self.probe.checkpoint[name], self.answer.noise, rounds)

    @cached_property
    def alike(self) -> tuple[str, ...]:
        """Moved tensors whose noise is within a factor of 2 (variance) of the usual: not buffers, not forgotten."""
        level = float(np.median([ratio for ratio, _ in self.ratios.values()] or [0.0]))
        return tuple(name for name, (ratio, _) in self.ratios.items() if level / 2 <= ratio <= level * 2)

    @cached_property
    def noisy(self) -> bool:
        """Whether any tensor is noised at all."""
        able = (n for n in self.moved if not follows_records(n) and n not in self.steady)
        return any(self.silent.of(n).any() for n in able)

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
        names = [name for name in self.moved if not follows_records(name) and name not in self.steady]
        rows = np.concatenate([self.silent.of(name) for name in names or self.moved], axis=1)
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
        names = [n for n in self.moved if not follows_records(n) and self.silent.of(n).any() and n not in self.steady]
        if self.one_noise or not names:
            return False
        rng = stream(self.probe.seed, "drift")
        worst = min(same_signs(self.silent.of(name), rng) for name in names)
        return worst < max(DRIFT / len(names), 2e-4)

    @cached_property
    def only_scaled(self) -> bool:
        """Whether the trainer differs from its declaration by a common scale of noise and records.

        All tensors have noise of one level, louder records move the model as far as loud ones (they are clipped), and
        a record's reach over the noise is nearer to what was declared than to what it were with less noise alone.
        """
        large = [r for name, (r, n) in self.ratios.items() if n >= 500 and not follows_records(name)]
        if not large or min(large) <= 0 or max(large) / min(large) > ALIKE or self.louder is None:
            return False
        loud, louder = self.reaches[1][0], self.reaches[2][0]
        return 0.75 <= loud / max(louder, 1e-300) <= 1.33 and not self.reach_exceeds

    @cached_property
    def reach_exceeds(self) -> bool:
        """Whether a record's reach over the noise is above what the declared steps, rate and noise multiplier allow in
        any schedule: its lower limit, SURE standard errors below what is measured. True where none can be measured."""
        if self.drift or self.one_noise:
            return True
        return bool(max(m - SURE * e for m, e in self.reaches) > self._allowed)

    @cached_property
    def reach_is_covered(self) -> bool:
        """Whether it is below that with SURE standard errors to spare: this acquits a trainer with too little noise."""
        return not self.reach_exceeds and self.largest_reach * self.answer.most <= self._allowed

    @property
    def _allowed(self) -> float:
        level = max(self.level_of_noise, 1e-9)
        return float(self.answer.most * min(SPARE, max(level, 1 / level) ** 0.5))

    @cached_property
    def largest_reach(self) -> float:
        """Upper limit, of SURE standard errors, of a record's reach over the noise; times what is declared."""
        return max(m + SURE * e for m, e in self.reaches) / self.answer.most

    @property
    def not_weaker(self) -> str:
        """The end of a sentence about a trainer that differs, and is not shown to be weaker."""
        if self.drift or self.one_noise:
            return ""
        return f"; a record's reach over the noise is at most {self.largest_reach:.2f} times the declared"

    @cached_property
    def level_of_noise(self) -> float:
        """Deviation of the noise over the declared: the median tensor's."""
        return float(np.sqrt(np.median([r for r, _ in self.ratios.values()])))

    def scaled_with_noise(self, measured: float, error: float) -> bool:
        """Whether what was `measured` over the declared is explained by a scale that the noise has too: `SURE` standard
        errors (`error`) below it, it is no larger. Where the noise is as declared, there is no such scale."""
        if self.level_of_noise <= NO_SCALE or not self.only_scaled:
            return False
        slack = 1.05 + SURE * max(e / max(m, 1e-300) for m, e in self.reaches)
        return bool(measured - SURE * error <= slack * self.level_of_noise)

    @cached_property
    def grows_with_noise(self) -> bool:
        """Whether records move the model as many deviations of the noise as was declared."""
        return self.reaches[0][0] > 0.8 * self.answer.ratio

    @cached_property
    def reaches(self) -> list[tuple[float, float]]:
        """One record's mean movement in deviations of the noise, and its standard error: full, few, louder."""
        some = [(self.full, self.claim.records), (self.few, self.some), (self.louder, self.some)]
        return [self._reach(m, n) for m, n in some if m is not None]

    def _reach(self, which: Movements, copies: int) -> tuple[float, float]:
        z = self.of(which) / np.sqrt(np.where(self.scale > 0, self.scale, 1.0))
        values = np.concatenate(along_own_mean(z)) / copies
        return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def fine(value: Array, noise: float, rounds: int = 1) -> Array:
    """(size,) which numbers show a movement of a twentieth of `noise` after `rounds` roundings."""
    return np.asarray(np.spacing(np.abs(value.ravel())) * rounds <= noise / 20)


def follows_records(name: str) -> bool:
    """Whether a tensor is a running statistic of a normalisation."""
    return name.rpartition(".")[2].startswith("running_")
