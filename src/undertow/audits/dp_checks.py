"""The tests of a private trainer: what each asks of the crafted trainings, what a rejection means, how to mend it.

Every test is one family of FAMILIES; p-values are corrected for the families and for the tensors within one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from undertow.audits.dp_claim import DpClaim, Response
from undertow.audits.dp_probe import Movements, Probe
from undertow.metrics.conformance import (
    along_own_mean,
    cosine,
    cosine_p,
    least_count,
    mean_above,
    same_distribution,
    same_signs,
    share_p,
    too_large,
    too_small,
    unit,
)
from undertow.rng import stream
from undertow.types import Array

FAMILIES = 10  # noise too small, too large; seeds, tensors, coordinates; sensitivity; sampling; mixing; crowding, both
NOISE_TOLERANCE = 0.05  # of variance: a difference this small is not reported
SPREAD_LOW, SPREAD_HIGH = 0.6, 1.7  # of the spread that coins give
CROWD = 3.0  # times more or less that one record's contribution may be in the company of another
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
        return rows @ rows.T / np.maximum(np.outer(lengths, lengths), 1e-300) - np.diag((lengths > 0).astype(float))

    @cached_property
    def one_noise(self) -> bool:
        """Whether trainings share most of their noise: they move alike, and hardly differ."""
        if float(np.median(self.cosines[np.triu_indices(len(self.cosines), 1)])) < 0.7:
            return False
        differ = [self.silent.of(name)[:, self.fine(name)] for name in self.moved if not follows_records(name)]
        spread = float(np.median(np.concatenate([v.var(0, ddof=1) for v in differ], axis=None)))
        return spread < self.answer.noise**2 / 2

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


def noise_checks(b: Bench) -> list[Check]:
    """Is the movement without gradients the noise that was declared, in every tensor?"""
    low, high = [], []
    for name, (ratio, count) in b.ratios.items():
        squares = ratio * count
        low.append((b.corrected(too_small(squares, count, 1 - NOISE_TOLERANCE), len(b.ratios)), name, ratio))
        high.append((b.corrected(too_large(squares, count, 1 + NOISE_TOLERANCE), len(b.ratios)), name, ratio))
    if not low:
        return []
    return [_noise_low(b, low), _noise_high(b, high)]


def _noise_low(b: Bench, rows: list[tuple[float, str, float]]) -> Check:
    p, name, ratio = min(rows)
    hit = [row for row in rows if row[0] < b.level]
    bare = [row[1] for row in hit if row[2] == 0]
    if bare and len(bare) < len(rows):
        means = "these are trained without noise: what they learn is not private"
        fix = "give every trained parameter to the private optimiser, freeze the others"
        return Check("noise", _names(bare), 0.0, p, True, means, fix)
    if bare:
        return Check("noise", "all", 0.0, p, True, "no noise is added", "add the noise before the optimiser's step")
    means = f"the noise has {np.sqrt(max(ratio, 0)):.3g} times the declared deviation: the guarantee is weaker"
    fix = "noise on the sum of gradients has deviation noise_multiplier * clip; divide sum and noise by batch, once"
    return Check("noise", _names([row[1] for row in hit] or [name]), float(np.sqrt(ratio)), p, bool(hit), means, fix)


def _noise_high(b: Bench, rows: list[tuple[float, str, float]]) -> Check:
    p, name, ratio = min(rows)
    hit = [row[1] for row in rows if row[0] < b.level]
    buffers = [name for name in hit if follows_records(name)]
    measured = float(np.sqrt(ratio))
    if buffers:
        means = "these move with the records and not by the declared noise: batch norm publishes batch statistics"
        return Check("noise", _names(buffers), measured, p, True, means, "replace batch norm by group norm")
    if b.claim.steps > 1 and abs(ratio / b.answer.reused - 1) < 0.15:
        means = "the same noise is added in every step: it cancels between iterates"
        fix = "draw new noise in each step; do not reset the generator's seed"
    else:
        means = f"movements without gradient have {measured:.3g} times the declared deviation: not what was declared"
        fix = "declare the batch (divisor), clip, lr and steps that are really used"
    return Check("excess noise", _names(hit or [name]), measured, p, bool(hit), means, fix)


def independence_checks(b: Bench) -> list[Check]:
    """Is the noise new for every seed, tensor and coordinate? Scale-free.

    Where the values of one training are related already, the cosines of trainings have no known distribution.
    """
    inside = [] if b.one_noise else [*_between_tensors(b), *_within_tensors(b)]
    if b.one_noise or not any(check.found for check in inside):
        inside.append(_between_trainings(b))
    return inside


def _between_trainings(b: Bench) -> Check:
    pairs = b.cosines[np.triu_indices(len(b.cosines), 1)]
    worst = float(np.abs(pairs).max())
    size = sum(b.silent.of(name).shape[1] for name in b.moved if not follows_records(name))
    p = b.corrected(cosine_p(worst, size), len(pairs))
    means = "trainings of different seeds share noise (measured: largest cosine): who knows it subtracts it"
    fix = "never seed the noise generator with a constant"
    return Check("independence", "trainings", worst, p, p < b.level, means, fix)


def _between_tensors(b: Bench) -> list[Check]:
    names = b.alike
    pairs = [(x, y) for i, x in enumerate(names) for y in (names[:i] if len(names) <= 40 else names[max(0, i - 1) : i])]
    rows = []
    for x, y in pairs:
        size = min(b.silent.of(x).shape[1], b.silent.of(y).shape[1])
        one, two = b.silent.of(x)[:, :size], b.silent.of(y)[:, :size]
        p = b.corrected(cosine_p(cosine(one, two), one.size), len(pairs)) if one.size > 1 else 1.0
        rows.append((p, f"{x} and {y}", float((one * two).mean() / b.answer.noise**2)))
    if not rows:
        return []
    p, about, measured = min(rows)
    means = "two tensors get the same noise (measured: their covariance over the noise's variance)"
    fix = "do not reset the noise generator between tensors"
    return [Check("independence", about, measured, p, p < b.level, means, fix)]


def _within_tensors(b: Bench) -> list[Check]:
    rows = []
    for name in b.alike:
        shape, fine = b.probe.checkpoint[name].shape, b.fine(name)
        if fine.mean() < 0.9 or fine.size < 2:
            continue
        z = b.silent.of(name).reshape(-1, *shape)
        whole = float(np.square(z).sum())
        for axis in range(len(shape)):
            if shape[axis] > 1 and whole:
                part = float(np.square(z.sum(axis + 1)).sum()) / shape[axis]
                p = share_p(part / whole, z.size / shape[axis], z.size)
                rows.append((p, f"{name}, axis {axis}", part / whole * shape[axis]))
    if not rows:
        return []
    p, about, measured = min(rows)
    p = b.corrected(p, len(rows))
    means = "values of one tensor get related noise (measured: variance along the axis's mean, over the declared)"
    return [Check("independence", about, measured, p, p < b.level, means, "draw noise of the parameter's full shape")]


def sensitivity_check(b: Bench) -> Check:
    """Does no crafted record move the model by more than `clip / batch` per participation?"""
    rows = []
    for about, which, copies in (
        ("every record loud", b.full, b.claim.records),
        ("a few loud records", b.few, b.some),
        ("a few louder records", b.louder, b.some),
    ):
        bound = copies * b.answer.reach
        halves = along_own_mean(b.of(which))
        p = min(mean_above(half, bound) for half in halves)
        rows.append((b.corrected(p, 6), -float(np.mean([h.mean() for h in halves])) / bound, about))
    p, ratio, about = min(rows)
    means = f"records move the model {-ratio:.3g} times as far as clipping and sampling as declared allow"
    fix = "clip the gradient of each record to norm clip over all parameters together, before any sum or mean"
    return Check("sensitivity", about, -ratio, p, p < b.level, means, fix)


def sampling_check(b: Bench) -> Check | str:
    """Does the number of loud records in a training vary as the declared sampling makes it? A string: why not tested."""
    if b.answer.counts is None:
        return "sampling: Adam hides how many records moved it; give the loader's batches to `participation`"
    moved = b.of(b.full)
    halves = along_own_mean(moved)
    mean = float(np.mean([half.mean() for half in halves])) / b.claim.records
    noise = float(np.square(unit(moved.mean(0))) @ b.scale)
    expected = b.claim.records * mean**2 * b.answer.counts + noise
    count = len(moved) - 2
    if expected <= 0:
        return "sampling: the trainer answers neither to noise nor to records"
    if b.answer.counts:
        enough = least_count(expected / max(noise, 1e-300), b.level / FAMILIES / 2, SPREAD_LOW)
        if enough is None or enough > len(moved):
            return f"sampling: the noise hides the batch sizes; {enough or 'over 128'} runs or a larger batch are needed"
    squares = sum(float(np.square(half - half.mean()).sum()) for half in halves) / expected
    low = b.corrected(too_small(squares, count, SPREAD_LOW), 2)
    high = b.corrected(too_large(squares, count, SPREAD_HIGH), 2)
    p = min(low, high)
    if low < high:
        means = "batches do not vary as Poisson sampling makes them: fixed batches, or division by the batch at hand"
        fix = "draw each record by its own coin in each step, divide by the expected batch; or account for shuffling"
    else:
        means = f"the records in a training vary more than {b.claim.sampling} sampling as declared makes them"
        fix = "declare the sampling and rate that the loader really uses"
    return Check("sampling", "every record loud", squares / count, p, p < b.level, means, fix)


def mixing_check(b: Bench) -> Check:
    """Do records without gradient, far from the data, change what a loud record does? Exact permutation test."""
    scale = np.sqrt(np.where(b.scale > 0, b.scale, 1.0))
    one, two = b.of(b.few) / scale, b.of(b.wild) / scale
    p = b.corrected(same_distribution(one, two, stream(b.probe.seed, "mixing"), draws=round(10 * FAMILIES / b.level)))
    far = float(np.linalg.norm(one.mean(0) - two.mean(0)) / max(np.linalg.norm(one.mean(0)), 1e-300))
    means = "a record's gradient depends on other records of its batch (measured: relative change of the mean movement)"
    return Check("mixing", "far records", far, p, p < b.level, means, "remove batch norm and all else across a batch")


def crowding_check(b: Bench) -> Check | str:
    """Does a loud record contribute as much beside a louder one as without? A string: why not tested."""
    full = b.of(b.full)
    along = unit(full.mean(0))
    alone, beside, rest = (b.of(m) @ along for m in (b.few, b.crowd, b.louder))
    grown = np.mean([h.mean() for h in along_own_mean(full)]) / max(alone.mean(), 1e-300) * b.some / b.claim.records
    if not 0.4 <= grown <= 2.5:
        return f"crowding: {b.claim.records // b.some} times the loud records move it {grown:.2g} times as far each"
    low, high = (_contrast(beside, rest, alone, factor) for factor in (1 / CROWD, CROWD))
    p = b.corrected(min(low, 1 - high), 2)
    share = float((beside.mean() - rest.mean()) / alone.mean())
    means = f"beside louder records a record contributes {share:.2g} times what it does alone: clipping is of the batch"
    fix = "the factor that clips one record must not depend on any other record"
    return Check("crowding", "loud beside louder", share, p, p < b.level, means, fix)


def _contrast(beside: Array, rest: Array, alone: Array, factor: float) -> float:
    """P-value of "beside - rest is at least factor times alone", by a conservative t test."""
    from scipy.stats import t

    gap = float(beside.mean() - rest.mean() - factor * alone.mean())
    spread = np.sqrt(sum(v.var(ddof=1) / len(v) * f for v, f in ((beside, 1), (rest, 1), (alone, factor**2))))
    return float(t.cdf(gap / max(float(spread), 1e-300), min(len(beside), len(rest), len(alone)) - 1))


def _names(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
