"""Members or non-members in a file: csv, tsv, parquet, jsonl, npz, npy, or a folder of pictures."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.membership.sides import Side
from undertow.sources.records.image_files import decoded
from undertow.storage.files import read_bytes, read_npz, read_text
from undertow.types import Array, BadInput, MissingExtra

LABELS = ("label", "labels", "y", "target", "class")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".dill")
READ = "csv, tsv, parquet, jsonl, npz, npy, or a folder of pictures"
NPZ = {"x": ("x", "X", "data", "inputs", "images"), "y": ("y", "Y", *LABELS), "id": ("id", "ids"), "group": ("group",)}


def read_side(path: str | Path, option: str, label: str | None = None, field: str | None = None) -> Side:
    """The records in a file or folder; `label` and `field` name the columns of the label and of the text.

    BadInput in one line that names `option`, the file, the row where there is one, and the fix.
    """
    file = Path(path)
    what = f"{option} {file}"
    if file.is_dir():
        return _folder(file, what)
    if not file.is_file():
        raise BadInput(f"{what}: no such file or folder")
    name, suffixes = file.name.lower(), [s.lower() for s in file.suffixes]
    last = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if last in PICKLES:
        raise BadInput(f"{what}: such files hold Python pickles, which are never read; save arrays as npz (x, y)")
    if last == ".npz":
        return _npz(file, what)
    if last == ".npy":
        return Side(_npy(file, what), name=name)
    if last in (".csv", ".tsv"):
        return _table(what, _csv(file, what), label, field, file.name)
    if last in (".jsonl", ".ndjson", ".json"):
        return _table(what, _jsonl(file, what), label, field, file.name)
    if last == ".parquet":
        return _table(what, _parquet(file, what), label, field, file.name)
    raise BadInput(f"{what}: {last or 'no suffix'} is not read; give {READ}")


def _npz(file: Path, what: str) -> Side:
    arrays = read_npz(file)
    found = {key: next((arrays[n] for n in names if n in arrays), None) for key, names in NPZ.items()}
    x, ids = found["x"], found["id"]
    if x is None:
        raise BadInput(f"{what}: key 'x' is missing; found: {', '.join(arrays) or 'nothing'}")
    own = None if ids is None else tuple(map(str, ids))
    texts = x.tolist() if x.dtype.kind == "U" and x.ndim == 1 else x
    return Side(texts, found["y"], own, found["group"], arrays.get("features"), file.name)


def _npy(file: Path, what: str) -> Array:
    try:
        return np.asarray(np.load(io.BytesIO(read_bytes(file)), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise BadInput(f"{what} cannot be read as npy without unpickling: {error}") from error


def _csv(file: Path, what: str) -> dict[str, list[Any]]:
    text = read_text(file)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise BadInput(f"{what} is empty")
    mark = max(",;\t|", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=mark) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise BadInput(f"{what} cannot be read as csv: {error}") from error
    header, rest = [cell.strip() for cell in rows[0]], rows[1:]
    if all(_number(cell) is not None for cell in header):
        raise BadInput(f"{what}: the first row is {', '.join(header[:4])}; it must name the columns")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise BadInput(f"{what}: two columns are named {twice!r}; keep one")
    for i, row in enumerate(rest, 2):
        if len(row) != len(header):
            raise BadInput(f"{what}: row {i} has {len(row)} cells, the first row {len(header)}")
    return {name: [row[i].strip() for row in rest] for i, name in enumerate(header)}


def json_rows(file: Path, what: str) -> list[dict[str, Any]]:
    """The objects of a jsonl file, or of a JSON list; BadInput that begins with `what`."""
    text = read_text(file)
    rows: list[Any] = []
    if text.lstrip().startswith("["):
        rows = _json(text, what)
    else:
        rows = [_json(line, f"{what}: line {i}") for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    for i, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadInput(f"{what}: record {i} is {type(row).__name__}; each must be one JSON object")
    return rows


def _jsonl(file: Path, what: str) -> dict[str, list[Any]]:
    rows = json_rows(file, what)
    names = dict.fromkeys(key for row in rows for key in row)
    lacking = next(((i, n) for i, row in enumerate(rows, 1) for n in names if n not in row), None)
    if lacking:
        raise BadInput(f"{what}: record {lacking[0]} has no {lacking[1]!r}; every record needs the same fields")
    return {name: [row[name] for row in rows] for name in names}


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what}: no JSON ({error})") from error


def _parquet(file: Path, what: str) -> dict[str, list[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    try:
        found: dict[str, list[Any]] = parquet.read_table(file).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{what} cannot be read as parquet: {error}") from error
    return found


def _table(what: str, columns: Mapping[str, list[Any]], label: str | None, field: str | None, name: str) -> Side:
    """Records of named columns: one text, one list of numbers, or several numbers each; and what else is known."""
    if not columns or not next(iter(columns.values())):
        raise BadInput(f"{what}: no rows")
    rest = {key: values for key, values in columns.items() if key and not key.startswith("Unnamed:")}
    y = _taken(what, rest, label, LABELS, "--label")
    text = _taken(what, rest, field, ("text", "x"), "--field")
    ids = rest.pop("id", None)
    groups = rest.pop("group", None)
    if text is None:
        texts = [key for key, values in rest.items() if isinstance(values[0], str | list) and not _numeric(values)]
        if len(rest) == 1 and len(texts) == 1:
            text = rest.pop(texts[0])
        elif texts:
            raise BadInput(
                f"{what}: column {texts[0]!r} holds {rest[texts[0]][0]!r:.40}, no number; name the column of a text by "
                "--field, that of the class by --label, or give numbers"
            )
        elif not rest:
            raise BadInput(f"{what}: no column is left for the records beside the label")
    notes, kept = [], list(range(len(next(iter(columns.values())))))
    if text is not None and isinstance(text[0], str):
        kept = [i for i in kept if isinstance(text[i], str) and text[i].strip()]
        if len(kept) < len(text):
            notes.append(f"{name}: {len(text) - len(kept)} of {len(text)} texts are empty and were skipped")
        if rest:
            notes.append(f"{name}: columns not used: {', '.join(list(rest)[:6])}")
    x: Any = [text[i] for i in kept] if text is not None else _numbers(what, rest)
    if text is not None and kept and isinstance(x[0], list):
        x = _lists(what, x)
    names = tuple(rest) if text is None else ()
    pick = [None if v is None else [v[i] for i in kept] for v in (y, ids, groups)]
    labels = None if pick[0] is None else _labels(what, pick[0])
    own = None if pick[1] is None else tuple(map(str, pick[1]))
    return Side(x, labels, own, None if pick[2] is None else np.array(pick[2]), None, name, tuple(notes), names)


def _taken(
    what: str, rest: dict[str, list[Any]], named: str | None, usual: Sequence[str], option: str
) -> list[Any] | None:
    if named is not None:
        if named not in rest:
            near = get_close_matches(named, rest, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(list(rest)[:8])}"
            raise BadInput(f"{what}: {option} {named!r} is no column{hint}")
        return rest.pop(named)
    lower = {key.lower(): key for key in rest}
    found = next((lower[name] for name in usual if name in lower), None)
    return None if found is None else rest.pop(found)


def _labels(what: str, cells: list[Any]) -> Array:
    for i, cell in enumerate(cells, 1):
        if cell is None or cell == "" or (isinstance(cell, float) and np.isnan(cell)):
            raise BadInput(f"{what}: the label of record {i} is missing; fill it, or leave the record out")
    numbers = [_number(cell) for cell in cells]
    if any(number is None for number in numbers):
        return np.array([str(cell) for cell in cells])
    found = np.array(numbers, float)
    return found.astype(np.int64) if (found == np.floor(found)).all() else found


def _numeric(values: Sequence[Any]) -> bool:
    return all(_number(cell) is not None or cell in ("", None) for cell in values[:50])


def _numbers(what: str, columns: Mapping[str, list[Any]]) -> Array:
    found = np.empty((len(next(iter(columns.values()))), len(columns)), np.float64)
    for j, (name, cells) in enumerate(columns.items()):
        for i, cell in enumerate(cells):
            number = _number(cell)
            if number is None or not np.isfinite(number):
                held = "empty" if cell in ("", None) else repr(cell)
                raise BadInput(
                    f"{what}: record {i + 1}, column {name!r} is {held:.40}; fill it, or leave the record out"
                )
            found[i, j] = number
    return found


def _lists(what: str, x: list[Any]) -> Array:
    try:
        found = np.array(x, float)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{what}: the lists of the records differ in length or hold no numbers ({error})") from error
    return found


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool | int | float):
        return float(cell)
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _folder(folder: Path, what: str) -> Side:
    """Pictures, in a folder per class or all in one without labels; of one size (N, H, W, 3), else a list."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    if not files:
        some = ", ".join(sorted(p.name for p in folder.iterdir())[:3]) or "nothing"
        raise BadInput(f"{what}: no picture there ({some}); give {READ}")
    classes = [p.relative_to(folder).parts[0] if p.parent != folder else None for p in files]
    if any(classes) and not all(classes):
        loose = files[classes.index(None)].name
        raise BadInput(f"{what}: {loose} lies beside the folders of the classes; put it into one, or all into none")
    pixels = [decoded(p) for p in files]
    same = len({one.shape for one in pixels}) == 1
    names = tuple(str(p.relative_to(folder)) for p in files)
    return Side(
        np.stack(pixels) if same else pixels, np.array(classes) if all(classes) else None, names, name=folder.name
    )
