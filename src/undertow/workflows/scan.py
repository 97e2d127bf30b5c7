"""What `undertow scan` does, below the screen: open without executing, read the weights, say one verdict."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from undertow.opening import Limits, Opened, Signer, check_signature, open_checkpoint, verdict_of
from undertow.opening.loaders.policy import Policy
from undertow.opening.loaders.policy import policy as policy_of
from undertow.registry import no_plugins
from undertow.scanner import (
    ENOUGH,
    Coverage,
    Finding,
    ScannedFile,
    ScanResult,
    Tensor,
    Verdict,
    inspect,
    of_arrays,
    worst,
)
from undertow.scanner.coverage import floor, together
from undertow.scanner.findings import NO_WEIGHTS
from undertow.scanner.rules import code_of
from undertow.sources.checkpoints.same_config import differences, told
from undertow.types import Array, BadInput, ConfigError, Params, Progress, UnsafeCheckpoint

if TYPE_CHECKING:
    from undertow.storage.baseline import Baseline, Entry
    from undertow.workflows.prove import Proving

Tensors = Mapping[str, Tensor]
PLANTED = "undertow.planted"
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.)")
CONFIG_BYTES = 1 << 20
LITTLE = "not-examined"  # finding: less of a model was examined than was asked for
UNPROVED = "not-proved"  # finding: a proof was asked for and could not be made
NOT_SAFE = ("unreadable", "not-finite", LITTLE, UNPROVED)  # kinds of findings about numbers that leave a file unknown
PICTURES = 12  # findings that get a picture


@dataclass(frozen=True)
class ScanRequest:
    """How to scan."""

    parent: str | Path | Params | None = None  # a trusted checkpoint of the same kind
    prove: "Proving | None" = None
    allow: Sequence[str] = ()  # kinds of findings about weights that are accepted
    limits: Limits = field(default_factory=Limits)
    pictures: bool = False
    progress: Progress | None = None
    signer: Signer | None = None  # who must have signed the folder
    coverage: float = ENOUGH  # share of the parameters that must have been examined for a verdict of safe
    policy: Policy = field(default_factory=Policy)  # which rules count, and how much
    baseline: "Baseline | None" = None  # findings of an earlier scan, which do not count
    remember: bool = False  # whether entries for a baseline are wanted


@dataclass(frozen=True, eq=False)
class Scan:
    """A result, and what its page draws."""

    result: ScanResult
    weights: frozenset[str]  # files that the verdict is about: those with weights, and whatever is not safe
    norms: Mapping[tuple[str, str], Array] = field(default_factory=dict)  # row lengths by (file, tensor)
    entries: "tuple[Entry, ...]" = ()  # what a baseline of this scan holds
    lasting: int = 0  # findings that no baseline can hold
    known: "frozenset[Entry]" = frozenset()  # entries of the baseline that were found again


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The files of a path that make one model: one file, or the shards of one."""

    files: tuple[str, ...]
    tensors: Tensors
    config: Mapping[str, object] | None  # of config.json beside them


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
    missing = [path for path in paths if not os.path.lexists(path) and not _id(path)]
    if missing:
        raise BadInput(f"{missing[0]}: no such file or folder")
    with _trusted(request.parent) as parent:
        scans = [_scan(path, request, parent) for path in paths]
    results = [one.result for one in scans]
    merged = ScanResult(
        worst([one.result.verdict for one in scans if one.weights] or ["unknown"]),
        tuple(found for one in results for found in one.findings),
        tuple(dict.fromkeys(text for one in results for text in one.not_tested)),
        tuple(file for one in results for file in one.files),
        _settings(results),
        _coverage(results),
    )
    norms = {key: value for one in scans for key, value in one.norms.items()}
    entries = tuple(entry for one in scans for entry in one.entries)
    known = frozenset().union(*(one.known for one in scans))
    whole = Scan(merged, frozenset().union(*(one.weights for one in scans)), norms, entries, 0, known)
    return _against(request.baseline, replace(whole, lasting=sum(one.lasting for one in scans)))


def _against(baseline: "Baseline | None", found: Scan) -> Scan:
    """The scan with the count of what its baseline knew, and of entries that stand for nothing any more."""
    if baseline is None:
        return found
    known = sum(one.known for one in found.result.findings)
    counts = {"file": baseline.path, "known": known, "gone": len(set(baseline.entries) - found.known)}
    settings = {**found.result.settings, "baseline": counts}
    return replace(found, result=replace(found.result, settings=settings))


@no_plugins()
def scan(source: str | Path | Params, request: ScanRequest) -> Scan:
    """One path, or weights in memory."""
    with _trusted(request.parent) as parent:
        return _against(request.baseline, _scan(source, request, parent))


