"""Plain damage, that breaks finetuning whoever made it."""

from collections.abc import Mapping

from undertow.scanner.findings import Finding
from undertow.scanner.statistics import Statistics
from undertow.scanner.tensors import Tensor

MANY = 0.01  # share of subnormal numbers that is worth a word


def health(tensors: Mapping[str, Tensor], found: Mapping[str, Statistics]) -> list[Finding]:
    """NaN and infinity, subnormal numbers, dead layers, mixed dtypes."""
    findings = []
    for name, one in found.items():
        if len(one.broken):
            rows = tuple(one.broken[:1000].tolist())
            why = f"{len(one.broken)} of {one.rows} rows hold NaN or infinity: the model computes nothing"
            findings.append(Finding("not-finite", "warning", why, one.file, name, rows))
        if one.subnormal > MANY:
            why = f"{one.subnormal:.0%} of the numbers are subnormal: slow, and lost where they are flushed to zero"
            findings.append(Finding("subnormal", "info", why, one.file, name))
        if len(one.shape) > 1 and one.rows > 1 and not one.square.any():
            findings.append(Finding("dead-layer", "warning", "every number is zero", one.file, name))
    kinds = {one.dtype for one in found.values() if len(one.shape) > 1}
    if len(kinds) > 1:
        why = f"matrices are stored in different dtypes: {', '.join(sorted(kinds))}"
        findings.append(Finding("mixed-dtypes", "info", why))
    return findings
