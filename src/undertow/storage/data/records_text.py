"""Text records to audit: the public PII sets known by name, and any user's jsonl. `pii` makes them up instead."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undertow.storage.files import read_text
from undertow.types import BadInput


@dataclass(frozen=True)
class TextRecords:
    """Texts, each once, in the order of their source."""

    name: str
    texts: tuple[str, ...]
    ids: tuple[str, ...]  # where each comes from, for the report
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # the template each was filled from; empty where unknown

    def __post_init__(self) -> None:
        if not self.texts:
            raise BadInput(f"{self.name}: no texts")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Known:
    """A set that is read by name: its file, and the field that names the template of a text."""

    file: str
    group: str = ""


KNOWN = {
    "ai4privacy": Known("ai4privacy_1000.jsonl.gz"),  # the 1,000 sentences of Wen et al. 2024
    "presidio": Known("presidio_synth_pii.jsonl.gz", group="template_id"),  # 209 templates: split by them, not by row
}


def known_records(name: str, source: str) -> TextRecords:
    """A set of KNOWN, read from the folder `source` or its folder `text`; BadInput naming what is missing."""
    if name not in KNOWN:
        raise BadInput(f"no text set is known as {name!r}; known: {', '.join(KNOWN)}")
    file = KNOWN[name].file
    for folder in (Path(source), Path(source) / "text"):
        if (folder / file).is_file():
            return jsonl_records(folder / file, name=name, group=KNOWN[name].group)
    raise BadInput(f"--data {source}: no {file} there; {name} is read from a folder that holds it")


def jsonl_records(path: str | Path, field: str = "text", name: str = "", group: str = "") -> TextRecords:
    """The texts in one field of a .jsonl or .jsonl.gz file, one JSON object a line; blank lines are passed over.

    `group` is the field that names a text's template. Repeated texts are left out, and a note says how many. Raises
    BadInput naming the file and the line.
    """
    path = Path(path)
    rows = list(_objects(path))
    texts = [_text(path, line, row, field) for line, row in rows]
    lines = [line for line, _ in rows]
    groups = [_group(path, line, row, group) for line, row in rows] if group else []
    kept, notes = first_of_each(texts, [f"line {line}" for line in lines])
    return TextRecords(
        name=name or path.name.partition(".")[0],
        texts=tuple(texts[i] for i in kept),
        ids=tuple(f"line-{lines[i]}" for i in kept),
        notes=notes,
        groups=tuple(groups[i] for i in kept) if groups else (),
    )


def first_of_each(texts: list[str], places: list[str]) -> tuple[list[int], tuple[str, ...]]:
    """The rows of the first occurrence of each text, and a note about the others, if any.

    >>> first_of_each(["a", "b", "a"], ["line 1", "line 2", "line 3"])
    ([0, 1], ('1 of 3 texts repeat another and were left out (the first: line 3 repeats line 1)',))
    """
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    again = [row for row, text in enumerate(texts) if first[text] != row]
    if not again:
        return list(first.values()), ()
    pair = f"{places[again[0]]} repeats {places[first[texts[again[0]]]]}"
    left_out = f"{len(again)} of {len(texts)} texts repeat another and were left out (the first: {pair})"
    return list(first.values()), (left_out,)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file with their line numbers, from 1."""
    for line, raw in _lines(read_text(path)):
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}, line {line}: no JSON ({error}); each line must be one JSON object") from error
        if not isinstance(row, dict):
            raise BadInput(f"{path}, line {line}: {type(row).__name__} found; each line must be one JSON object")
        yield line, row


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines that are not blank; only newlines end them (a JSON string may hold other separators)."""
    return ((n, raw) for n, raw in enumerate(text.split("\n"), 1) if raw.strip())


def _text(path: Path, line: int, row: dict[str, Any], field: str) -> str:
    if field not in row:
        raise BadInput(f"{path}, line {line}: field {field!r} is missing; it has {', '.join(row) or 'none'}")
    text = row[field]
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{path}, line {line}: field {field!r} must be a text, found {text!r:.40}")
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        raise BadInput(f"{path}, line {line}: field {field!r} holds half a surrogate pair; repair it") from error
    return text


def _group(path: Path, line: int, row: dict[str, Any], group: str) -> str:
    if group not in row:
        raise BadInput(f"{path}, line {line}: field {group!r} is missing; it has {', '.join(row)}")
    return str(row[group])