def _scan_arrays(source: Params, request: ScanRequest, parent: Tensors | None) -> Scan:
    """Weights in memory: there is no file to open."""
    if request.signer:
        raise ConfigError("weights in memory have no signature; scan the folder they came from")
    weighed = _weigh(Checkpoint((), of_arrays(source), None), request, parent)
    said = request.policy.findings(weighed.findings)
    less: Verdict = "unknown" if any(map(_incomplete, said)) or not _holds(weighed) else "safe"
    verdict: Verdict = "unsafe" if _critical(said) else less
    return Scan(replace(weighed, verdict=verdict, findings=tuple(said)), frozenset({""} if _holds(weighed) else ()))


def _scan(source: str | Path | Params, request: ScanRequest, parent: Tensors | None) -> Scan:
    if isinstance(source, Mapping):
        return _scan_arrays(source, request, parent)
    with open_checkpoint(source, request.limits) as opened:
        checkpoints = list(checkpoints_of(opened))
        parts = [_weigh(one, request, parent) for one in checkpoints]
        findings = [*opened.findings, *(found for part in parts for found in part.findings), *_planted(opened)]
        findings += [check_signature(source, request.signer)] if request.signer else []
        norms = _norms(checkpoints, findings) if request.pictures else {}
        files, origin = opened.files, opened.origin
        held = {file for one, part in zip(checkpoints, parts, strict=True) if _holds(part) for file in one.files}
    policy = request.policy.without(("adapter-base",)) if parent is not None else request.policy
    findings, files = policy.findings(findings), policy.files(files)
    entries: Sequence[Entry] = ()
    known: Sequence[Entry] = ()
    lasting = 0
    if request.baseline or request.remember:
        from undertow.storage.baseline import compared, entries_of

        entries, lasting = entries_of(str(source), findings, files)
        findings, files, known = compared(request.baseline, str(source), findings, files)
    held |= {found.file for found in findings if found.known}
    notes = [text for text in opened.not_tested if not (request.signer and text.startswith("signature "))]
    broken = {found.file for found in findings if _incomplete(found)}
    files = tuple(replace(file, complete=file.complete and file.path not in broken) for file in files)
    others = {file.path for file in files if file.kind == NO_WEIGHTS or (file.complete and file.path not in held)}
    kinds = {file.path: NO_WEIGHTS if file.path in others else file.kind for file in files}
    scanned = tuple(ScannedFile(file.path, file.sha256, verdict_of(file, findings), kinds[file.path]) for file in files)
    judged = [file for file in scanned if file.path not in others or file.verdict != "safe"]
    result = ScanResult(
        "unsafe" if _critical(findings) else worst([file.verdict for file in judged]),
        tuple(findings),
        tuple(dict.fromkeys([*notes, *(text for part in parts for text in part.not_tested)])),
        scanned,
        {**_settings(parts), **({"source": dict(origin)} if origin else {})},
        _coverage(parts),
    )
    weights = frozenset(file.path for file in judged)
    return Scan(result, weights, norms, tuple(entries), lasting, frozenset(known))


def checkpoints_of(opened: Opened) -> Iterator[Checkpoint]:
    """What belongs together: shards that are numbered alike are one model, and the .npy of a folder, whose names are
    those of the tensors; every other file is one by itself. Of two tensors of one name, none hides the other."""
    groups: dict[str, list[Tensor]] = {}
    for tensor in opened.tensors.values():
        alone = Path(tensor.file).suffix == ".npy"
        key = str(Path(tensor.file).parent / "*.npy") if alone else SHARD.sub("", tensor.file)
        groups.setdefault(key, []).append(_after_file(tensor) if alone else tensor)
    for tensors in groups.values():
        files = tuple(sorted({tensor.file for tensor in tensors}))
        by_name: dict[str, Tensor] = {}
        for tensor in tensors:
            name = tensor.name
            while name in by_name:
                name += "#"
            by_name[name] = tensor if name == tensor.name else tensor.renamed(name)
        yield Checkpoint(files, by_name, _config(Path(files[0]).parent))


def _after_file(tensor: Tensor) -> Tensor:
    """A tensor of a .npy, named after its file; arrays in an array of objects keep their names too."""
    stem, (_, _, inner) = Path(tensor.file).stem, tensor.name.partition("array.")
    return tensor.renamed(f"{stem}.{inner.removeprefix('0.')}" if inner else stem)


