"""What the numbers of one model say, and how much of it was examined."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from undertow.scanner import Coverage, Finding, ScanResult, inspect
from undertow.scanner.coverage import floor
from undertow.scanner.difference import NOT_COMPARED
from undertow.sources.checkpoints.same_config import differences, told
from undertow.types import BadInput
from undertow.workflows.scan.checkpoints import Checkpoint, Tensors, config_beside
from undertow.workflows.scan.request import ScanRequest

LITTLE = "not-examined"  # finding: less of a model was examined than was asked for
UNPROVED = "not-proved"  # finding: a proof was asked for and could not be made
NOT_SAFE = (
    "unreadable",
    "not-finite",
    LITTLE,
    UNPROVED,
    NOT_COMPARED,
)  # kinds of findings about numbers that leave a file unknown


def weigh(one: Checkpoint, request: ScanRequest, parent: Tensors | None) -> ScanResult:
    """What the numbers of one model say."""
    try:
        found = inspect(one.tensors, parent=parent, config=one.config)
    except BadInput as error:  # a file that was changed or cut while it was read
        return _unread(one, str(error))
    except Exception as error:  # the last net: whatever the numbers of one model do to their tests, the scan goes on
        return _unread(one, f"its tests failed on it ({type(error).__name__}), so nothing is known of its numbers")
    said = [*found.findings, *_other_config(one, request)]
    findings = [replace(each, file=each.file or next(iter(one.files), "")) for each in said]
    findings += _little(found.coverage, request.coverage, next(iter(one.files), ""))
    not_tested, settings = list(found.not_tested), dict(found.settings)
    if request.prove is not None:
        from undertow.workflows.prove import prove_checkpoint

        proof = prove_checkpoint(one.tensors, one.config, request.prove, request.progress)
        findings += proof.findings
        not_tested += proof.not_tested
        findings += [Finding(UNPROVED, "warning", text, next(iter(one.files), "")) for text in proof.failed]
        settings |= {"prove": {next(iter(one.files), "weights"): proof.settings}} if proof.settings else {}
    allowed = [_accepted(each) if each.kind in request.allow else each for each in findings]
    return ScanResult("unknown", tuple(allowed), tuple(not_tested), (), settings, found.coverage)


def _unread(one: Checkpoint, why: str) -> ScanResult:
    return ScanResult("unknown", tuple(Finding("unreadable", "warning", why, file) for file in one.files))


def _other_config(one: Checkpoint, request: ScanRequest) -> list[Finding]:
    """The keys in which a checkpoint and its parent describe two computations; bookkeeping is not counted."""
    if one.config is None or request.parent is None or isinstance(request.parent, Mapping):
        return []
    place = Path(request.parent)
    theirs = config_beside(place if place.is_dir() else place.parent)
    found = differences(one.config, theirs) if theirs is not None else ()
    if not found:
        return []
    text = f"its config.json describes another computation than the parent's: {told(found)}"
    return [Finding("other-config", "warning", text)]


def _little(seen: Coverage, wanted: float, file: str) -> list[Finding]:
    """A finding where less of a model was examined than is `wanted`."""
    if not seen.total or seen.share >= wanted:
        return []
    why = (
        f"{floor(seen.share)} of its {seen.total:,} parameters were examined, less than the {wanted:.0%} "
        f"that a verdict of safe asks for; not examined: {seen.missing}"
    )
    return [Finding(LITTLE, "warning", why, file, score=seen.share)]


def some_compared(parts: Sequence[ScanResult]) -> list[ScanResult]:
    """Parts of a path of which another one was compared with the parent: that these could not be is information.

    A folder holds states of optimisers beside the model, which no parent has.
    """
    without = [any(found.kind == NOT_COMPARED for found in part.findings) for part in parts]
    if all(lone for lone, part in zip(without, parts, strict=True) if holds(part)):
        return list(parts)
    return [replace(part, findings=tuple(map(_noted, part.findings))) for part in parts]


def _noted(found: Finding) -> Finding:
    return replace(found, severity="info") if found.kind == NOT_COMPARED else found


def _accepted(found: Finding) -> Finding:
    return replace(found, severity="info", explanation=f"{found.explanation} (accepted by --allow {found.kind})")


def holds(part: ScanResult) -> bool:
    """Whether a model has any parameters, or may have: tensors without numbers, and counts, are none."""
    return part.coverage is None or part.coverage.total > 0


def incomplete(found: Finding) -> bool:
    """Whether it keeps a verdict from being safe, though it convicts nothing."""
    return found.kind in NOT_SAFE and found.severity != "info"


def critical(findings: Iterable[Finding]) -> bool:
    return any(found.severity == "critical" for found in findings)
