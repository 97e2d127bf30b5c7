"""Made-up data-trap audits of the size of a real one, and what their traps hold."""

import numpy as np

from undertow.rng import stream
from undertow.traps.capture import captures
from undertow.traps.recorder import NOTHING, Candidates
from undertow.types import AuditResult, Measurement

TRAPS, RECORDS = 64, 200
COUNTS = {"traps": 64, "captured_exact": 50, "captured_unique": 47, "mixed": 9, "none": 5, "accepted": 52}
ACCURACY = {
    ("planted", "before"): 0.92,
    ("clean_twin", "before"): 0.96,
    ("planted", "after"): 0.94,
    ("clean_twin", "after"): 0.95,
}


def rows_of(seed, counts=COUNTS, precision=1.0, error=7e-6, accuracy=ACCURACY):
    rows = [Measurement("datatrap", k, float(x), None, None, 64, "traps", seed=seed) for k, x in counts.items()]
    accepted = int(counts["accepted"])
    low, high = (None, None) if precision is None else (max(0.0, precision - 0.07), precision)
    why = "no reading was accepted" if precision is None else None
    rows.append(
        Measurement(
            "datatrap", "accepted_precision", precision, low, high, accepted, "accepted readings", seed=seed, reason=why
        )
    )
    why = "no exact capture" if error is None else None
    rows.append(Measurement("datatrap", "max_error", error, None, None, 50, "exact captures", seed=seed, reason=why))
    for (arm, when), x in accuracy.items():
        low, high = max(0.0, x - 0.03), min(1.0, x + 0.03)
        rows.append(Measurement("utility", "accuracy", x, low, high, 297, "records", group=arm, when=when, seed=seed))
    return rows


def means_of(runs):
    rows = []
    for same in zip(*runs, strict=True):
        values = [m.value for m in same if m.value is not None]
        if same[0].metric != "traps" and values:
            x = float(np.mean(values))
            group, when = same[0].group, same[0].when
            rows.append(
                Measurement(
                    same[0].attack, same[0].metric, x, 0.9 * x, x * 1.05, len(values), "seeds",
                    group=group, when=when, seed="mean",
                )
            )  # fmt: skip
    rows.append(Measurement("datatrap", "collapsed", 0.0, None, None, len(runs), "seeds", seed="mean"))
    return rows


def build(*runs, **changes):
    """An audit of these experiments, each the rows of one seed; with several, their means."""
    runs = runs or (rows_of(0),)
    fields = {
        "audit": "datatrap",
        "config": {"seed": 0, "seeds": len(runs), "traps": {"count": 64, "grid": True}},
        "seed": 0,
        "environment": {"undertow": "0.3.0"},
        "data": {"name": "digit", "sizes": {"victim": 1000, "auxiliary": 500, "test": 297}, "embedded": True},
        "measurements": (*(m for run in runs for m in run), *(means_of(runs) if len(runs) > 1 else ())),
        "timing": {"seed 0": 3.5},
        "warnings": ("The attacker's records come from the same source as the victim's.",),
    }
    return AuditResult(**(fields | changes))


def several(seeds=5, broken=0):
    """Seeds that differ; the first `broken` of them broke down."""
    runs = []
    for seed in range(seeds):
        counts = COUNTS | {"captured_exact": 50 + seed % 3, "mixed": 9 - seed % 3}
        worth = ACCURACY | ({("planted", "after"): 0.1} if seed < broken else {})
        runs.append(rows_of(seed, counts, accuracy=worth))
    return build(*runs)


def read(shape=(8, 8), traps=TRAPS):
    """What traps hold of RECORDS records: (candidates, captures, records, ids); of each state there is one."""
    rng = stream(5, "traps")
    records = rng.integers(0, 17, (RECORDS, *shape)) / 16
    flat = records.reshape(RECORDS, -1)
    values = flat[:traps].copy()
    accepted, reasons = np.ones(traps, bool), np.full(traps, "", object)
    values[1] = flat[1] + 0.002  # a record once rounded
    values[2] = (flat[2] + flat[3]) / 2  # accepted but wrong
    values[3] = flat[3] + 0.01  # a record, but rejected
    values[4] = (flat[4] + flat[5]) / 2  # rejected
    values[5] = np.nan  # nothing
    accepted[3:6] = False
    reasons[3:6] = ("pushed open", "between grey levels: several records mixed", NOTHING)
    step = np.where(np.arange(traps) == 5, 0.0, -1.0)
    candidates = Candidates(values[:, None], step[:, None], accepted[:, None], reasons[:, None])
    return candidates, captures(candidates, records, grid=16), records, tuple(f"digit-{i}" for i in range(RECORDS))
