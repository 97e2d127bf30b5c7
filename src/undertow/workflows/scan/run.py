"""Scanning a path or several, or weights in memory."""

import os
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from undertow.opening import Opened, OpenedFile, Signer, check_signature, open_checkpoint, verdict_of
from undertow.opening.loaders.policy import policy as policy_of
from undertow.registry import no_plugins
from undertow.scanner import ENOUGH, Finding, ScannedFile, ScanResult, Verdict, of_arrays, worst
from undertow.scanner.findings import NO_WEIGHTS
from undertow.types import BadInput, ConfigError, Params, UnsafeCheckpoint
from undertow.workflows.scan.checkpoints import Checkpoint, Tensors, checkpoints_of, trusted
from undertow.workflows.scan.request import Scan, ScanRequest
from undertow.workflows.scan.together import against, coverage_of, row_lengths, settings_of
from undertow.workflows.scan.weighing import critical, holds, incomplete, some_compared, weigh

if TYPE_CHECKING:
    from undertow.storage.baseline import Entry
    from undertow.workflows.prove import Proving

PLANTED = "undertow.planted"


def scan_checkpoint(
    source: str | Path | Params,
    *,
    parent: str | Path | Params | None = None,
    prove: "Proving | None" = None,
    allow: Sequence[str] = (),
    signer: Signer | None = None,
    coverage: float = ENOUGH,
    ignore: Sequence[str] = (),
) -> ScanResult:
    """Is it safe to finetune from this? A file, a folder, a Hugging Face repository id, or weights by name.

    Nothing of it is executed. `parent`: a trusted checkpoint to compare with; `prove`: finetune briefly on
    records that nobody minds, too (`undertow.workflows.prove.Proving`; torch); `allow`: kinds of findings about the
    weights that you have looked into and accept; `signer`: who must have signed the folder (model.sig); `coverage`:
    share of the parameters that must have been examined for a verdict of safe, else it is unknown; `ignore`: codes
    of rules that do not count (docs/scan_rules.md). BadInput where there is no such path, or the parent cannot be
    read.
    """
    policy = policy_of(ignore)
    return scan(source, ScanRequest(parent, prove, allow, signer=signer, coverage=coverage, policy=policy)).result


def require_safe(
    source: str | Path,
    *,
    parent: str | Path | None = None,
    allow: Sequence[str] = (),
    allow_unknown: bool = False,
    signer: Signer | None = None,
    coverage: float = ENOUGH,
    ignore: Sequence[str] = (),
) -> str:
    """`source` itself if its scan is safe, to put in front of loading: `from_pretrained(require_safe(folder))`.

    Raises UnsafeCheckpoint naming the first finding. `allow_unknown` passes files that could not be fully read, too,
    and those of which less than `coverage` of the parameters was examined. A path without any weights is refused
    whatever it is allowed: nothing was scanned.
    """
    policy = policy_of(ignore)
    found = scan(source, ScanRequest(parent, None, allow, signer=signer, coverage=coverage, policy=policy))
    result = found.result
    if found.weights and (result.verdict == "safe" or (result.verdict == "unknown" and allow_unknown)):
        return str(source)
    worst_first = sorted(result.findings, key=lambda found: found.severity != "critical")
    why = worst_first[0].explanation if worst_first else "it holds no weights that could be read"
    raise UnsafeCheckpoint(f"{source} is {result.verdict}: {why}")


@no_plugins()
def scan_paths(paths: Sequence[str | Path], request: ScanRequest) -> Scan:
    """Every path by itself, and the worst verdict of all. BadInput, before anything is scanned, for missing paths."""
    paths = list(dict.fromkeys(map(str, paths)))
    missing = [path for path in paths if not os.path.lexists(path) and not _id(path)]
    if missing:
        raise BadInput(f"{missing[0] or 'an empty path'}: no such file or folder")
    with trusted(request.parent) as parent:
        scans = [_scan(path, request, parent) for path in paths]
    results = [one.result for one in scans]
    merged = ScanResult(
        worst([one.result.verdict for one in scans if one.weights] or ["unknown"]),
        tuple(found for one in results for found in one.findings),
        tuple(dict.fromkeys(text for one in results for text in one.not_tested)),
        tuple(file for one in results for file in one.files),
        settings_of(results),
        coverage_of(results),
    )
    norms = {key: value for one in scans for key, value in one.norms.items()}
    entries = tuple(entry for one in scans for entry in one.entries)
    known = frozenset().union(*(one.known for one in scans))
    whole = Scan(merged, frozenset().union(*(one.weights for one in scans)), norms, entries, 0, known)
    return against(request.baseline, replace(whole, lasting=sum(one.lasting for one in scans)))


