"""What `undertow clean` does, below the screen: scan, edit what was named, scan again, write a new checkpoint."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.opening import Opened, open_checkpoint
from undertow.report.scan.document import to_json
from undertow.rng import stream
from undertow.scanner import Finding, ScannedFile, ScanResult, Tensor
from undertow.scanner.clean import Change, How, plain, repair
from undertow.scanner.difference import partners
from undertow.scanner.stream import NORM
from undertow.sources.checkpoints.cleaned import check_dtypes, check_new, copy_beside, write_cleaned
from undertow.storage.files import write_atomic
from undertow.types import BadInput, Params
from undertow.workflows.norms import Fit, fit
from undertow.workflows.scan import ScanRequest, arrays_of, checkpoints_of, scan

SCHEMA = "undertow.clean/1"
REPORT = "cleaned.json"
ROUNDS = 4  # of editing and looking again

COSTLY = (
    "norms were edited, which the layers above rely on: expect the model to be much worse. Give the trusted checkpoint "
    "it was made from (--parent), or use another one"
)
WORDS = {
    "parent": "the parent's",
    "emptied": "emptied, as dims of the residual stream that held constants",
    "fitted": "fitted to what they gave out before",
    "silenced": "set to zero, in layers with no other unit alive: what they did before is only in a parent (--parent)",
}


@dataclass(frozen=True)
class CleanReport:
    """What was found, what was done, and what a second scan says of the result."""

    source: str
    out: str
    how: How
    before: ScanResult
    after: ScanResult
    changes: tuple[Change, ...]
    alone: bool = True  # nothing trusted was at hand to put in the place of what was found
    not_fitted: str = ""  # why edited norms were not fitted to what they gave out before
    error: float = 0.0  # of the fit: root mean square, in deviations of what the norm gave out
    same: bool = False  # every tensor that the parent has is the parent's now

    @property
    def costly(self) -> bool:
        """Whether norms were edited alone and not fitted: layers above were trained on what those gave out."""
        edited = {change.tensor for change in self.changes if NORM.search(change.tensor.rpartition(".")[0])}
        return self.alone and bool(edited) and not any(change.how == "fitted" for change in self.changes)


@dataclass(frozen=True, eq=False)
class Edited:
    """Weights while they are cleaned."""

    params: Params
    changes: tuple[Change, ...]
    before: Params  # what norms are fitted to
    alone: bool  # the last edits had nothing trusted to go by


def clean_checkpoint(
    source: str | Path,
    out: str | Path,
    *,
    parent: str | Path | None = None,
    how: How = "reinit",
    seed: int = 0,
    data: Path | None = None,
) -> CleanReport:
    """Write `source` without what a scan finds in its weights to `out`, a new file (or a new folder, for a folder).

    With a `parent`, its blocks take the place of those found or rewritten. Norms that are edited otherwise are fitted
    to what they gave out before, on made-up records or on public ones (`data`: .npz with x, or .jsonl), where
    torch, transformers and a config.json beside the weights are at hand.
    BadInput where nothing was found, where `source` is unknown or may run code (weights cannot be trusted then), or
    where a dtype cannot be written again; StoreError where `out` is there already.
    """
    source, out = Path(source), Path(out)
    check_new(out)
    check_new(report_path(out, source.is_dir()))
    if not source.is_dir() and out.suffix != ".safetensors":
        raise BadInput(f"--out {out}: a cleaned checkpoint is written as .safetensors")
    request = ScanRequest(parent)
    before = scan(source, request).result
    with open_checkpoint(source) as opened:
        _check(source, before, opened, how)
        tensors = dict(opened.tensors)
        check_dtypes(tensors)
        metadata = dict(opened.metadata)
        start = arrays_of(tensors)
        config = next(checkpoints_of(opened)).config
    trusted = _arrays(parent)
    edited = _edited(start, before.findings, how, trusted, request, seed)
    folder = source if source.is_dir() else source.parent
    found = fit(edited.params, edited.before, config, folder, data, seed) if edited.alone else Fit(edited.params)
    params, kept = _unflagged(edited.params, found, request)
    changes = (*edited.changes, *kept)
    said = {"how": how, "seed": seed, "from": [_origin(file) for file in before.files], "changes": plain(changes)}
    _write(source, out, params, tensors, metadata, said)
    after = scan(out, request).result
    report = CleanReport(
        str(source), str(out), how, before, after, changes, edited.alone, found.why_not, found.error,
        same=trusted is not None and _same(params, trusted),
    )  # fmt: skip
    write_atomic(report_path(out, source.is_dir()), _json(report, said).encode())
    return report


def _edited(
    start: Params, findings: Iterable[Finding], how: How, parent: Params | None, request: ScanRequest, seed: int
) -> Edited:
    """Edit and look again. What is found in the parent's own blocks is edited without it."""
    rng, params, before, changes, alone = stream(seed, "clean"), start, start, list[Change](), parent is None
    for _ in range(ROUNDS):
        params, done = repair(params, findings, how, parent, rng)
        changes += done
        given = any(change.how in ("parent", "average") for change in done)
        before, alone = (params, False) if given else (before, True)
        findings = scan(params, request).result.findings
        if how == "average" or not _named(findings):
            break
        parent = None
    return Edited(params, tuple(changes), before, alone)


