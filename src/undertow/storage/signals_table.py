"""Signals as a table: one row per (model, record), or per record of one model; csv or parquet."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.membership.evidence import truth
from undertow.types import Array, BadInput, MissingExtra

COLUMNS = ("value", "member", "model", "example", "group", "hash")
_NAMES = {**{c: c for c in COLUMNS}, **{f"{c}s": c for c in COLUMNS}, "id": "example", "ids": "example"}
_MEANT = {"score": "value", "signal": "value", "membership": "member", "is_member": "member"}
_WANTED = "the columns are value, member; with several models also model, example; group and hash if known"
Read = tuple[dict[str, Array], tuple[str, ...] | None, tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """Known columns of text (R,), the row of the file each entry is in, and what was noticed."""

    file: Path
    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[int]
    notes: tuple[str, ...] = ()


def read_csv(file: Path, raw: bytes) -> Read:
    """Arrays, ids and notes of a csv with commas, semicolons, tabs or bars; BadInput by row."""
    try:
        text = raw.decode("utf-8-sig")
        header, delimiter = _header(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        next((row for row in reader if any(cell.strip() for cell in row)), None)
        cells, rows = [], []
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                said = f"row {reader.line_num} has {len(row)} cells, cut at {delimiter!r}, the header {len(header)}"
                raise BadInput(f"{file}: {said}; every row needs all columns")
            cells.append(row)
            rows.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        hint = "; if it is text, save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise BadInput(f"{file} is neither npz, parquet nor csv: {error}{hint}") from error
    where = _places(file, header)
    columns = {name: [row[i].strip() for row in cells] for name, i in where.items()}
    return _arrays(_decimals(Table(file, columns, rows, _unused(header, where)), delimiter))


def read_parquet(file: Path) -> Read:
    """Arrays, ids and notes of a parquet table; BadInput by row, counted from 1; MissingExtra without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    try:
        table = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{file} cannot be read as parquet: {error}") from error
    where = _places(file, table.column_names)
    columns = {name: ["" if v is None else str(v) for v in table.column(i).to_pylist()] for name, i in where.items()}
    return _arrays(Table(file, columns, range(1, table.num_rows + 1), _unused(table.column_names, where)))


