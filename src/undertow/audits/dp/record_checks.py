"""What one record may do to a private trainer: how far, how often, and whether other records change it."""

import numpy as np

from undertow.audits.dp.bench import FAMILIES, Bench, Check
from undertow.metrics.conformance import (
    along_own_mean,
    least_count,
    least_distance,
    least_high,
    least_low,
    least_shift,
    least_sum,
    mean_above,
    same_distribution,
    sum_below,
    too_large,
    too_small,
    unit,
)
from undertow.rng import stream
from undertow.types import Array

QUESTIONS = 9  # of the sensitivity: four sets of trainings in two halves, and a few faint records
SPREAD_LOW, SPREAD_HIGH = 0.6, 1.7  # of the spread that coins give
UNEVEN = 1.02  # of the declared reach of one half
EVEN = 1.05  # of the declared spread of a few records
CROWD = 3.0  # times more or less that one record's contribution may be in the company of another


def sensitivity_check(b: Bench) -> Check:
    """Does no crafted record move the model by more than `clip / batch` per participation?"""
    rows = []
    for about, which, copies in (
        ("every record loud", b.full, b.claim.records),
        ("a few loud records", b.few, b.some),
        ("a few louder records", b.louder, b.some),
        ("every record loud in both uses of tied weights", b.tied, b.claim.records),
    ):
        if which is None:
            continue
        bound = copies * b.answer.reach
        halves = along_own_mean(b.of(which))
        p = min(mean_above(half, bound) for half in halves)
        least = min(1 + least_shift(half, b.single(QUESTIONS)) / bound for half in halves)
        ratio = -float(np.mean([h.mean() for h in halves])) / bound
        rows.append((b.corrected(p, QUESTIONS), ratio, about, least, mean_error(np.concatenate(halves)) / bound))
    if b.faint is not None:
        values, bound = b.of(b.faint[0]) @ unit(b.of(b.few).mean(0)), b.faint[1] * b.answer.reach
        p, least = (
            b.corrected(mean_above(values, bound), QUESTIONS),
            1 + least_shift(values, b.single(QUESTIONS)) / bound,
        )
        ratio = -float(values.mean()) / bound
        rows.append((p, ratio, f"{b.faint[1]} loud records", least, mean_error(values) / bound))
    p, ratio, about, _, error = min(rows)
    scaled = p < b.level and b.scaled_with_noise(-ratio, error)
    means = f"records move the model {-ratio:.3g} times as far as clipping and sampling as declared allow"
    means += b.not_weaker if scaled else ""
    fix = "clip the gradient of each record to norm clip over all parameters together, before any sum or mean"
    fix = "declare the divisor and lr that are really used" if scaled else fix
    size = f"{min(row[3] for row in rows):.2f} times the clip norm or the rate"
    return Check("sensitivity", about, -ratio, p, p < b.level, means, fix, size, not scaled)


def rates_check(b: Bench) -> Check:
    """Do the first and the last, the even and the odd records move the model alike, and none more than its share?"""
    along, rows, errors = unit(b.of(b.full).mean(0)), [], {}
    means = {about: b.of(which) @ along / half(about, b.claim.records).sum() for about, which in b.halves.items()}
    for about, other in (("first", "last"), ("last", "first"), ("even", "odd"), ("odd", "even")):
        share = float(means[about].mean()) / b.answer.reach
        errors[share] = mean_error(means[about]) / b.answer.reach
        bound = UNEVEN * b.answer.reach
        rows.append((mean_above(means[about], bound), f"{about} records", share))
        slack = (2 - UNEVEN) * means[about]
        rows.append((sum_below((-slack, means[other])), f"{about} records, beside the {other}", share))
    p, about, ratio = min((b.corrected(p, len(rows)), about, ratio) for p, about, ratio in rows)
    large = max(row[2] for row in rows)
    weaker = large > UNEVEN and not b.scaled_with_noise(large, errors[large])
    text = f"the {about.split()[0]} records move the model {ratio:.3g} times as far as their declared share"
    text += ": they take part more often, or count more than once" if weaker else b.not_weaker
    fix = "give every record the same rate and weight 1: shards that do not overlap, each microbatch added once"
    find = min(least_sum((means[x], -means[y]), b.single(len(rows))) for x, y in (("first", "last"), ("even", "odd")))
    level = float(np.mean([v.mean() for v in means.values()]))
    least = f"{1 + find / level / 2:.2f} times the share in one half, the rest in the other" if level > 0 else ""
    return Check("rates", about, ratio, p, p < b.level, text, fix, least, weaker)


def half(about: str, records: int) -> Array:
    """(records,) bool: the rows of the half that is called so."""
    rows = np.arange(records)
    found: Array = {
        "first": rows < records // 2,
        "last": rows >= records // 2,
        "even": rows % 2 == 0,
        "odd": rows % 2 == 1,
    }[about]
    return found


