"""Signals the user made anywhere: npz, csv or parquet. The content decides which, never the name."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.membership.evidence import SignalSet
from undertow.storage.files import read_bytes, read_npz
from undertow.types import BadInput, MissingExtra

KEYS = (
    "member", "values", "logits", "labels", "target", "id",
    "features", "pretrained_logits", "pretrained_labels", "pretrained_values",
)  # fmt: skip
COLUMNS = ("model", "example", "value", "member")
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def read_signals(path: str | Path) -> SignalSet:
    """The signals in a file; raises BadInput naming the file, the key or line, and the fix."""
    file = Path(path)
    raw = read_bytes(file)
    sha = hashlib.sha256(raw).hexdigest()
    if raw[:4] == b"PK\x03\x04":
        return _from_npz(file, sha)
    rows = _parquet_rows(file) if raw[:4] == b"PAR1" else _csv_rows(file, raw)
    return _from_rows(file, rows, sha)


def _from_npz(file: Path, sha: str) -> SignalSet:
    arrays = read_npz(file)
    for key in arrays:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(KEYS)}"
            raise BadInput(f"{file}: unknown key {key!r}{hint}")
    ids = arrays.pop("id", None)
    return SignalSet(file.name, sha, arrays, None if ids is None else tuple(str(i) for i in ids))


def _from_rows(file: Path, rows: Sequence[tuple[str, str, float, bool]], sha: str) -> SignalSet:
    """The long form to matrices; every (model, example) pair exactly once."""
    if not rows:
        raise BadInput(f"{file}: no rows")
    models = {name: i for i, name in enumerate(dict.fromkeys(r[0] for r in rows))}
    examples = {name: i for i, name in enumerate(dict.fromkeys(r[1] for r in rows))}
    values = np.zeros((len(models), len(examples)))
    member = np.zeros(values.shape, bool)
    seen = np.zeros(values.shape, bool)
    for line, (model, example, value, is_member) in enumerate(rows, 2):
        place = models[model], examples[example]
        if seen[place]:
            raise BadInput(f"{file}: row {line}: model {model!r}, example {example!r} occurs twice")
        seen[place], values[place], member[place] = True, value, is_member
    gaps = np.argwhere(~seen)
    if len(gaps):
        m, q = list(models)[gaps[0][0]], list(examples)[gaps[0][1]]
        raise BadInput(f"{file}: {len(gaps)} pairs are absent, the first is model {m!r}, example {q!r}")
    return SignalSet(file.name, sha, {"values": values, "member": member}, tuple(examples))


def _csv_rows(file: Path, raw: bytes) -> list[tuple[str, str, float, bool]]:
    try:
        reader = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
        _check_columns(file, reader.fieldnames or ())
        return [_row(file, line, *(r[c] for c in COLUMNS)) for line, r in enumerate(reader, 2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{file} is neither npz, parquet nor csv: {error}") from error


def _parquet_rows(file: Path) -> list[tuple[str, str, float, bool]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    try:
        table = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{file} cannot be read as parquet: {error}") from error
    _check_columns(file, table.column_names)
    columns = [table[c].to_pylist() for c in COLUMNS]
    return [_row(file, line, *cells) for line, cells in enumerate(zip(*columns, strict=True), 2)]


def _check_columns(file: Path, found: Iterable[str]) -> None:
    absent = [c for c in COLUMNS if c not in set(found)]
    if absent:
        raise BadInput(f"{file}: column {absent[0]!r} is missing; the columns are {', '.join(COLUMNS)}")


def _row(file: Path, line: int, model: Any, example: Any, value: Any, member: Any) -> tuple[str, str, float, bool]:
    truth = _TRUTH.get(str(member).strip().lower())
    if truth is None:
        raise BadInput(f"{file}: row {line}: member is {member!r}; write 0/1 or true/false")
    try:
        return str(model), str(example), float(value), truth
    except (TypeError, ValueError) as error:
        raise BadInput(f"{file}: row {line}: value is {value!r}, not a number") from error
