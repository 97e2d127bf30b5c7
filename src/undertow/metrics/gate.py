"""--fail-if: one condition that turns measurements into an exit code; unknown is never a pass."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from undertow.metrics.interval import FPRS
from undertow.types import METRICS, ConfigError, GateUndecided, Measurement

_asked = {name: metric.gate for name, metric in METRICS.items() if metric.gate}
RATES = tuple(name for name, kind in _asked.items() if kind == "rate")  # read at an FPR
COUNTS = tuple(name for name, kind in _asked.items() if kind == "count")  # of records copied, in any experiment
BOUNDS = tuple(name for name, kind in _asked.items() if kind == "bound")  # of any size; of the headline's row
VERDICTS = ("safe", "suspicious")  # what can be asked for; "unknown" is never a pass
AUDITED = (None, "poisoned", "suspect", "backdoored")  # the groups a gate is about; the others are controls
ALLOWED = (
    "auc>X, balanced_accuracy>X, "
    + ", ".join(f"tpr@{fpr * 100:g}%>X" for fpr in FPRS)
    + ", auc_difference>X, tpr_difference@1%>X (poisoning), verdict!=safe, verdict==suspicious"
    + ", verbatim>X (extraction), captured_exact>X (datatrap, a count), epsilon_lower>X (dp)"
)


@dataclass(frozen=True)
class Gate:
    """Fails when a metric exceeds a threshold. Use `parse_gate`, which checks."""

    metric: str
    fpr: float | None  # fraction; None but for "tpr"
    threshold: float

    def __str__(self) -> str:
        rate = "" if self.fpr is None else f"@{self.fpr * 100:g}%"
        return f"{self.metric}{rate}>{self.threshold:g}"


@dataclass(frozen=True)
class VerdictGate:
    """Fails when the verdict on a checkpoint is, or is not, the word."""

    operator: str  # "==" or "!="
    word: str

    def __str__(self) -> str:
        return f"verdict{self.operator}{self.word}"


def parse_gate(text: str) -> Gate | VerdictGate:
    """The condition written as `tpr@0.1%>0.01`, `auc > 0.6`; ConfigError where it cannot mean anything.

    On a verdict: `verdict!=safe`, `verdict==suspicious`.

    The FPR is in percent and carries its sign: a bare `tpr@0.1` could be read two ways, a hundredfold apart.

    >>> parse_gate("tpr@0.1%>0.01")
    Gate(metric='tpr', fpr=0.001, threshold=0.01)
    """
    parts = re.fullmatch(r"\s*(\w+)\s*(?:@\s*([^\s<>=]*))?\s*([<>=!]+)\s*(\S+)\s*", text)
    if parts is None:
        _refuse(text, "not a condition")
    metric, rate, operator, threshold = parts.groups()
    if metric == "verdict":
        return _on_verdict(text, rate, operator, threshold)
    if operator != ">":
        _refuse(text, f"operator {operator!r}; only > is known: higher leaks more")
    if metric not in _asked:
        _refuse(text, f"metric {metric!r} is not measured")
    if (metric in RATES) != (rate is not None):
        _refuse(text, f"{metric} needs an FPR" if metric in RATES else f"{metric} has no FPR")
    return Gate(metric, None if rate is None else _fpr(text, rate), _threshold(text, metric, threshold))


def _on_verdict(text: str, rate: str | None, operator: str, word: str) -> VerdictGate:
    if rate is not None or operator not in ("==", "!="):
        _refuse(text, "a verdict is a word, compared by == or !=")
    if word not in VERDICTS:
        _refuse(text, f"verdict {word!r} cannot be asked for; it is safe or suspicious")
    return VerdictGate(operator, word)


def _fpr(text: str, rate: str) -> float:
    if not rate.endswith("%"):
        _refuse(text, f"FPR {rate!r} has no % sign")
    for fpr in FPRS:
        if _number(rate[:-1]) == _number(f"{fpr * 100:g}"):
            return fpr
    _refuse(text, f"FPR {rate!r} is not measured")


def _threshold(text: str, metric: str, threshold: str) -> float:
    number = _number(threshold)
    if metric in (*COUNTS, *BOUNDS):
        if number is None or not 0 <= number < float("inf"):
            _refuse(text, f"threshold {threshold!r} is not {'a count' if metric in COUNTS else 'an epsilon'}")
        return number
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


def apply_gate(
    gate: Gate | VerdictGate, measurements: Sequence[Measurement], skip: frozenset[str], verdict: str | None = None
) -> str | None:
    """None where every attack is within the gate, else one line that names each attack over it.

    Decided on the value, not on its interval; of lower bounds of epsilon, on the headline row alone. Controls (rows
    with a group other than the poisoned arm or the suspect), the steps of a sweep and the attacks in `skip` do not
    count. GateUndecided where a value is missing or nothing matches, unless another attack is already over; so is a
    bound of epsilon within the gate where the claim is rejected or in doubt, and a `verdict` unknown or not given.
    """
    if isinstance(gate, VerdictGate):
        return _apply_to_verdict(gate, verdict)
    rows = [
        m
        for m in measurements
        if (m.metric, m.fpr, m.at) == (gate.metric, gate.fpr, None)
        and m.group in AUDITED
        and m.attack not in skip
        and (gate.metric not in BOUNDS or m.headline)
    ]
    over = [_describe(m) for m in rows if m.value is not None and m.value > gate.threshold]
    if over:
        return f"{gate}: {'; '.join(over)}"
    missing = [f"{m.attack}{_where(m)} {m.reason}" for m in rows if m.value is None]
    missing += [_doubt(m) for m in measurements if gate.metric in BOUNDS and _doubted(m, rows)]
    if missing or not rows:
        raise GateUndecided(f"{gate}: {'; '.join(missing) or 'no attack measured it'}")
    return None


def _apply_to_verdict(gate: VerdictGate, verdict: str | None) -> str | None:
    if verdict not in VERDICTS:
        found = "there is no verdict" if verdict is None else f"the verdict is {verdict}"
        raise GateUndecided(f"{gate}: {found}")
    return f"{gate}: the verdict is {verdict}" if (verdict == gate.word) == (gate.operator == "==") else None


def _doubted(m: Measurement, headlines: Sequence[Measurement]) -> bool:
    """Whether `m` is a test that rejects the claim, at the access of a headline and at the confidence of the bounds."""
    at = m.metric == "claim_p_value" and any(m.view == row.view for row in headlines)
    return at and m.value is not None and m.value <= 1 - (m.confidence or 0.95)


def _doubt(m: Measurement) -> str:
    return f"the claim is rejected or in doubt (p = {m.value:.2g}), and what assumes nothing shows no more than allowed"


def _where(m: Measurement) -> str:
    """Which of the rows of one attack, where there are several."""
    parts = [part for part in (m.points, m.recipe, m.view) if part]
    return f" ({', '.join(parts)})" if parts else ""


def _describe(m: Measurement) -> str:
    sure = "no interval" if m.low is None or m.high is None else f"[{m.low:.4g}, {m.high:.4g}]"
    return f"{m.attack}{_where(m)} {m.label} = {m.value:.4g} {sure} (n = {m.n} {m.unit})"
