"""What `undertow clean` does, below the screen: scan, edit what was named, scan again, write a new checkpoint."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from undertow.rng import stream
from undertow.scanner import Finding, ScannedFile, ScanResult, Tensor
from undertow.scanner.clean import Change, How, plain, repair
from undertow.storage.clean_file import check_dtypes, check_new, copy_beside, write_cleaned
from undertow.storage.opening import Opened, open_checkpoint
from undertow.types import BadInput, Params
from undertow.workflow_scan import ScanRequest, arrays_of, scan

ROUNDS = 4  # of editing and looking again


@dataclass(frozen=True)
class CleanReport:
    """What was found, what was done, and what a second scan says of the result."""

    source: str
    out: str
    how: How
    before: ScanResult
    after: ScanResult
    changes: tuple[Change, ...]


def clean_checkpoint(
    source: str | Path, out: str | Path, *, parent: str | Path | None = None, how: How = "reinit", seed: int = 0
) -> CleanReport:
    """Write `source` without what a scan finds in its weights to `out`, a new file (or a new folder, for a folder).

    BadInput where nothing was found, where `source` is unknown or may run code (weights cannot be trusted then), or
    where a dtype cannot be written again; StoreError where `out` is there already.
    """
    source, out = Path(source), Path(out)
    check_new(out)
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
    trusted = _arrays(parent)
    params, changes, findings = start, list[Change](), before.findings
    rng = stream(seed, "clean")
    for _ in range(ROUNDS):
        params, done = repair(params, findings, how, trusted, rng)
        changes += done
        findings = scan(params, request).result.findings
        if how == "average" or not _named(findings):
            break
    said = {"how": how, "seed": seed, "from": [_origin(file) for file in before.files], "changes": plain(changes)}
    _write(source, out, params, tensors, metadata, said)
    return CleanReport(str(source), str(out), how, before, scan(out, request).result, tuple(changes))


def told(report: CleanReport) -> str:
    """The report as text."""
    rows = sum(len(change.rows) for change in report.changes if not change.columns)
    kinds = (("before", report.before), ("after", report.after))
    lines = [f"{when}: {result.verdict}, {len(_named(result.findings))} critical findings" for when, result in kinds]
    tensors = ", ".join(dict.fromkeys(change.tensor for change in report.changes[:8]))
    lines.append(f"{report.how}: {rows} rows edited in {tensors}{', ...' * (len(report.changes) > 8)}")
    lines += [f"  still there: {found.kind} in {found.tensor}" for found in _named(report.after.findings)]
    lines.append(f"written: {report.out}; the original was not touched")
    return "\n".join(lines)


def _check(source: Path, before: ScanResult, opened: Opened, how: How) -> None:
    """Refuse what cannot or need not be cleaned."""
    code = [found for found in opened.findings if found.severity == "critical"]
    if code:
        raise BadInput(f"{source} is unsafe to open ({code[0].kind}): weights from it are not worth cleaning")
    if any(file.verdict == "unknown" for file in before.files) or not opened.tensors:
        raise BadInput(f"{source} is unknown: what could not be read cannot be cleaned")
    if how != "average" and not _named(before.findings):
        raise BadInput(f"{source}: the scan found nothing to clean (--how average mixes with a parent all the same)")


def _named(findings: Iterable[Finding]) -> list[Finding]:
    return [found for found in findings if found.severity == "critical"]


def _arrays(parent: str | Path | None) -> Params | None:
    if parent is None:
        return None
    with open_checkpoint(parent) as opened:
        return arrays_of(opened.tensors)


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