def _header(text: str) -> tuple[list[str], str]:
    """The first row, cut at the delimiter that shows the most known columns."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    cut = {mark: next(csv.reader([line], delimiter=mark), [""]) for mark in ",;\t|"}
    best = max(cut, key=lambda mark: (sum(_column(c) is not None for c in cut[mark]), len(cut[mark])))
    return cut[best], best


def _column(header: str) -> str | None:
    return _NAMES.get(header.strip().lower())


def _places(file: Path, header: Sequence[str]) -> dict[str, int]:
    """Where each known column is; BadInput where one is absent or there twice."""
    where: dict[str, int] = {}
    for i, cell in enumerate(header):
        name = _column(cell)
        if name in where:
            raise BadInput(f"{file}: two columns are {name!r} ({header[where[name]]!r} and {cell!r}); keep one")
        if name is not None:
            where[name] = i
    absent = [c for c in ("value", "member") if c not in where]
    if absent and any(header) and all(_is_number(cell) for cell in header):
        raise BadInput(f"{file}: the first row is {', '.join(header[:4])}; it must name the columns: value,member")
    if absent:
        raise BadInput(f"{file}: column {absent[0]!r} is missing{_nearest(absent[0], header)}; {_WANTED}")
    if ("model" in where) and ("example" not in where):
        raise BadInput(f"{file}: column 'example' is missing; with `model`, it says which record a row is of")
    return where


def _nearest(absent: str, header: Sequence[str]) -> str:
    """What the file has instead."""
    found = [cell.strip() for cell in header if cell.strip()]
    meant = [cell for cell in found if _MEANT.get(cell.lower()) == absent]
    near = meant or [cell for cell in found if get_close_matches(cell.lower(), [absent], 1)]
    if near:
        return f" (found {near[0]!r}: name it {absent!r})"
    lost = [cell for cell in found if "loss" in cell.lower()]
    if absent == "value" and lost:
        return f" (found {lost[0]!r}: write value = -{lost[0]}, as a member has the higher value)"
    return f" (found {', '.join(found[:6])}{', ...' if len(found) > 6 else ''})"


def _unused(header: Sequence[str], where: Mapping[str, int]) -> tuple[str, ...]:
    """A sentence on columns that were left; a nameless index is none."""
    rest = [cell.strip() for i, cell in enumerate(header) if i not in where.values()]
    rest = [cell for cell in rest if cell and not cell.startswith(("Unnamed:", "__index_level_"))]
    return (f"columns not used: {', '.join(rest[:6])}{', ...' if len(rest) > 6 else ''}",) if rest else ()


def _decimals(table: Table, delimiter: str) -> Table:
    """Decimal commas made points where the delimiter leaves no doubt about them."""
    cells = table.columns["value"]
    if delimiter == "," or not any("," in cell for cell in cells) or any("." in cell for cell in cells):
        return table
    columns = {**table.columns, "value": [cell.replace(",", ".") for cell in cells]}
    return replace(table, columns=columns, notes=(*table.notes, "commas in `value` were read as decimal commas"))


def _arrays(table: Table) -> Read:
    """Values and membership of one model (N,), or of several (M, N); what else is known of the records."""
    if not table.rows:
        raise BadInput(f"{table.file}: no rows")
    value, member = _values(table), _members(table)
    rest = [key for key in ("group", "hash") if key in table.columns]
    names = table.columns.get("example")
    for key in [*rest, *(["example"] if names is not None else []), *(["model"] if "model" in table.columns else [])]:
        empty = next((row for row, cell in zip(table.rows, table.columns[key], strict=True) if not cell), None)
        if empty is not None:
            raise BadInput(f"{table.file}: row {empty}: {key} is empty; fill it, or leave the column out")
    if "model" in table.columns:
        return _long(table, value, member, rest)
    if names is not None and len(set(names)) < len(names):
        times = np.unique(np.unique(names, return_counts=True)[1])
        if len(times) == 1:
            raise BadInput(
                f"{table.file}: every example occurs {times[0]} times; if the rows are of several models, add a "
                "column `model`; if they are of one, leave out all but one"
            )
    arrays = {"values": value, "member": member, **{key: np.array(table.columns[key]) for key in rest}}
    return arrays, None if names is None else tuple(names), table.notes


def _long(table: Table, value: Array, member: Array, rest: Sequence[str]) -> Read:
    """The long form to matrices; every (model, example) pair exactly once."""
    file, models, examples = table.file, table.columns["model"], table.columns["example"]
    row = {name: i for i, name in enumerate(dict.fromkeys(models))}
    column = {name: i for i, name in enumerate(dict.fromkeys(examples))}
    m, q = np.array([row[name] for name in models]), np.array([column[name] for name in examples])
    pair = m * len(column) + q
    seen = np.zeros((len(row), len(column)), bool)
    seen[m, q] = True
    if seen.sum() < len(pair):
        _, first = np.unique(pair, return_index=True)
        i = int(np.setdiff1d(np.arange(len(pair)), first)[0])
        raise BadInput(
            f"{file}: row {table.rows[i]}: model {models[i]!r}, example {examples[i]!r} occurs twice; keep one"
        )
    gaps = np.argwhere(~seen)
    if len(gaps):
        first_model, first_example = list(row)[gaps[0][0]], list(column)[gaps[0][1]]
        raise BadInput(
            f"{file}: {len(gaps)} pairs are absent, the first is model {first_model!r}, example {first_example!r}; "
            "every model needs a row for every example"
        )
    arrays = {"values": np.zeros(seen.shape), "member": np.zeros(seen.shape, bool)}
    arrays["values"][m, q], arrays["member"][m, q] = value, member
    for key in rest:
        arrays[key] = _of_examples(table, key, q, len(column))
    return arrays, tuple(column), table.notes


def _of_examples(table: Table, key: str, q: Array, count: int) -> Array:
    """A column that is of the record, (N,); BadInput where the rows of one record differ."""
    cells = np.array(table.columns[key])
    result = np.empty(count, cells.dtype)
    result[q[::-1]] = cells[::-1]  # the first row of each record counts
    bad = np.flatnonzero(result[q] != cells)
    if len(bad):
        example = table.columns["example"][bad[0]]
        raise BadInput(
            f"{table.file}: row {table.rows[bad[0]]}: {key} of example {example!r} differs from its other rows"
        )
    return result


def _values(table: Table) -> Array:
    cells = table.columns["value"]
    try:
        found = np.array([float(cell) for cell in cells])
    except ValueError as error:
        i = next(i for i, cell in enumerate(cells) if not _is_number(cell))
        raise BadInput(f"{table.file}: row {table.rows[i]}: value is {cells[i]!r}, not a number") from error
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        where = f"row {table.rows[bad[0]]}: value is {cells[bad[0]]!r} ({len(bad)} such in all)"
        raise BadInput(f"{table.file}: {where}; mend it, or leave its record out of the file")
    return found


def _members(table: Table) -> Array:
    cells = table.columns["member"]
    member, bad = truth(np.array(cells))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise BadInput(f"{table.file}: row {table.rows[i]}: member is {cells[i]!r}; write 0/1 or true/false")
    return member


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
