"""Text records to audit: the public PII sets known by name, and any user's. `pii` makes them up instead."""

from dataclasses import dataclass
from pathlib import Path

from undertow.sources.records.conversations import Said, Template, said_in
from undertow.sources.records.text_files import Row, rows_of
from undertow.types import BadInput


@dataclass(frozen=True)
class TextRecords:
    """Texts, each once, in the order of their source."""

    name: str
    texts: tuple[str, ...]
    ids: tuple[str, ...]  # where each comes from, for the report
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # the template each was filled from; empty where unknown
    labels: tuple[str, ...] = ()  # the class of each; empty where nobody asked
    asked: tuple[int, ...] = ()  # characters at the beginning of each that are asked, not learnt; empty: none

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
            return text_records(folder / file, name=name, group=KNOWN[name].group)
    raise BadInput(f"--data {source}: no {file} there; {name} is read from a folder that holds it")


def text_records(
    path: str | Path, field: str = "text", name: str = "", group: str = "", label: str = "",
    template: Template | None = None,
) -> TextRecords:  # fmt: skip
    """The texts of a file or folder in any format of `text_files`: of one field, or conversations.

    Rows without `field` may hold `messages`, or `prompt` and `completion`; `template` writes them as text. `group` is
    the field that names a text's template, `label` that of its class. Empty texts and repeated ones are left out, and
    notes say how many. Raises BadInput naming the file, the line and what it has.
    """
    path = Path(path)
    rows = rows_of(path, (field, label) if label else (field,))
    said = [_said(row, field, template) for row in rows]
    full = [i for i, one in enumerate(said) if one.text.strip()]
    empty = len(rows) - len(full)
    notes = (f"{empty} of {len(rows)} texts of {path.name} are empty and were left out",) if empty else ()
    rows, said = [rows[i] for i in full], [said[i] for i in full]
    groups = [_column(row, group) for row in rows] if group else []
    labels = [_column(row, label) for row in rows] if label else []
    kept, repeated = first_of_each([one.text for one in said], [row.place for row in rows])
    asked = tuple(said[i].asked for i in kept)
    if any(asked):
        notes = (*notes, f"the loss of {sum(map(bool, asked))} conversations is of the last answer")
    return TextRecords(
        name=name or path.name.partition(".")[0],
        texts=tuple(said[i].text for i in kept),
        ids=tuple(rows[i].id for i in kept),
        notes=(*notes, *repeated),
        groups=tuple(groups[i] for i in kept) if groups else (),
        labels=tuple(labels[i] for i in kept) if labels else (),
        asked=asked if any(asked) else (),
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


def _said(row: Row, field: str, template: Template | None) -> Said:
    if field not in row.values:
        try:
            found = said_in(row.values, template)
        except BadInput as error:
            raise row.refused(str(error)) from error
        if found is None:
            has = ", ".join(map(str, row.values)) or "none"
            raise row.refused(f"field {field!r} is missing; it has {has} (another one: --field NAME)")
    else:
        text = row.values[field]
        if text is not None and not isinstance(text, str):
            raise row.refused(f"field {field!r} must be a text, found {text!r:.40}")
        found = Said(text or "")
    try:
        found.text.encode("utf8")
    except UnicodeEncodeError as error:
        raise row.refused(f"field {field!r} holds half a surrogate pair; repair it") from error
    return found


def _column(row: Row, name: str) -> str:
    value = row.values.get(name)
    if value is None or not str(value).strip():
        raise row.refused(f"field {name!r} is missing; it has {', '.join(map(str, row.values))}")
    return str(value)
