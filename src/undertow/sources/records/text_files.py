"""The rows of a file or folder of texts, whatever its format: one reader for every audit. Nothing is executed.

Formats: .jsonl, .json, .csv, .tsv, .txt (each may be gzipped, .gz), .parquet, .arrow, a folder that `datasets` saved, a
folder of such files (of .txt: each file is one text).
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undertow.storage.files import read_json, read_text
from undertow.types import BadInput, MissingExtra

OF_TEXT = (".jsonl", ".json", ".csv", ".tsv", ".txt")
TABLES = (".parquet", ".arrow")
SAVED, SPLITS = "state.json", "dataset_dict.json"  # what `datasets` leaves in its folders
SPLIT = "train"  # of several, the one that is read
WHAT = ".jsonl, .json, .csv, .tsv, .parquet, .txt, a folder that `datasets` saved, or a folder of these"
MARKS = ",;\t|"


@dataclass(frozen=True)
class Row:
    """One row, and where it stands."""

    file: Path
    place: str  # "line 3"
    values: Mapping[str, Any]

    @property
    def id(self) -> str:
        return self.place.replace(" ", "-")

    def refused(self, what: str) -> BadInput:
        """The error that names this row."""
        return BadInput(f"{self.file}, {self.place}: {what}")


def kind_of(path: Path) -> str:
    """The format that a name says, without .gz; empty where it is none of texts."""
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix.lower()
    return suffix if suffix in (*OF_TEXT, *TABLES) else ""


def holds_texts(path: Path) -> bool:
    """Whether a path is a file of texts by its name, or a folder with nothing else in it but such files."""
    if not path.is_dir():
        return bool(kind_of(path))
    if (path / SAVED).is_file() or (path / SPLITS).is_file():
        return True
    names = _visible(path)
    return bool(names) and all(name.is_file() and kind_of(name) for name in names)


def rows_of(path: Path, columns: Sequence[str] = ("text",)) -> list[Row]:
    """All rows of a file or folder; BadInput naming the file, the line and the fix, MissingExtra without pyarrow.

    `columns` are names that a csv may have; they decide what its cells are cut at.
    """
    if path.is_dir():
        return _of_folder(path, columns)
    kind = kind_of(path)
    if kind in TABLES:
        return _of_table(path, kind)
    if not kind:
        if not path.exists():
            raise BadInput(f"{path}: no such file")
        raise BadInput(f"{path} is no file of texts; texts come as {WHAT}")
    return list(_of_text(path, kind, read_text(path), columns))


def _of_folder(folder: Path, columns: Sequence[str]) -> list[Row]:
    if (folder / SPLITS).is_file():
        splits = read_json(folder / SPLITS).get("splits", [])
        if SPLIT not in splits and len(splits) != 1:
            raise BadInput(f"{folder} holds the splits {', '.join(splits) or 'none'}; name the folder of one of them")
        return _of_folder(folder / (SPLIT if SPLIT in splits else splits[0]), columns)
    if (folder / SAVED).is_file():
        if read_json(folder / SAVED).get("_indices_files") or list(folder.glob("indices*.arrow")):
            raise BadInput(f"{folder} was saved with an index beside it; save it again after flatten_indices()")
        files = [folder / Path(str(one.get("filename", ""))).name for one in read_json(folder / SAVED)["_data_files"]]
    else:
        files = [file for file in _visible(folder) if file.is_file() and kind_of(file)]
    if not files:
        raise BadInput(f"{folder}: no file of texts there; texts come as {WHAT}")
    if all(kind_of(file) == ".txt" for file in files):
        return [Row(file, file.name, {columns[0]: read_text(file)}) for file in files]
    several = len(files) > 1
    return [
        Row(row.file, f"{file.stem} {row.place}" if several else row.place, row.values)
        for file in files
        for row in rows_of(file, columns)
    ]


def _visible(folder: Path) -> list[Path]:
    return sorted(
        f for f in folder.iterdir() if not f.name.startswith(".") and f.stem.upper() not in ("README", "LICENSE")
    )


def _of_text(path: Path, kind: str, text: str, columns: Sequence[str]) -> Iterator[Row]:
    if "\0" in text[:4096]:
        raise BadInput(f"{path} is binary, no {kind}; texts come as {WHAT}")
    if kind == ".txt":
        lines = ((n, line.strip("\r")) for n, line in enumerate(text.split("\n"), 1))
        yield from (Row(path, f"line {n}", {columns[0]: line}) for n, line in lines if line.strip())
    elif kind == ".jsonl":
        yield from _of_lines(path, text)
    elif kind == ".json":
        yield from _of_json(path, text, columns)
    else:
        yield from _of_csv(path, text, columns, "\t" if kind == ".tsv" else None)


def _of_lines(path: Path, text: str) -> Iterator[Row]:
    """JSON objects, one a line; only newlines end a line (a JSON string may hold other separators)."""
    for line, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        where = Row(path, f"line {line}", {})
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            hint = _looks(text)
            raise where.refused(f"no JSON ({error}); {hint or 'each line must be one JSON object'}") from error
        if not isinstance(found, dict):
            raise where.refused(f"{type(found).__name__} found; each line must be one JSON object")
        yield Row(path, where.place, found)


def _looks(text: str) -> str:
    """What a file that is no JSON lines seems to be."""
    first = text.lstrip()[:1]
    if first == "[":
        return "this looks like one JSON document: name it .json"
    return "" if first == "{" else "this looks like plain text or csv: name it .txt or .csv"


def _of_json(path: Path, text: str, columns: Sequence[str]) -> Iterator[Row]:
    """A list of objects or texts, the same under the one key that holds a list, or a table of columns."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "; one object a line is .jsonl" if text.lstrip().startswith("{") and "\n{" in text else ""
        raise BadInput(f"{path} is no JSON: {error}{hint}") from error
    if isinstance(found, dict):
        lists = {key: value for key, value in found.items() if isinstance(value, list)}
        if lists and all(isinstance(v, list) for v in found.values()) and any(key in lists for key in columns):
            if len({len(v) for v in lists.values()}) > 1:
                raise BadInput(f"{path}: its columns have different lengths")
            found = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
        elif len(lists) == 1:
            found = next(iter(lists.values()))
        else:
            found = [found]
    if not isinstance(found, list):
        raise BadInput(f"{path} holds {type(found).__name__}; a list of objects or texts is needed")
    for n, one in enumerate(found, 1):
        where = Row(path, f"record {n}", {columns[0]: one} if isinstance(one, str) else one)
        if not isinstance(where.values, dict):
            raise Row(path, where.place, {}).refused(f"{type(one).__name__} found; each must be an object or a text")
        yield where


def _of_csv(path: Path, text: str, columns: Sequence[str], mark: str | None) -> Iterator[Row]:
    """Rows below a header; cells are cut at the mark that shows the most of `columns`."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    cut = {m: [c.strip() for c in next(csv.reader([first], delimiter=m), [])] for m in (mark or MARKS)}
    best = max(cut, key=lambda m: (sum(name in cut[m] for name in columns), len(cut[m])))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=best, strict=True)
        header = [cell.strip() for cell in next((r for r in reader if any(c.strip() for c in r)), [])]
        for cells in reader:
            if any(cell.strip() for cell in cells):
                where = Row(path, f"line {reader.line_num}", dict(zip(header, cells, strict=False)))
                if len(cells) != len(header):
                    raise where.refused(f"{len(cells)} cells, cut at {best!r}, where the header has {len(header)}")
                yield where
    except csv.Error as error:
        raise BadInput(f"{path} is no csv: {error}") from error


def _of_table(path: Path, kind: str) -> list[Row]:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    try:
        if kind == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            with pyarrow.memory_map(str(path)) as file:
                try:
                    table = pyarrow.ipc.open_stream(file).read_all()
                except pyarrow.ArrowInvalid:
                    table = pyarrow.ipc.open_file(file).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{path} cannot be read as {kind[1:]}: {next(iter(str(error).splitlines()), '')}") from error
    return [Row(path, f"record {n}", values) for n, values in enumerate(table.to_pylist(), 1)]
