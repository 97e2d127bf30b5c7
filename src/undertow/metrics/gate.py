"""--fail-if: one condition that turns measurements into an exit code; unknown is never a pass."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from undertow.metrics.interval import FPRS
from undertow.types import ConfigError, GateUndecided, Measurement

METRICS = ("auc", "balanced_accuracy", "tpr")
ALLOWED = "auc>X, balanced_accuracy>X, " + ", ".join(f"tpr@{fpr * 100:g}%>X" for fpr in FPRS)


@dataclass(frozen=True)
class Gate:
    """Fails when a metric exceeds a threshold. Use `parse_gate`, which checks."""

    metric: str
    fpr: float | None  # fraction; None but for "tpr"
    threshold: float

    def __str__(self) -> str:
        rate = "" if self.fpr is None else f"@{self.fpr * 100:g}%"
        return f"{self.metric}{rate}>{self.threshold:g}"


def parse_gate(text: str) -> Gate:
    """The condition written as `tpr@0.1%>0.01`, `auc > 0.6`; ConfigError where it cannot mean anything.

    The FPR is in percent and carries its sign: a bare `tpr@0.1` could be read two ways, a hundredfold apart.

    >>> parse_gate("tpr@0.1%>0.01")
    Gate(metric='tpr', fpr=0.001, threshold=0.01)
    """
    parts = re.fullmatch(r"\s*(\w+)\s*(?:@\s*([^\s<>=]*))?\s*([<>=!]+)\s*(\S+)\s*", text)
    if parts is None:
        _refuse(text, "not a condition")
    metric, rate, operator, threshold = parts.groups()
    if operator != ">":
        _refuse(text, f"operator {operator!r}; only > is known: higher leaks more")
    if metric not in METRICS:
        _refuse(text, f"metric {metric!r} is not measured")
    if (metric == "tpr") != (rate is not None):
        _refuse(text, "tpr needs an FPR" if metric == "tpr" else f"{metric} has no FPR")
    return Gate(metric, None if rate is None else _fpr(text, rate), _threshold(text, threshold))


def _fpr(text: str, rate: str) -> float:
    if not rate.endswith("%"):
        _refuse(text, f"FPR {rate!r} has no % sign")
    for fpr in FPRS:
        if _number(rate[:-1]) == _number(f"{fpr * 100:g}"):
            return fpr
    _refuse(text, f"FPR {rate!r} is not measured")


def _threshold(text: str, threshold: str) -> float:
    number = _number(threshold)
    if number is None or not 0 <= number < 1:
        _refuse(text, f"threshold {threshold!r} is not a fraction in [0, 1)")
    return number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _refuse(text: str, why: str) -> NoReturn:
    raise ConfigError(f"gate {text!r}: {why}; allowed: {ALLOWED} with X in [0, 1); example: tpr@0.1%>0.01")


def apply_gate(gate: Gate, measurements: Sequence[Measurement], skip: frozenset[str]) -> str | None:
    """None where every attack is within the gate, else one line that names each attack over it.

    Decided on the value, not on its interval. Controls (rows with a group) and the attacks in `skip` do not
    count. GateUndecided where a value is missing or nothing matches, unless another attack is already over.
    """
    rows = [
        m for m in measurements if (m.metric, m.fpr, m.group) == (gate.metric, gate.fpr, None) and m.attack not in skip
    ]
    over = [_describe(m) for m in rows if m.value is not None and m.value > gate.threshold]
    if over:
        return f"{gate}: {'; '.join(over)}"
    missing = [f"{m.attack} {m.reason}" for m in rows if m.value is None]
    if missing or not rows:
        raise GateUndecided(f"{gate}: {'; '.join(missing) or 'no attack measured it'}")
    return None


def _describe(m: Measurement) -> str:
    return f"{m.attack} {m.label} = {m.value:.4g} [{m.low:.4g}, {m.high:.4g}] (n = {m.n} {m.unit})"
