"""The texts of `undertow audit lm`: rows of text, and conversations as the audited model writes them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.membership.sides import Side
from undertow.types import Array, BadInput, ConfigError

CHATS = ("messages", "conversations", "prompt")


@dataclass(frozen=True, eq=False)
class Texts:
    """One side: its texts, and how many first characters of each were asked of the model, not learnt."""

    side: Side  # x: list of texts
    asked: Mapping[str, int] = field(default_factory=dict)  # text -> characters; absent: none
    spoken: bool = False  # they were written of conversations
    chats: bool = False  # by a template, so that they carry their special tokens

    def __len__(self) -> int:
        return len(self.side)


def read_texts(option: str, path: str, column: str | None, tokenizer: Any, learnt: str = "") -> Texts:
    """The texts of a file; BadInput where it holds something else.

    Rows with `messages`, or with `prompt` and `completion`, are written by the chat template of `tokenizer`. `learnt`:
    what the finetune's loss was of; "": all of a row of messages, the completion alone of a prompt and a completion,
    which are the defaults of TRL.
    """
    from undertow.sources.records.one_side import read_side

    if not path:
        raise ConfigError(f'audit lm needs {option}: a file of texts, one {{"text": ...}} a line')
    file = Path(path)
    first = None if column else _first_row(file)
    if first is not None and "text" not in first and any(key in first for key in CHATS):
        return _conversations(option, file, tokenizer, learnt)
    part = read_side(path, option, None, column or _text_of(file))
    if not isinstance(part.x, list) or not all(isinstance(text, str) for text in part.x):
        raise BadInput(f'{option} {path}: no texts there; give rows {{"text": ...}}, or name the column by --field')
    return Texts(replace(part, y=None))


def _conversations(option: str, file: Path, tokenizer: Any, learnt: str) -> Texts:
    from undertow.sources.records.conversations import said_in
    from undertow.sources.records.one_side import json_rows

    template, rows = _template(tokenizer), json_rows(file, f"{option} {file}")
    texts, asked, kept = [], {}, []
    for i, row in enumerate(rows):
        try:
            said = said_in(_usual(row), template)
        except BadInput as error:
            raise BadInput(f"{option} {file}: record {i + 1}: {error}") from error
        if said is None:
            raise BadInput(f"{option} {file}: record {i + 1} holds no 'messages', and no 'prompt' with a 'completion'")
        if not said.text.strip():
            continue
        texts.append(said.text)
        kept.append(i)
        if learnt == "answers" or (not learnt and "prompt" in row):
            asked[said.text] = said.asked
    ids = tuple(str(rows[i]["id"]) for i in kept) if all("id" in row for row in rows) else None
    groups = np.array([rows[i]["group"] for i in kept]) if all("group" in row for row in rows) else None
    notes = []
    if len(kept) < len(rows):
        notes.append(f"{file.name}: {len(rows) - len(kept)} of {len(rows)} conversations are empty and were skipped")
    if template is None:
        notes.append(f"{file.name}: the model has no chat template; messages are written as 'role: content'")
    return Texts(Side(texts, None, ids, groups, None, file.name, tuple(notes)), asked, True, template is not None)


SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def _usual(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """ShareGPT's `conversations` of {from, value} as messages of {role, content}."""
    turns = row.get("conversations")
    if "messages" in row or not isinstance(turns, list):
        return row
    told = [
        {"role": SPEAKERS.get(str(t.get("from")), str(t.get("from"))), "content": t.get("value")}
        if isinstance(t, Mapping) and "from" in t
        else t
        for t in turns
    ]
    return {"messages": told}


def _template(tokenizer: Any) -> Any:
    """The tokenizer's own chat template, rendered in our sandbox; None where it has none."""
    from undertow.sources.records.conversations import Template

    source = getattr(tokenizer, "chat_template", None)
    if isinstance(source, Mapping):
        source = source.get("default")
    if not isinstance(source, str) or not source:
        return None
    return Template(source, {name: str(token) for name, token in tokenizer.special_tokens_map.items()})


def _first_row(file: Path) -> Mapping[str, Any] | None:
    """The first record of a file of JSON rows, gzipped or not; None where there is none."""
    from undertow.storage.files import read_text

    kinds = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    if kinds[-1:] not in ([".jsonl"], [".ndjson"], [".json"]) or not file.is_file():
        return None
    text = read_text(file).lstrip()
    try:
        row = json.loads(text)[0] if text.startswith("[") else json.loads(text.split("\n", 1)[0])
    except (ValueError, RecursionError, LookupError, TypeError):
        return None  # the reader says what is wrong
    return row if isinstance(row, dict) else None


def _text_of(file: Path) -> str | None:
    """`text` where a jsonl file has it, so that a missing column is named as such; None leaves it to the reader."""
    return "text" if file.suffix.lower() in (".jsonl", ".ndjson") and file.is_file() else None


def learnt_parts(texts: Sequence[str], asked: Mapping[str, int]) -> list[str]:
    """Of each text what was learnt."""
    return [text[asked.get(text, 0) :] or text for text in texts]


def first_learnt(tokenizer: Any, texts: Sequence[str], asked: Mapping[str, int], chats: bool, sizes: Array) -> Array:
    """(N,) the place of the first token of each text that was learnt, 1 at least: nothing predicts the first."""
    starts = np.ones(len(texts), int)
    for i, text in enumerate(texts):
        if asked.get(text):
            before = tokenizer(text[: asked[text]], add_special_tokens=not chats, verbose=False)["input_ids"]
            starts[i] = max(1, len(before))
    found: Array = np.minimum(starts, np.maximum(sizes - 1, 1))
    return found
