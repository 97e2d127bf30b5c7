"""Scores of an audit made anywhere: one per trial, npz or csv. The content decides which, never the name."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np

from undertow.audits.dp.claimed import Claimed, claimed_curve
from undertow.audits.dp.epsilon import ScoreSet
from undertow.metrics.epsilon import Trials
from undertow.storage.files import read_bytes, read_npz
from undertow.types import Array, BadInput

KEYS = ("score", "member", "run")
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def read_scores(path: str | Path) -> ScoreSet:
    """The arrays or columns `score`, `member` (0/1 or true/false) and, where there is one, `run`; others are left.

    Raises BadInput naming the file, the key or row, and the fix.
    """
    file = Path(path)
    raw = read_bytes(file)
    columns = read_npz(file) if raw[:4] == b"PK\x03\x04" else _csv_columns(file, raw)
    for key in KEYS[:2]:
        if key not in columns:
            found = ", ".join(map(repr, list(columns)[:8])) or "none"
            raise BadInput(
                f"{file}: {key!r} is missing; the columns (or arrays) are score, member and, if any, run; "
                f"found: {found}"
            )
    scores = _numbers(file, columns["score"])
    member = _truths(file, columns["member"], scores.shape)
    run = columns.get("run")
    if run is not None and run.shape != scores.shape:
        raise BadInput(f"{file}: run has shape {run.shape}, score {scores.shape}; one of each per trial is needed")
    bad = np.flatnonzero(np.isnan(scores))
    if bad.size:
        raise BadInput(f"{file}: {bad.size} scores are NaN, the first in trial {bad[0] + 1}; give every trial a number")
    if member.all() or not member.any():
        name = "non-members" if member.all() else "members"
        raise BadInput(f"{file}: no {name} among {member.size} trials; both are needed")
    return ScoreSet(file.name, hashlib.sha256(raw).hexdigest(), Trials(scores, member, run))


def _csv_columns(file: Path, raw: bytes, keys: tuple[str, ...] = KEYS) -> dict[str, Array]:
    """Columns by name, in lower case where they are one of `keys`; those that are not hold nothing."""
    if raw[:6] == b"\x93NUMPY" or raw.lstrip()[:1] in (b"{", b"["):
        kind = "a npy array" if raw[:1] == b"\x93" else "JSON"
        raise BadInput(f"{file} is {kind}; write an npz or a csv with {', '.join(keys)}")
    try:
        reader = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{file} is neither npz nor csv: {error}") from error
    if not rows:
        raise BadInput(f"{file}: no rows")
    none, found = np.zeros(0, "U1"), {}
    for name in reader.fieldnames or ():
        key = name.strip().lower()
        found[key if key in keys else name] = np.array([row[name] or "" for row in rows]) if key in keys else none
    return found


def read_curve(path: str | Path, delta: float) -> Claimed:
    """A claimed privacy curve: csv with the columns `epsilon` and `delta`, as an accountant prints it.

    Raises BadInput naming the file, the column or row, and the fix.
    """
    file = Path(path)
    columns = _csv_columns(file, read_bytes(file), ("epsilon", "delta"))
    for key in ("epsilon", "delta"):
        if key not in columns:
            raise BadInput(f"{file}: {key!r} is missing; a claimed curve is a csv with the columns epsilon and delta")
    epsilons, deltas = (_numbers(file, columns[key], key, "row") for key in ("epsilon", "delta"))
    return claimed_curve(epsilons, deltas, delta, file.name)


def _numbers(file: Path, cells: Array, name: str = "score", unit: str = "trial") -> Array:
    if cells.ndim != 1 or cells.size == 0:
        raise BadInput(f"{file}: {name} has shape {cells.shape}; it must be (n,), one per {unit}")
    if cells.dtype.kind in "fiu":
        return cells.astype(float)
    if cells.dtype.kind != "U":
        raise BadInput(f"{file}: {name} holds {cells.dtype}; it must be numbers")
    found = np.empty(cells.size)
    for i, cell in enumerate(cells):
        try:
            found[i] = float(cell)
        except ValueError as error:
            raise BadInput(f"{file}: {unit} {i + 1}: {name} is {str(cell)!r}, not a number") from error
    return found


def _truths(file: Path, cells: Array, shape: tuple[int, ...]) -> Array:
    if cells.shape != shape:
        raise BadInput(f"{file}: member has shape {cells.shape}, score {shape}; one of each per trial is needed")
    if cells.dtype == bool:
        return cells
    if cells.dtype.kind not in "fiuU":
        raise BadInput(f"{file}: member holds {cells.dtype}; write 0/1 or true/false")
    words = cells if cells.dtype.kind == "U" else [f"{cell:g}" for cell in cells]
    truth = [_TRUTH.get(str(word).strip().lower()) for word in words]
    if None in truth:
        i = truth.index(None)
        raise BadInput(f"{file}: trial {i + 1}: member is {str(words[i])!r}; write 0/1 or true/false")
    return np.array(truth, bool)
