"""Finished runs of any audit, and scans, read back with the hashes of what they hold."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from undertow.audits.finished_run import FinishedRun
from undertow.metrics import auc
from undertow.storage.files import read_bytes
from undertow.storage.results import load_result
from undertow.types import READABLE, SCHEMA, AuditResult, BadInput, Measurement, Scores, StoreError

SCAN = "undertow.scan/1"
KEPT = ("result.json", "scores.npz", "records.csv")
SAME = 1e-6  # of an AUC that is computed again from the scores
RANKED = ("mia", "tmi", "score", "model", "lm")  # audits whose rows and scores go by the attack's name alone


def read_runs(paths: Sequence[str | Path]) -> tuple[FinishedRun, ...]:
    """The finished runs in these folders; a folder of several audits gives each of them.

    Raises BadInput or StoreError, in one line that names the path, for what is no finished run, is damaged, says
    other numbers than its scores give, or is given twice.
    """
    found = [read_run(part) for path in paths for part in _parts(Path(path))]
    seen: dict[str, FinishedRun] = {}
    for run in found:
        key = run.sha256[next(iter(run.sha256))]
        if key in seen:
            raise BadInput(f"{run.path} is the same run as {seen[key].path}: give each run once")
        seen[key] = run
    return tuple(found)


def read_run(path: str | Path) -> FinishedRun:
    """One finished run; errors as in `read_runs`."""
    file = _file_of(Path(path))
    body = _strict_json(file)
    if body.get("schema") == SCAN:
        return FinishedRun(file, "scan", _written(file), _hashes((file,)), scan=_checked_scan(file, body))
    if body.get("schema") not in READABLE:
        raise StoreError(
            f"{file} has schema {body.get('schema')!r}; a finished run has {SCHEMA!r}, a scan written by "
            f"`undertow scan --format json` {SCAN!r}"
        )
    result = load_result(file)
    _check_numbers(file, result)
    agreed = _check_scores(file, result)
    folder = Path(path) if Path(path).is_dir() else file.parent
    hashes = _hashes(tuple(p for name in KEPT if (p := file.with_name(name)).is_file()))
    return FinishedRun(folder, result.audit, _date(result) or _written(file), hashes, result, recomputed=agreed)


def _parts(path: Path) -> Iterator[Path]:
    """The folder itself, or the audits in it where `undertow audit` wrote several."""
    if path.is_dir() and not (path / "result.json").is_file():
        inner = sorted(part.parent for part in path.glob("*/result.json"))
        yield from inner or [path]
    else:
        yield path


def _file_of(path: Path) -> Path:
    """The JSON file of a run or a scan; StoreError in one line for what is none."""
    if path.is_dir():
        if (path / "result.json").is_file():
            return path / "result.json"
        if (path / "undertow.json").is_file():
            raise StoreError(f"{path} holds an unfinished run (no result.json): run the same audit again to finish it")
        raise StoreError(f"{path} is no run folder of undertow: there is no result.json in it")
    if not path.exists():
        raise StoreError(f"{path}: no such folder or file")
    return path


def _strict_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file; NaN and infinity, which we never write, are refused."""

    def refuse(word: str) -> float:
        raise ValueError(f"it holds {word}, which no result of undertow does")

    try:
        body = json.loads(read_bytes(file).decode("utf8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file} cannot be read as a result: {error}") from error
    if not isinstance(body, dict):
        raise StoreError(f"{file} is no result of undertow: it holds no JSON object")
    return body


def _checked_scan(file: Path, body: dict[str, Any]) -> dict[str, Any]:
    kinds = {"verdict": str, "files": list, "findings": list, "not_tested": list, "settings": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(body.get(key), kind)]
    if wrong:
        raise StoreError(f"{file} is a damaged scan ({wrong[0]!r}): scan again")
    return body


def _check_numbers(file: Path, result: AuditResult) -> None:
    """StoreError where a measurement holds what no audit writes."""
    for m in (*result.measurements, *result.controls):
        for name in ("value", "low", "high"):
            x = getattr(m, name)
            if x is not None and (isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x)):
                raise StoreError(f"{file} is damaged: {name} of {_named(m)} is {x!r}, not a number")
        if not isinstance(m.n, int) or m.n < 0:
            raise StoreError(f"{file} is damaged: n of {_named(m)} is {m.n!r}, not a count")
        if m.value is not None and m.low is not None and m.high is not None and not m.low <= m.value <= m.high:
            raise StoreError(
                f"{file} is damaged: {_named(m)} = {m.value} lies outside its interval {m.low} to {m.high}"
            )


def _check_scores(file: Path, result: AuditResult) -> int:
    """How many AUCs the scores beside the result give again; StoreError where one gives another."""
    if result.audit not in RANKED:
        return 0
    rows = {(m.attack, m.group): m for m in (*result.measurements, *result.controls) if _plain_auc(m)}
    agreed = 0
    for scores in result.scores:
        m = rows.get((scores.attack, scores.group))
        if m is None or m.value is None or not _both_sides(scores):
            continue
        again = auc(*scores.pairs())
        if abs(again - m.value) > SAME:
            raise StoreError(
                f"{file} says AUC {m.value:.4f} of {m.attack}, and the scores beside it give {again:.4f}: one of the "
                "two was changed after the run"
            )
        agreed += 1
    return agreed


def _plain_auc(m: Measurement) -> bool:
    return m.metric == "auc" and m.at is None and m.points is None and m.view is None


def _both_sides(scores: Scores) -> bool:
    return bool(scores.inside.any() and scores.outside.any())


def _named(m: Measurement) -> str:
    return f"{m.attack}, {m.label}"


def _date(result: AuditResult) -> str:
    """When the audit was made, where it says so."""
    said = result.environment.get("date", "")
    return said if isinstance(said, str) else ""


def _written(file: Path) -> str:
    return datetime.fromtimestamp(int(file.stat().st_mtime), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
