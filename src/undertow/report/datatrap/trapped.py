"""The rows of a data-trap audit: its experiments, what their traps hold, what the models are worth."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from undertow.metrics.student import mean_interval, prediction_interval
from undertow.types import AuditResult, Measurement

MEAN = "mean"
BROKEN = 0.1  # accuracy below the clean twin's from which a finetuning counts as broken by the traps
COUNTS = {
    "traps": "Traps",
    "captured_exact": "Exact",
    "captured_unique": "Distinct",
    "mixed": "Mixed",
    "none": "Nothing",
    "accepted": "Accepted",
    "accepted_precision": "Precision",
    "max_error": "Largest error",
}
ARMS = {"planted": "planted", "clean_twin": "clean twin"}
TIMES = ("before", "after")


class Key(NamedTuple):
    """What a number is of, but for the experiment."""

    attack: str
    metric: str
    group: str | None = None
    when: str | None = None
    fpr: float | None = None


TRAPS = Key("datatrap", "traps")


def seeds_of(result: AuditResult) -> tuple[int | str, ...]:
    """The experiments, by seed, in the order of the result."""
    found = dict.fromkeys(_seed(result, m) for m in _rows(result))
    return tuple(seed for seed in found if seed != MEAN)


def cell(result: AuditResult, key: Key, seed: int | str) -> Measurement | None:
    """The number so named; None where there is none. The mean's row has the number of traps too: that of the first."""
    found = {_seed(result, m): m for m in reversed(list(_rows(result))) if _key(m) == key}
    return found.get(seed, found.get(seeds_of(result)[0]) if key == TRAPS and seed == MEAN else None)


def traps_cell(result: AuditResult, metric: str, seed: int | str) -> Measurement | None:
    """A number of the traps."""
    return cell(result, Key("datatrap", metric), seed)


def accuracy(result: AuditResult, seed: int | str, arm: str, when: str) -> Measurement | None:
    """Of one arm before or after finetuning."""
    return cell(result, Key("utility", "accuracy", arm, when), seed)


def number(result: AuditResult, metric: str, seed: int | str) -> float | None:
    """The value of a number of the traps."""
    m = traps_cell(result, metric, seed)
    return None if m is None else m.value


def others_of(result: AuditResult) -> tuple[Key, ...]:
    """Numbers that have no column of their own."""
    counts = {Key("datatrap", metric) for metric in (*COUNTS, "collapsed")}
    worth = {Key("utility", "accuracy", arm, when) for arm in ARMS for when in TIMES}
    return tuple(dict.fromkeys(key for m in _rows(result) if (key := _key(m)) not in counts | worth))


def name_of(key: Key) -> str:
    """A column's name for a number that has none of its own.

    >>> name_of(Key("datatrap", "ssim")), name_of(Key("utility", "heldout_loss", "planted", "after"))
    ('SSIM', 'held-out loss, planted, after')
    """
    label = Measurement(key.attack, key.metric, None, None, None, 0, "", key.fpr).label
    who = () if key.attack in ("datatrap", "utility") else (key.attack,)
    return ", ".join((*who, label, *filter(None, (ARMS.get(key.group or "", key.group), key.when))))


def victims_of(result: AuditResult) -> int | None:
    """How many records the victim has; None where the result does not say."""
    size = result.data.get("sizes", {}).get("victim")
    return size if isinstance(size, int) and size > 0 else None


def sizes(result: AuditResult) -> str:
    """How many records each part has, in words; empty where the result does not say."""
    known = result.data.get("sizes", {})
    parts = (("victim", "of the victim"), ("auxiliary", "of the attacker"), ("test", "that test"))
    said = [f"{known[key]:,} {words}" for key, words in parts if isinstance(known.get(key), int)]
    return f"records: {', '.join(said)}" if said else ""


def gap(result: AuditResult, seed: int | str, when: str) -> float | None:
    """Accuracy of the planted model less its clean twin's."""
    planted, twin = (accuracy(result, seed, arm, when) for arm in ARMS)
    if planted is None or twin is None or planted.value is None or twin.value is None:
        return None
    return planted.value - twin.value


def broken_of(result: AuditResult) -> tuple[int | str, ...] | None:
    """The experiments whose finetuning broke down; None where accuracy is not known of all."""
    gaps = {seed: gap(result, seed, "after") for seed in seeds_of(result)}
    if not gaps or any(found is None for found in gaps.values()):
        return None
    return tuple(seed for seed, found in gaps.items() if found is not None and found < -BROKEN)


def mean_gap(result: AuditResult, seeds: tuple[int | str, ...], when: str) -> Measurement | None:
    """The gap averaged over the experiments `seeds`, with a t interval over them where there are several."""
    found = np.array([x for seed in seeds if (x := gap(result, seed, when)) is not None])
    if not len(found):
        return None
    n = len(found)
    row = mean_interval(found) if n > 1 else {"value": float(found[0]), "low": None, "high": None}
    return Measurement("utility", "accuracy_difference", row["value"], row["low"], row["high"], n, "seeds", when=when)


@dataclass(frozen=True)
class Total:
    """A count summed over experiments, and its smallest and largest."""

    sum: float
    low: float
    high: float
    n: int

    @property
    def mean(self) -> float:
        return self.sum / self.n


def total(result: AuditResult, metric: str) -> Total | None:
    """A count over all experiments that have it."""
    found = [x for seed in seeds_of(result) if (x := number(result, metric, seed)) is not None]
    return Total(sum(found), min(found), max(found), len(found)) if found else None


def another(result: AuditResult, metric: str) -> tuple[float, float] | None:
    """Where a count of one more experiment falls with probability 95 %, within 0 to the number of traps.

    None for fewer than two experiments, or where all agree, whose scatter is then not known.
    """
    found = [x for seed in seeds_of(result) if (x := number(result, metric, seed)) is not None]
    traps = total(result, "traps")
    if len(found) < 2 or len(set(found)) == 1 or traps is None:
        return None
    new = prediction_interval(np.array(found))
    return max(0.0, new["low"]), min(traps.high, new["high"])


def right_of(result: AuditResult) -> int | None:
    """How many accepted readings are a record, over all experiments; None where precision is not known."""
    pairs = [(number(result, "accepted", s), number(result, "accepted_precision", s)) for s in seeds_of(result)]
    known = [(n, share) for n, share in pairs if n is not None and share is not None]
    return sum(round(n * share) for n, share in known) if known else None


def _seed(result: AuditResult, m: Measurement) -> int | str:
    return result.seed if m.seed is None else m.seed


def _rows(result: AuditResult) -> Iterator[Measurement]:
    yield from result.measurements
    yield from result.controls


def _key(m: Measurement) -> Key:
    return Key(m.attack, m.metric, m.group, m.when, m.fpr)