def _same(params: Params, parent: Params) -> bool:
    pairs = [(params[name], parent[other]) for name, other in partners(params, parent).items()]
    return all(np.array_equal(one, other, equal_nan=True) for one, other in pairs if one.shape == other.shape)


def _unflagged(edited: Params, found: Fit, request: ScanRequest) -> tuple[Params, tuple[Change, ...]]:
    """Without the fitted norms that a scan would find again: those keep what the edit gave them."""
    if not found.changes:
        return edited, ()
    named = {one.tensor.rpartition(".")[0] for one in _named(scan(found.params, request).result.findings)}
    kept = tuple(change for change in found.changes if change.tensor.rpartition(".")[0] not in named)
    return {**edited, **{change.tensor: found.params[change.tensor] for change in kept}}, kept


def report_path(out: Path, folder: bool) -> Path:
    """Where the report lies: beside a cleaned file, or inside a cleaned folder."""
    return out / REPORT if folder else out.with_suffix(f".{REPORT}")


def told(report: CleanReport) -> str:
    """The report as text."""
    kinds = (("before", report.before), ("after", report.after))
    lines = [f"{when}: {result.verdict}, {len(_named(result.findings))} critical findings" for when, result in kinds]
    for how in dict.fromkeys(change.how for change in report.changes):
        done = [change for change in report.changes if change.how == how]
        rows = sum(len(change.rows) for change in done if not change.columns)
        tensors = list(dict.fromkeys(change.tensor for change in done))
        lines.append(f"{WORDS.get(how, how)}: {rows} rows in {', '.join(tensors[:8])}{', ...' * (len(tensors) > 8)}")
    if report.error:
        lines.append(f"what fitted norms give out is off by {report.error:.2g} of its deviation, on records of ours")
    lines += [f"  still there: {found.kind} in {found.tensor}" for found in _named(report.after.findings)]
    lines += ["every tensor that the parent has is the parent's now: that one serves as well"] * report.same
    lines += [COSTLY + f" ({report.not_fitted})" * bool(report.not_fitted)] * report.costly
    lines.append(f"written: {report.out}, and {REPORT} with both scans; the original was not touched")
    return "\n".join(lines)


def _check(source: Path, before: ScanResult, opened: Opened, how: How) -> None:
    """Refuse what cannot or need not be cleaned."""
    code = [found for found in opened.findings if found.severity == "critical"]
    if code:
        raise BadInput(f"{source} is unsafe to open ({code[0].kind}): weights from it are not worth cleaning")
    if any(file.verdict == "unknown" for file in before.files) or not opened.tensors:
        raise BadInput(f"{source} is unknown: what could not be read cannot be cleaned")
    weights = [file for file in opened.files if file.kind not in ("other", "index")]
    if source.is_dir() and (
        any(file.kind != "safetensors" for file in weights)
        or any(name != tensor.name for name, tensor in opened.tensors.items())
    ):
        raise BadInput(f"{source} holds more than one checkpoint, or others than safetensors; clean one file at a time")
    if how != "average" and not _named(before.findings):
        raise BadInput(f"{source}: the scan found nothing to clean (--how average mixes with a parent all the same)")


def _named(findings: Iterable[Finding]) -> list[Finding]:
    return [found for found in findings if found.severity == "critical"]


def _arrays(parent: str | Path | None) -> Params | None:
    if parent is None:
        return None
    with open_checkpoint(parent) as opened:
        return arrays_of(opened.tensors)


def _json(report: CleanReport, said: Mapping[str, object]) -> str:
    """What was done, and both scans as `undertow scan --format json` says them."""
    scans = {when: json.loads(to_json(one)) for when, one in (("before", report.before), ("after", report.after))}
    rows = [{"tensor": c.tensor, "how": c.how, "columns": c.columns, "rows": list(c.rows)} for c in report.changes]
    return json.dumps({"schema": SCHEMA, "source": report.source, **said, "edited": rows, **scans}, indent=2) + "\n"


def _origin(file: ScannedFile) -> Mapping[str, str]:
    return {"file": Path(file.path).name, "sha256": file.sha256}


def _write(
    source: Path, out: Path, params: Params, tensors: Mapping[str, Tensor], metadata: Mapping[str, str],
    said: Mapping[str, object],
) -> None:  # fmt: skip
    """One file for each that held tensors, and copies of what else a folder holds."""
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    if not source.is_dir():
        write_cleaned(out, params, dtypes, metadata, said)
        return
    places: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        places.setdefault(Path(tensor.file).name, []).append(name)
    for file, names in places.items():
        write_cleaned(out / file, {n: params[n] for n in names}, dtypes, metadata, said)
    copy_beside(source, out, set(places))
