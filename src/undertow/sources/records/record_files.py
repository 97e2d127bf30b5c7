"""A person's records as they lie in files, handed to their own training as they are: nothing is scaled or converted.

npz: x (N, ...), y (N,) labels, id, group, features, all but x optional. csv: a header; the columns label (or y, class,
target), id, group; every other column is a number of x. jsonl: one object a line with text, and label, id, group. A
folder: its finetune.npz, as `undertow audit mia --data` reads it.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undertow.storage.files import read_bytes, read_npz, read_text
from undertow.types import Array, BadInput

MAIN = "finetune.npz"
MEANT = {
    **dict.fromkeys(("label", "labels", "y", "class", "target"), "y"),
    **dict.fromkeys(("id", "ids"), "id"),
    **dict.fromkeys(("group", "groups", "person"), "group"),
}
ARRAYS = ("x", "y", "id", "group", "features")


@dataclass(frozen=True, eq=False)
class OwnRecords:
    """What a file holds, as it was read."""

    name: str
    x: Any  # (N, ...) array, or a list of texts
    y: Array | None = None
    ids: Sequence[str] | None = None
    groups: Array | None = None
    features: Array | None = None


def read_own(path: Path) -> OwnRecords:
    """The records in a file or folder; the content decides the format. BadInput names the file, the row and the fix."""
    if path.is_dir():
        if not (path / MAIN).is_file():
            raise BadInput(
                f"--data {path}: no {MAIN} there; it holds x (N, ...) and y (N,); or name a csv, npz or jsonl"
            )
        path = path / MAIN
    if not path.exists():
        raise BadInput(f"--data {path}: no such file or folder")
    start = read_bytes(path)[:8]
    if start[:2] == b"PK":
        return _from_arrays(path, read_npz(path))
    for sign, said in ((b"\x93NUMPY", "a single .npy array"), (b"PAR1", "parquet"), (b"\x80", "perhaps a pickle")):
        if start.startswith(sign):
            raise BadInput(f"--data {path} is {said}; give an npz with x and y, a csv with a header, or jsonl")
    text = read_text(path)
    return _from_jsonl(path, text) if text.lstrip()[:1] == "{" else _from_csv(path, text)


def _from_arrays(path: Path, arrays: Mapping[str, Array]) -> OwnRecords:
    found: dict[str, Array] = {}
    for key, value in arrays.items():
        name = key if key in ARRAYS else MEANT.get(key.lower())
        if name is None:
            raise BadInput(f"{path}: unknown key {key!r}; known: {', '.join(ARRAYS)}")
        if name in found:
            raise BadInput(f"{path}: two arrays are {name!r} ({key!r} is one of them); keep one")
        found[name] = value
    if "x" not in found:
        raise BadInput(f"{path}: key 'x' is missing; found: {', '.join(arrays) or 'nothing'}")
    ids = found.get("id")
    names = None if ids is None else [str(i) for i in ids]
    return OwnRecords(path.name, found["x"], found.get("y"), names, found.get("group"), found.get("features"))


def _from_csv(path: Path, text: str) -> OwnRecords:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise BadInput(f"{path}: a header and one line per record are needed; found {len(lines)} lines")
    mark = max(",;\t", key=lines[0].count)
    try:
        table = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if any(map(str.strip, row))]
    except csv.Error as error:
        raise BadInput(f"{path} cannot be read as csv: {error}") from error
    header, rows = [cell.strip() for cell in table[0]], table[1:]
    if all(_is_number(cell) for cell in header):
        raise BadInput(f"{path}: the first row is {', '.join(header[:4])}; it must name the columns: label,...")
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise BadInput(f"{path}: row {i + 2} has {len(row)} cells, the header {len(header)}")
    columns = {name: [row[i].strip() for row in rows] for i, name in enumerate(header)}
    if len(columns) < len(header):
        raise BadInput(f"{path}: two columns have one name; each needs its own")
    return _of_columns(path, columns)


def _of_columns(path: Path, columns: Mapping[str, list[str]]) -> OwnRecords:
    known: dict[str, list[str]] = {}
    for name, cells in columns.items():
        meant = MEANT.get(name.lower())
        if meant in known:
            raise BadInput(f"{path}: two columns are the {meant!r} of a record ({name!r} is one of them); rename one")
        if meant:
            known[meant] = cells
    rest = {name: cells for name, cells in columns.items() if name.lower() not in MEANT and name}
    if not rest:
        raise BadInput(f"{path}: no column is left for x; found: {', '.join(columns)}")
    x = np.stack([_numbers(path, name, cells) for name, cells in rest.items()], 1)
    y = known.get("y")
    labels = None if y is None else _labels(path, y)
    group = known.get("group")
    return OwnRecords(path.name, x, labels, known.get("id"), None if group is None else np.array(group))


def _numbers(path: Path, name: str, cells: Sequence[str]) -> Array:
    """A column of numbers; empty cells are NaN, which is for the training to deal with."""
    for i, cell in enumerate(cells):
        if cell and not _is_number(cell):
            raise BadInput(
                f"{path}: row {i + 2}: {name} is {cell[:40]!r}, and x are numbers; encode the column, drop it, or let "
                "your script read the data: --data my_script.py:records, a function that returns (x, y)"
            )
    return np.array([float(cell) if cell else np.nan for cell in cells])


def _labels(path: Path, cells: Sequence[str]) -> Array:
    empty = next((i for i, cell in enumerate(cells) if not cell), None)
    if empty is not None:
        raise BadInput(f"{path}: row {empty + 2} has no label; fill it, or leave the row out")
    if all(_is_number(cell) for cell in cells):
        return np.array([float(cell) for cell in cells])
    return np.array(cells)


def _from_jsonl(path: Path, text: str) -> OwnRecords:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}: line {number} is no JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            found = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
            raise BadInput(f"{path}: line {number} has no field 'text' that is a text (found: {found})")
        rows.append((number, {MEANT.get(str(k).lower(), k): v for k, v in row.items()}))
    some = {key: [row.get(key) for _, row in rows] for key in ("y", "id", "group")}
    for key, cells in some.items():
        gap = next((i for i, cell in enumerate(cells) if cell is None), None)
        if gap is not None and any(cell is not None for cell in cells):
            word = {"y": "label"}.get(key, key)
            raise BadInput(
                f"{path}: line {rows[gap][0]} has no {word}; other lines have one: fill it, or leave it out of all"
            )
    columns = {key: None if cells[0] is None else cells for key, cells in some.items()}
    y, group, ids = columns["y"], columns["group"], columns["id"]
    return OwnRecords(
        path.name,
        [row["text"] for _, row in rows],
        None if y is None else np.array(y),
        None if ids is None else list(map(str, ids)),
        None if group is None else np.array(list(map(str, group))),
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
