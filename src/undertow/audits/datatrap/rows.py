"""What a data-trap experiment found, as rows: one set per seed, and their means over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from undertow.audits.datatrap.kit import Judged
from undertow.metrics.binomial import proportion
from undertow.metrics.student import mean_interval
from undertow.types import Measurement

COLLAPSE = 0.1  # accuracy below the clean twin's, from which a finetuning counts as broken by the traps
AVERAGED = ("captured_exact", "captured_unique", "mixed", "none", "accepted", "accepted_precision", "max_error",
            "similar_unique", "ssim", "psnr", "token_accuracy", "rouge_l",
            "identified", "identified_blind")  # fmt: skip
FROZEN = "the finetuning left the layer that holds the traps as it was: nothing can be written into it"


def seed_rows(
    seed: int, judged: Judged, accuracy: Mapping[tuple[str, str], float | None], tests: int, alarms: int
) -> Iterator[Measurement]:
    """Counts of traps, the precision of what was accepted, and accuracy by (arm, when).

    `alarms`: readings of the clean twin, which holds no trap, that the attacker would accept.

    Counts are of this one run: they have no interval. Precision and accuracy have Clopper and Pearson's. An accuracy
    of None is of a finetuning that ended in NaN.
    """
    found = judged.captures
    traps = found.counts["traps"]
    warning = FROZEN if (judged.candidates.reasons == FROZEN).all() else None
    for metric, count in found.counts.items():
        about = warning if metric == "none" else None
        yield Measurement("datatrap", metric, float(count), None, None, traps, "traps", seed=seed, warning=about)
    yield Measurement("datatrap", "accepted", float(alarms), None, None, traps, "traps", None, "clean_twin", seed=seed)
    accepted = found.counts["accepted"]
    right = int(found.right[found.accepted].sum())
    row = Measurement("datatrap", "accepted_precision", None, None, None, accepted, "accepted readings", seed=seed)
    yield replace(row, **proportion(right, accepted)) if accepted else replace(row, reason="no reading was accepted")
    exact = found.counts["captured_exact"]
    worst = found.max_error
    yield Measurement(
        "datatrap", "max_error", worst, None, None, exact, "exact captures", seed=seed,
        reason="no exact capture" if worst is None else None,
    )  # fmt: skip
    for metric, (value, n, unit) in judged.quality.items():
        why = "nothing was read" if value is None else None
        yield Measurement("datatrap", metric, value, None, None, n, unit, seed=seed, reason=why)
    for (arm, when), share in accuracy.items():
        row = Measurement("utility", "accuracy", None, None, None, tests, "records", None, arm, when=when, seed=seed)
        if share is None:
            yield replace(row, reason="the finetuning diverged")
        else:
            yield replace(row, **proportion(round(share * tests), tests))


def mean_rows(runs: Sequence[Sequence[Measurement]]) -> Iterator[Measurement]:
    """Each row's mean over at least two seeds with a t interval over them, and how many finetunings broke down.

    The interval is cut to what is possible; where all values are equal, it would say nothing and is left out.
    """
    if len(runs) < 2:
        return
    for rows in zip(*runs, strict=True):
        values = np.array([row.value for row in rows if row.value is not None])
        if rows[0].metric in (*AVERAGED, "accuracy") and len(values) > 1:
            row = mean_interval(values)
            low, high = max(0.0, row["low"]), min(_most(rows[0]), row["high"])
            sure = row["high"] > row["low"]
            yield replace(
                rows[0], value=row["value"], low=low if sure else None, high=high if sure else None, n=len(values),
                unit="seeds", seed="mean", reason=None,
            )  # fmt: skip
    broken = sum(lost(rows) > COLLAPSE for rows in runs)
    yield Measurement("datatrap", "collapsed", float(broken), None, None, len(runs), "seeds", seed="mean")


def _most(row: Measurement) -> float:
    """The largest value that such a number can have."""
    if row.unit == "traps":
        return float(row.n)
    return float("inf") if row.metric in ("max_error", "psnr") else 1.0


def lost(rows: Sequence[Measurement]) -> float:
    """By how much the planted model's accuracy after finetuning lies below its clean twin's."""
    after = {row.group: row.value or 0.0 for row in rows if row.metric == "accuracy" and row.when == "after"}
    return after["clean_twin"] - after["planted"]
