"""The tests of a private trainer: what each asks of the crafted trainings, what a rejection means, how to mend it.

P-values are corrected for the families of tests and for the tensors within one.
"""

from collections.abc import Sequence

import numpy as np

from undertow.audits.dp.bench import FAMILIES, Bench, Check, follows_records
from undertow.metrics.conformance import (
    along_own_mean,
    cosine,
    cosine_p,
    least_count,
    mean_above,
    same_distribution,
    share_p,
    sum_below,
    too_large,
    too_small,
    unit,
)
from undertow.rng import stream

NOISE_TOLERANCE = 0.05  # of variance: a difference this small is not reported
SPREAD_LOW, SPREAD_HIGH = 0.6, 1.7  # of the spread that coins give
CROWD = 3.0  # times more or less that one record's contribution may be in the company of another


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
    means = "trainings of different seeds move alike (measured: largest cosine): they share noise, or decay without any"
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
    """Do the loud records in a training vary as the declared sampling makes them? A string: why not tested."""
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
            return (
                f"sampling: the noise hides the batch sizes; {enough or 'over 128'} runs or a larger batch are needed"
            )
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
    far = float(np.linalg.norm(one.mean(0) - two.mean(0))) / max(float(np.linalg.norm(one.mean(0))), 1e-300)
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
    low = sum_below((beside, -rest, -alone / CROWD))
    high = sum_below((-beside, rest, alone * CROWD))
    p = b.corrected(min(low, high), 2)
    share = float((beside.mean() - rest.mean()) / alone.mean())
    means = f"beside louder records a record contributes {share:.2g} times what it does alone: clipping is of the batch"
    fix = "the factor that clips one record must not depend on any other record"
    return Check("crowding", "loud beside louder", share, p, p < b.level, means, fix)


def _names(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
