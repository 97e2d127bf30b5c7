"""The noise of a private trainer, tested where no record has a gradient: its size, everywhere, and its independence.

P-values are corrected for the families of tests and for the tensors within one.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from undertow.audits.dp.bench import Bench, Check, follows_records
from undertow.metrics.conformance import (
    cosine,
    cosine_p,
    least_high,
    least_low,
    share_p,
    too_large,
    too_small,
)
from undertow.types import Array

NOISE_TOLERANCE = 0.05  # of variance: a difference this small is not reported
BLOCKS = 32  # of each tensor's numbers, in order
Row = tuple[float, str, float]  # p-value, tensor, variance over the declared


def noise_checks(b: Bench) -> list[Check]:
    """Is the movement without gradients the noise that was declared, in every tensor and every part of it?"""
    if not b.ratios:
        return []
    whole = [*b.ratios.items()]
    total = sum(ratio * count for ratio, count in b.ratios.values()), sum(n for _, n in b.ratios.values())
    whole.append(("all together", (total[0] / total[1], total[1])))
    low = [(b.corrected(too_small(r * n, n, 1 - NOISE_TOLERANCE), 2 * len(whole)), name, r) for name, (r, n) in whole]
    high = [(b.corrected(too_large(r * n, n, 1 + NOISE_TOLERANCE), len(whole)), name, r) for name, (r, n) in whole]
    return [*still_check(b), _noise_low(b, low), _parts(b), _noise_high(b, high)]


def still_check(b: Bench) -> list[Check]:
    """Numbers that never differ between silent trainings although records move them have no noise, for certain."""
    if b.one_noise:
        return []
    found, seen = {}, 0
    for name in b.ratios:
        if follows_records(name) or not b.ratios[name][0]:
            continue
        still = ~np.ptp(b.silent.of(name), axis=0).astype(bool) & b.fine(name)
        answers = np.any([(m.of(name) != b.silent.of(name)[0]).any(0) for m in b.sets[1:]], axis=0)
        seen += int((~still).sum())
        if (still & answers).any():
            found[name] = np.flatnonzero(still & answers)
    count = sum(len(v) for v in found.values())
    about = ", ".join(f"{len(v)} of {b.silent.of(n).shape[1]} numbers of {n}" for n, v in [*found.items()][:2])
    means = f"records move {count} numbers that have no noise at all (first of {_first(b, found)}): epsilon is infinite"
    fix = "draw noise of every parameter's full shape, and add it to all of it"
    least = "one number without noise"
    return [Check("still", about or "every number", float(count), float(not count), bool(count), means, fix, least)]


def _first(b: Bench, found: dict[str, Array]) -> str:
    for name, numbers in found.items():
        place = np.unravel_index(numbers[0], b.probe.checkpoint[name].shape)
        return f"{name}: {tuple(int(i) for i in place)}"
    return ""


def never_moved(b: Bench) -> list[str]:
    """Why some numbers were not tested: no training moved them."""
    count = 0
    for name in b.moved:
        here = np.any([m.of(name).any(0) for m in b.sets], axis=0)
        count += int((~here & b.shows(name)).sum()) if not follows_records(name) else 0
    return [f"{count} numbers of trained tensors that moved in no training: frozen, or without gradient here"] * bool(
        count
    )


def _parts(b: Bench) -> Check:
    """Rows, columns and blocks of each tensor, against the level of the tensor (at most the declared)."""
    rows = [(p, about, ratio, n) for name in b.ratios for p, about, ratio, n in _groups(b, name)]
    rows = rows or [(1.0, "none", 1.0, 1.0)]
    within = 2 * len(rows)
    p, about, ratio, _ = min(rows)
    p = b.corrected(p, within)
    size = float(np.median([n for *_, n in rows]))
    least = f"{np.sqrt(least_low(size, b.single(within), 1 - NOISE_TOLERANCE)):.2g} of the noise in a usual part"
    means = f"a part of a tensor has {np.sqrt(max(ratio, 0)):.3g} times the noise of the rest: the guarantee is weaker"
    return Check(
        "noise in parts", about, float(np.sqrt(max(ratio, 0))), p, p < b.level, means, "one scale for all noise", least
    )


def _groups(b: Bench, name: str) -> Iterator[tuple[float, str, float, float]]:
    """(p, about, variance over the tensor's, squares) of each part of a tensor."""
    level = min(1.0, b.ratios[name][0])
    if level <= 0 or follows_records(name):
        return
    squares, degrees = b.squares(name)
    fine, shape = b.fine(name), b.probe.checkpoint[name].shape
    squares, here = np.where(fine, squares, 0.0), fine.astype(float)
    parts = []
    for axis in range(len(shape)):
        if shape[axis] > 1 and len(shape) > 1:
            rest = tuple(i for i in range(len(shape)) if i != axis)
            parts.append((f"axis {axis}", squares.reshape(shape).sum(rest), here.reshape(shape).sum(rest)))
    if fine.size >= 2 * BLOCKS:
        edges = np.linspace(0, fine.size, BLOCKS + 1).astype(int)[:-1]
        parts.append((f"block of {BLOCKS}", np.add.reduceat(squares, edges), np.add.reduceat(here, edges)))
    for about, sums, counts in parts:
        counts = counts * degrees
        p = stats.chi2.cdf(sums / ((1 - NOISE_TOLERANCE) * level), np.maximum(counts, 1))
        for i in np.flatnonzero(counts):
            yield float(p[i]), f"{name}, {about}, {i}", float(sums[i] / counts[i] / level), float(counts[i])


def _noise_low(b: Bench, rows: list[Row]) -> Check:
    p, name, ratio = min(rows)
    hit = [row for row in rows if row[0] < b.level and row[1] != "all together"]
    bare = [row[1] for row in hit if row[2] == 0]
    if bare and len(bare) < len(b.ratios):
        means = "these are trained without noise: what they learn is not private"
        fix = "give every trained parameter to the private optimiser, freeze the others"
        return Check("noise", _names(bare), 0.0, p, True, means, fix)
    if bare:
        return Check("noise", "all", 0.0, p, True, "no noise is added", "add the noise before the optimiser's step")
    scaled = p < b.level and b.only_scaled and b.reach_is_covered
    means = f"the noise has {np.sqrt(max(ratio, 0)):.3g} times the declared deviation"
    means += b.not_weaker if scaled else ": the guarantee is weaker"
    fix = "noise on the sum of gradients has deviation noise_multiplier * clip; divide sum and noise by batch, once"
    if scaled:
        fix = "declare the divisor, lr, clip_after, average or optimizer that is really used"
    whole = max(n for _, n in b.ratios.values()) if len(b.ratios) == 1 else sum(n for _, n in b.ratios.values())
    find = [np.sqrt(least_low(n, b.single(2 * len(rows)), 1 - NOISE_TOLERANCE)) for n in (whole, _smallest(b))]
    least = f"{find[0]:.2f} of the noise, {find[1]:.2f} in the smallest tensor alone"
    about = _names([row[1] for row in hit] or [name])
    return Check("noise", about, float(np.sqrt(ratio)), p, p < b.level, means, fix, least, not scaled)


def _smallest(b: Bench) -> int:
    return min(n for _, n in b.ratios.values())


def _noise_high(b: Bench, rows: list[Row]) -> Check:
    p, name, ratio = min(rows)
    hit = [row[1] for row in rows if row[0] < b.level and row[1] != "all together"]
    buffers = [name for name in hit if follows_records(name)]
    measured = float(np.sqrt(ratio))
    find = np.sqrt(least_high(sum(n for _, n in b.ratios.values()), b.single(len(rows)), 1 + NOISE_TOLERANCE))
    least = f"{find:.2f} times the noise"
    if buffers:
        means = "these move with the records and not by the declared noise: batch norm publishes batch statistics"
        return Check("noise", _names(buffers), measured, p, True, means, "replace batch norm by group norm", least)
    if b.claim.steps > 1 and abs(ratio / b.answer.reused - 1) < 0.15 and not b.grows_with_noise:
        means = "the same noise is added in every step: it cancels between iterates"
        fix = "draw new noise in each step; do not reset the generator's seed"
        return Check("excess noise", _names(hit or [name]), measured, p, p < b.level, means, fix, least)
    weaker = not (p < b.level and not b.reach_exceeds)
    means = f"movements without gradient have {measured:.3g} times the declared deviation"
    means += ": not what was declared" if weaker else b.not_weaker
    fix = "declare the batch, divisor, clip, lr and steps that are really used"
    return Check("excess noise", _names(hit or [name]), measured, p, p < b.level, means, fix, least, weaker)


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
    size = sum(int(b.fine(name).sum()) for name in b.moved if not follows_records(name) and name not in b.steady)
    p = b.corrected(cosine_p(worst, max(2, size)), len(pairs))
    means = "trainings of different seeds move alike (measured: largest cosine): they share noise, or decay without any"
    fix = "never seed the noise generator with a constant"
    least = f"a shared part of {_least_cosine(b, size, len(pairs)):.2g} of the noise"
    return Check("independence", "trainings", worst, p, p < b.level, means, fix, least)


def _least_cosine(b: Bench, size: int, within: int) -> float:
    """The cosine that `cosine_p` finds in 95 % of cases."""
    null = np.sqrt(stats.beta.isf(b.single(within), 0.5, (max(2, size) - 1) / 2))
    return float(min(1.0, null + stats.norm.isf(0.05) / np.sqrt(max(2, size))))


def _between_tensors(b: Bench) -> list[Check]:
    names = [name for name in b.alike if name not in b.steady]
    pairs = [(x, y) for i, x in enumerate(names) for y in (names[:i] if len(names) <= 40 else names[max(0, i - 1) : i])]
    rows, sizes = [], []
    for x, y in pairs:
        size = min(b.silent.of(x).shape[1], b.silent.of(y).shape[1])
        one, two = b.silent.of(x)[:, :size], b.silent.of(y)[:, :size]
        p = b.corrected(cosine_p(cosine(one, two), one.size), len(pairs)) if one.size > 1 else 1.0
        rows.append((p, f"{x} and {y}", float((one * two).mean() / b.answer.noise**2)))
        sizes.append(one.size)
    if not rows:
        return []
    p, about, measured = min(rows)
    means = "two tensors get the same noise (measured: their covariance over the noise's variance)"
    fix = "do not reset the noise generator between tensors"
    least = f"{_least_cosine(b, min(sizes), len(pairs)):.2g} of the noise shared by the two smallest"
    return [Check("independence", about, measured, p, p < b.level, means, fix, least)]


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
                rows.append((p, f"{name}, axis {axis}", part / whole * shape[axis], z.size / shape[axis]))
    if not rows:
        return []
    p, about, measured, _ = min(rows)
    p = b.corrected(p, len(rows))
    size = min(row[3] for row in rows)
    means = "values of one tensor get related noise (measured: variance along the axis's mean, over the declared)"
    least = f"{least_high(size, b.single(2 * len(rows)), 1.0):.2g} times the variance along an axis's mean"
    fix = "draw noise of the parameter's full shape"
    return [Check("independence", about, measured, p, p < b.level, means, fix, least)]


def _names(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