@contextmanager
def _trusted(parent: str | Path | Params | None) -> Iterator[Tensors | None]:
    """The tensors of a trusted parent; BadInput where it holds none or was not fully read."""
    if parent is None or isinstance(parent, Mapping):
        yield None if parent is None else of_arrays(parent)
        return
    with open_checkpoint(parent) as opened:
        broken = [found.explanation for found in opened.findings if _breaks(found)]
        if broken or not opened.tensors:
            raise BadInput(f"--parent {parent}: {broken[0] if broken else 'it holds no weights'}")
        yield opened.tensors


def _breaks(found: Finding) -> bool:
    """Whether a finding about a trusted parent is about its weights; what its configuration would run is not."""
    return found.severity == "critical" or (found.severity == "warning" and code_of(found.kind)[:3] in ("UT1", "UT5"))


def _other_config(one: Checkpoint, request: ScanRequest) -> list[Finding]:
    """The keys in which a checkpoint and its parent describe two computations; bookkeeping is not counted."""
    if one.config is None or request.parent is None or isinstance(request.parent, Mapping):
        return []
    place = Path(request.parent)
    theirs = _config(place if place.is_dir() else place.parent)
    found = differences(one.config, theirs) if theirs is not None else ()
    if not found:
        return []
    text = f"its config.json describes another computation than the parent's: {told(found)}"
    return [Finding("other-config", "warning", text)]


def arrays_of(tensors: Tensors) -> Params:
    """All tensors in memory, in their own shapes."""
    return {name: tensor.whole() for name, tensor in tensors.items()}


def _weigh(one: Checkpoint, request: ScanRequest, parent: Tensors | None) -> ScanResult:
    """What the numbers of one model say."""
    try:
        found = inspect(one.tensors, parent=parent, config=one.config)
    except BadInput as error:  # a file that was changed or cut while it was read
        return ScanResult("unknown", tuple(Finding("unreadable", "warning", str(error), file) for file in one.files))
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


def _holds(part: ScanResult) -> bool:
    """Whether a model has any parameters, or may have: tensors without numbers, and counts, are none."""
    return part.coverage is None or part.coverage.total > 0


def _little(seen: Coverage, wanted: float, file: str) -> list[Finding]:
    """A finding where less of a model was examined than is `wanted`."""
    if not seen.total or seen.share >= wanted:
        return []
    why = (
        f"{floor(seen.share)} of its {seen.total:,} parameters were examined, less than the {wanted:.0%} "
        f"that a verdict of safe asks for; not examined: {seen.missing}"
    )
    return [Finding(LITTLE, "warning", why, file, score=seen.share)]


def _incomplete(found: Finding) -> bool:
    """Whether it keeps a verdict from being safe, though it convicts nothing."""
    return found.kind in NOT_SAFE and found.severity != "info"


def _coverage(parts: Iterable[ScanResult]) -> Coverage | None:
    """Of all models that were read; None where none was."""
    several = [part.coverage for part in parts if part.coverage is not None]
    return together(several) if several else None


def _settings(parts: Iterable[ScanResult]) -> dict[str, object]:
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


def _accepted(found: Finding) -> Finding:
    return replace(found, severity="info", explanation=f"{found.explanation} (accepted by --allow {found.kind})")


def _planted(opened: Opened) -> list[Finding]:
    """A word about checkpoints of our own; no verdict rests on it, for anybody can write or remove it."""
    if opened.metadata.get(PLANTED) != "true":
        return []
    text = "its metadata say that Undertow planted traps in it, for an audit; the verdict does not rest on that"
    return [Finding("planted-by-undertow", "info", text, opened.path)]


def _critical(findings: Iterable[Finding]) -> bool:
    return any(found.severity == "critical" for found in findings)


def _config(folder: Path) -> Mapping[str, object] | None:
    """The config.json beside the weights, if it is a small table."""
    path = folder / "config.json"
    try:
        if not path.is_file() or path.stat().st_size > CONFIG_BYTES:
            return None
        found: Any = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _norms(checkpoints: Iterable[Checkpoint], findings: Sequence[Finding]) -> dict[tuple[str, str], Array]:
    """Row lengths of the first layers that findings name."""
    wanted = list(dict.fromkeys((found.file, found.tensor) for found in findings if _pictured(found)))[:PICTURES]
    every = {(tensor.file, name): tensor for one in checkpoints for name, tensor in one.tensors.items()}
    return {key: _lengths(every[key]) for key in wanted if key in every}


def _lengths(tensor: Tensor) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([np.linalg.norm(block.astype(np.float64), axis=1) for _, block in tensor.blocks()])


def _id(path: str | Path) -> bool:
    """Whether this may be the id of a hub repository."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", str(path)) is not None


def _pictured(found: Finding) -> bool:
    return found.severity == "critical" and bool(found.rows)