def mean_error(values: Array) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def spread_check(b: Bench) -> Check | str:
    """Do a few records, others in each training, move it as evenly as coins make them? A string: why not tested.

    A record that counts twice in one training and not at all in the next has the declared mean, and twice the spread.
    """
    if b.claim.rate == 1 and b.answer.coins is not None:
        return "records that count twice in some steps and never in others: no coins are declared (rates are tested)"
    if b.answer.counts is None:
        return "records that count twice in some steps and never in others: Adam hides how many moved it"
    if b.spread is None:
        return "records that count twice in some steps and never in others: the noise hides them at this size"
    values = b.of(b.spread) @ unit(b.of(b.full).mean(0))
    noise = float(np.square(unit(b.of(b.full).mean(0))) @ b.scale)
    signal, more = spread_variance(b)
    expected = EVEN * (signal + noise)
    squares, degrees = float(np.square(values - values.mean()).sum()), len(values) - 1
    p = b.corrected(too_large(squares / expected, degrees))
    find = least_high(degrees, b.single(), EVEN)
    if find * (signal + noise) > 1.1 * (more + noise) and p >= b.level:
        return "records that count twice in some steps and never in others: the noise hides them at this size"
    excess = (find * (signal + noise) - noise) / (more / doubled(b)) if more else np.inf
    measured = squares / degrees / (signal + noise)
    scaled = p < b.level and b.scaled_with_noise(np.sqrt(measured), np.sqrt(measured / (2 * degrees)))
    means = "which records take part changes more than coins do: some count more than once, others are lost"
    means += b.not_weaker if scaled else ""
    fix = "give every record that is drawn the weight 1 in its step; add each microbatch once"
    least = f"{excess:.2f} times the spread of one record's part (a weight of 0 or 2 by chance has {doubled(b):.2f})"
    return Check("spread", "changing records", measured, p, p < b.level, means, fix, least, not scaled)


def spread_variance(b: Bench) -> tuple[float, float]:
    """Variance along the loud direction by coins of the loud records: at most, and if they counted 0 or 2 by chance.

    A participation moves it by at most the declared reach, on average by m; the mean square is at most m * reach.
    """
    mean = float((b.of(b.few) @ unit(b.of(b.full).mean(0))).mean()) / b.some
    mean = min(b.answer.reach, max(0.0, mean))
    one = b.some * (b.answer.coins or 0.0) * mean
    return one * b.answer.reach, one * mean * doubled(b)


def doubled(b: Bench) -> float:
    """Spread, over the declared, of records that count 0 or 2 by chance, half of each batch (Poisson rate q).

    Of B drawn records, B/2 count twice: a loud one's weight has variance 1, and (1 - loud share) with the others' taken
    into account; coins alone give q (1 - q).
    """
    rate = b.claim.rate
    return 1 + (1 - b.some / b.claim.records) / (1 - rate) if rate < 1 else np.inf


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
        enough = least_count(expected / max(noise, 1e-300), b.single(2), SPREAD_LOW)
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
    find = least_low(count, b.single(2), SPREAD_LOW), least_high(count, b.single(2), SPREAD_HIGH)
    least = f"{find[0]:.2g} or {find[1]:.2g} times the variance of the batch sizes and noise"
    return Check("sampling", "every record loud", squares / count, p, p < b.level, means, fix, least)


def mixing_check(b: Bench) -> Check | str:
    """Do records without gradient, far from the data, change what a loud record does? Exact permutation test."""
    if b.wild is None:
        return "mixing of records: a head without bias silences one input only"
    scale = np.sqrt(np.where(b.scale > 0, b.scale, 1.0))
    one, two = b.of(b.few) / scale, b.of(b.wild) / scale
    p = b.corrected(same_distribution(one, two, stream(b.probe.seed, "mixing"), draws=round(10 * FAMILIES / b.level)))
    size = max(float(np.linalg.norm(one.mean(0))), 1e-300)
    far = float(np.linalg.norm(one.mean(0) - two.mean(0))) / size
    means = "a record's gradient depends on other records of its batch (measured: relative change of the mean movement)"
    least = f"a change of {least_distance(one, two, b.single()) / size:.2f} of the movement"
    return Check("mixing", "far records", far, p, p < b.level, means, "remove batch norm and all else across it", least)


def crowding_check(b: Bench) -> Check | str:
    """Does a loud record contribute as much beside a louder one as without? A string: why not tested."""
    if b.crowd is None or b.louder is None:
        return "crowding: a head of two classes makes no louder records of these"
    full = b.of(b.full)
    along = unit(full.mean(0))
    alone, beside, rest = (b.of(m) @ along for m in (b.few, b.crowd, b.louder))
    grown = np.mean([h.mean() for h in along_own_mean(full)]) / max(alone.mean(), 1e-300) * b.some / b.claim.records
    if not 0.4 <= grown <= 2.5:
        doubt = " (is the gradient of the whole batch clipped as one?)" if grown < 0.4 else ""
        times = b.claim.records // b.some
        return f"crowding: {times} times the loud records move it {grown:.2g} times as far each{doubt}"
    low = sum_below((beside, -rest, -alone / CROWD))
    high = sum_below((-beside, rest, alone * CROWD))
    p = b.corrected(min(low, high), 2)
    share = float((beside.mean() - rest.mean()) / alone.mean())
    find = 1 / CROWD - least_sum((beside, -rest, -alone / CROWD), b.single(2)) / alone.mean()
    means = f"beside louder records a record contributes {share:.2g} times what it does alone: clipping is of the batch"
    fix = "the factor that clips one record must not depend on any other record"
    least = f"{find:.2g} of what a record contributes alone" if find > 0 else ""
    return Check("crowding", "loud beside louder", share, p, p < b.level, means, fix, least)
