"""What several models, files or paths say together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from undertow.scanner import Coverage, Finding, ScanResult, Tensor
from undertow.scanner.coverage import together
from undertow.types import Array
from undertow.workflows.scan.checkpoints import Checkpoint
from undertow.workflows.scan.request import Scan

if TYPE_CHECKING:
    from undertow.storage.baseline import Baseline

PICTURES = 12  # findings that get a picture


def against(baseline: "Baseline | None", found: Scan) -> Scan:
    """The scan with the count of what its baseline knew, and of entries that stand for nothing any more."""
    if baseline is None:
        return found
    known = sum(one.known for one in found.result.findings)
    counts = {"file": baseline.path, "known": known, "gone": len(set(baseline.entries) - found.known)}
    settings = {**found.result.settings, "baseline": counts}
    return replace(found, result=replace(found.result, settings=settings))


def coverage_of(parts: Iterable[ScanResult]) -> Coverage | None:
    """Of all models that were read; None where none was."""
    several = [part.coverage for part in parts if part.coverage is not None]
    return together(several) if several else None


def settings_of(parts: Iterable[ScanResult]) -> dict[str, object]:
    """What all scans share; the largest score; the proofs of each file."""
    merged: dict[str, object] = {}
    proofs: dict[str, object] = {}
    scores: list[float] = []
    for part in parts:
        merged |= part.settings
        found, score = part.settings.get("prove", {}), part.settings.get("score")
        proofs |= found if isinstance(found, Mapping) else {}
        scores += [score] if isinstance(score, float) else []
    merged |= {"score": max(scores)} if scores else {}
    return {**merged, "prove": proofs} if proofs else merged


def row_lengths(checkpoints: Iterable[Checkpoint], findings: Sequence[Finding]) -> dict[tuple[str, str], Array]:
    """Row lengths of the first layers that findings name."""
    wanted = list(dict.fromkeys((found.file, found.tensor) for found in findings if _pictured(found)))[:PICTURES]
    every = {(tensor.file, name): tensor for one in checkpoints for name, tensor in one.tensors.items()}
    return {key: _lengths(every[key]) for key in wanted if key in every}


def _lengths(tensor: Tensor) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([np.linalg.norm(block.astype(np.float64), axis=1) for _, block in tensor.blocks()])


def _pictured(found: Finding) -> bool:
    return found.severity == "critical" and bool(found.rows)