@no_plugins()
def scan(source: str | Path | Params, request: ScanRequest) -> Scan:
    """One path, or weights in memory."""
    with trusted(request.parent) as parent:
        return against(request.baseline, _scan(source, request, parent))


def _scan_arrays(source: Params, request: ScanRequest, parent: Tensors | None) -> Scan:
    """Weights in memory: there is no file to open."""
    if request.signer:
        raise ConfigError("weights in memory have no signature; scan the folder they came from")
    weighed = weigh(Checkpoint((), of_arrays(source), None), request, parent)
    said = request.policy.findings(weighed.findings)
    less: Verdict = "unknown" if any(map(incomplete, said)) or not holds(weighed) else "safe"
    verdict: Verdict = "unsafe" if critical(said) else less
    return Scan(replace(weighed, verdict=verdict, findings=tuple(said)), frozenset({""} if holds(weighed) else ()))


def _scan(source: str | Path | Params, request: ScanRequest, parent: Tensors | None) -> Scan:
    if isinstance(source, Mapping):
        return _scan_arrays(source, request, parent)
    with open_checkpoint(source, request.limits) as opened:
        checkpoints = list(checkpoints_of(opened))
        parts = some_compared([weigh(one, request, parent) for one in checkpoints])
        findings = [*opened.findings, *(found for part in parts for found in part.findings), *_planted(opened)]
        findings += [check_signature(source, request.signer)] if request.signer else []
        norms = row_lengths(checkpoints, findings) if request.pictures else {}
        files, origin = opened.files, opened.origin
        held = {file for one, part in zip(checkpoints, parts, strict=True) if holds(part) for file in one.files}
    policy = request.policy.without(("adapter-base",)) if parent is not None else request.policy
    findings, files = policy.findings(findings), policy.files(files)
    findings, files, entries, known, lasting = _remembered(str(source), findings, files, request)
    held |= {found.file for found in findings if found.known}
    judged, scanned = _judged(files, findings, held)
    notes = [text for text in opened.not_tested if not (request.signer and text.startswith("signature "))]
    result = ScanResult(
        "unsafe" if critical(findings) else worst([file.verdict for file in judged]),
        tuple(findings),
        tuple(dict.fromkeys([*notes, *(text for part in parts for text in part.not_tested)])),
        scanned,
        {**settings_of(parts), **({"source": dict(origin)} if origin else {})},
        coverage_of(parts),
    )
    weights = frozenset(file.path for file in judged)
    return Scan(result, weights, norms, tuple(entries), lasting, frozenset(known))


def _remembered(
    source: str, findings: list[Finding], files: tuple[OpenedFile, ...], request: ScanRequest
) -> "tuple[list[Finding], tuple[OpenedFile, ...], Sequence[Entry], Sequence[Entry], int]":
    """Findings and files without what the baseline knew; entries of all findings, those known, findings that no
    baseline can hold."""
    if not (request.baseline or request.remember):
        return findings, files, (), (), 0
    from undertow.storage.baseline import compared, entries_of

    entries, lasting = entries_of(source, findings, files)
    findings, files, known = compared(request.baseline, source, findings, files)
    return findings, files, entries, known, lasting


def _judged(
    files: Sequence[OpenedFile], findings: Sequence[Finding], held: Set[str]
) -> tuple[list[ScannedFile], tuple[ScannedFile, ...]]:
    """(The files that the verdict is about, all files): `held` are those whose numbers were examined."""
    broken = {found.file for found in findings if incomplete(found)}
    files = tuple(replace(file, complete=file.complete and file.path not in broken) for file in files)
    others = {file.path for file in files if file.kind == NO_WEIGHTS or (file.complete and file.path not in held)}
    kinds = {file.path: NO_WEIGHTS if file.path in others else file.kind for file in files}
    scanned = tuple(ScannedFile(file.path, file.sha256, verdict_of(file, findings), kinds[file.path]) for file in files)
    return [file for file in scanned if file.path not in others or file.verdict != "safe"], scanned


def _planted(opened: Opened) -> list[Finding]:
    """A word about checkpoints of our own; no verdict rests on it, for anybody can write or remove it."""
    if opened.metadata.get(PLANTED) != "true":
        return []
    text = "its metadata say that Undertow planted traps in it, for an audit; the verdict does not rest on that"
    return [Finding("planted-by-undertow", "info", text, opened.path)]


def _id(path: str | Path) -> bool:
    """Whether this may be the id of a hub repository."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", str(path)) is not None
