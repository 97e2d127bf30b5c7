"""Inspect the weights: every tensor is read once, then the evidence is weighed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from undertow.scanner.affine import constants
from undertow.scanner.evidence import Evidence
from undertow.scanner.findings import Finding
from undertow.scanner.health import health
from undertow.scanner.layers import hidden_of, layers_of
from undertow.scanner.limits import Limits, shipped
from undertow.scanner.loudness import long, loud
from undertow.scanner.statistics import Statistics, statistics
from undertow.scanner.tensors import Tensor

FLOATS = ("F64", "F32", "F16", "BF16")
SAID = {
    "path": "units whose weights times outgoing weights are {ratio} times what is usual in this layer",
    "gain": "units whose outgoing weights are {ratio} times as long as is usual in this layer",
    "norm": "rows {ratio} times as long as is usual in layers of this kind",
    "threshold": "biases {ratio} times as large as the layer's rows are long",
    "affine": "gains of a norm up to {ratio} times what is usual",
    "shift": "constants up to {ratio} times what is usual in a vector of biases",
    "table": "entries up to {ratio} times what is usual in this table",
}


@dataclass(frozen=True)
class Inspection:
    """What the numbers of a checkpoint say."""

    findings: tuple[Finding, ...]
    not_tested: tuple[str, ...]  # checks that could not run, each with its reason
    settings: Mapping[str, object] = field(default_factory=dict)  # limits, false-alarm rate, score of data traps


def inspect(
    tensors: Mapping[str, Tensor],
    *,
    parent: Mapping[str, Tensor] | None = None,
    config: Mapping[str, object] | None = None,
) -> Inspection:
    """Evidence of data traps, of loss poisoning against a trusted `parent`, and of plain damage.

    `config`: of the architecture, as Hugging Face's config.json has it. Memory does not grow with the tensors.
    """
    found = {name: statistics(one) for name, one in tensors.items() if one.dtype in FLOATS}
    evidence, limits = evidence_of(found), shipped()
    traps = data_traps(evidence, found, limits)
    missing = []
    others = sorted({one.dtype for one in tensors.values()} - {*FLOATS, "I64", "I32", "BOOL"})
    if others:
        missing.append(f"data traps in tensors of {', '.join(others)}: only floating-point weights are looked at")
    if parent is None:
        missing.append("loss poisoning: mostly invisible in weights alone; give a trusted parent with --parent")
    settings = {"limits": dict(limits.excess), "false_alarm_rate": limits.rate, "score": score(evidence, limits)}
    return Inspection((*traps, *health(tensors, found)), tuple(missing), settings)


def evidence_of(found: Mapping[str, Statistics]) -> list[Evidence]:
    """What every test says of every row it can be put to."""
    layers = layers_of(found)
    return [*loud(hidden_of(layers)), *long(layers), *constants(found)]


def score(evidence: Iterable[Evidence], limits: Limits) -> float:
    """The largest excess over its limit; above 1 is flagged."""
    return max((float(one.excess.max(initial=-30)) / limits.excess[one.test] for one in evidence), default=0.0)


def data_traps(evidence: Iterable[Evidence], found: Mapping[str, Statistics], limits: Limits) -> list[Finding]:
    """One critical finding for each tensor with rows above a limit, the worst first."""
    by_tensor: dict[str, list[Evidence]] = {}
    for one in evidence:
        if (one.excess > limits.excess[one.test]).any():
            by_tensor.setdefault(one.tensor, []).append(one)
    findings = []
    for name, several in by_tensor.items():
        over = np.max([one.excess / limits.excess[one.test] for one in several], axis=0)
        rows = tuple(np.flatnonzero(over > 1).tolist())
        why = "; ".join(SAID[one.test].format(ratio=f"{10 ** float(one.excess.max()):.3g}") for one in several)
        findings.append(Finding("data-trap", "critical", why, found[name].file, name, rows, float(over.max())))
    return sorted(findings, key=lambda one: -(one.score or 0))
