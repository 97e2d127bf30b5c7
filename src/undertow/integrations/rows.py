"""Rows of training data that a canary fits into: tokenised, texts, chats; lists, datasets, streams."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from undertow.types import Array, BadInput, ConfigError

PROMPT = "Continue."  # what the user says before a canary, in a chat; the same for all, so it tells nothing
_PREFERENCE = ("chosen", "rejected", "chosen_input_ids", "rejected_input_ids")


@dataclass(frozen=True, eq=False)
class WithCanaries:
    """The given rows and the canaries among them, at random places; a map-style dataset, as `Trainer` takes."""

    rows: Any  # the given dataset
    canaries: Sequence[Mapping[str, Any]]
    order: Array  # (N,) int: row, or canary from len(rows) on

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        at = int(self.order[i])
        found: Mapping[str, Any] = self.rows[at] if at < len(self.rows) else self.canaries[at - len(self.rows)]
        return found

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class Columns:
    """How a canary becomes a row of a dataset."""

    names: tuple[str, ...]
    tokenizer: Any  # for raw rows, else None
    fill: Mapping[str, Any]
    dataset: Any  # where values of columns that mean nothing here are copied from, None for streams

    @property
    def raw(self) -> bool:
        """Whether rows are texts or chats, not token ids."""
        return "input_ids" not in self.names

    def row(self, ids: Array, first: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """A canary with the columns of the other rows; BadInput where one cannot be filled."""
        values = self._texts(ids, first) if self.raw else _tokenised(ids)
        other = first if self.dataset is None else self.dataset[int(rng.integers(len(self.dataset)))]
        return {name: self._value(name, values, first, other) for name in self.names}

    def _value(self, name: str, values: Mapping[str, Any], first: Mapping[str, Any], other: Mapping[str, Any]) -> Any:
        if name in self.fill:
            return self.fill[name]
        if name in values:
            return values[name]
        if not self.raw and _per_token(first[name], first["input_ids"]):
            raise BadInput(
                f"the column {name!r} has a value for every token, which a canary cannot guess; remove it "
                f"(dataset.remove_columns) or give fill={{{name!r}: ...}}"
            )
        return other[name]  # of another row: the right type, and nothing of the coins in it

    def _texts(self, ids: Array, first: Mapping[str, Any]) -> dict[str, Any]:
        text = str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)).strip()
        answer = [{"role": "assistant", "content": text}]
        chat = isinstance(first.get("prompt"), (list, tuple))
        asked: Any = [{"role": "user", "content": PROMPT}]
        return {
            "text": text,
            "messages": asked + answer,
            "prompt": asked if chat else PROMPT + "\n",
            "completion": answer if chat else text,
        }


def _per_token(value: Any, ids: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping)) and len(value) == len(ids) > 1


def _tokenised(ids: Array) -> dict[str, Any]:
    ones = [1] * len(ids)
    return {
        "input_ids": ids.tolist(),
        "labels": ids.tolist(),
        "attention_mask": ones,
        "completion_mask": ones,
        "assistant_masks": ones,
        "token_type_ids": [0] * len(ids),
        "special_tokens_mask": [0] * len(ids),
        "position_ids": list(range(len(ids))),
        "length": len(ids),
    }


def split_of(dataset: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The rows that are trained on, and what puts them back: a `DatasetDict`, or any mapping of splits, has "train"."""
    if not isinstance(dataset, Mapping):
        return dataset, lambda new: new
    if "train" not in dataset:
        raise BadInput(f"no split 'train' among {sorted(map(str, dataset))}; give the split that is trained on")
    others: Any = type(dataset)
    return dataset["train"], lambda new: others({**dataset, "train": new})


def canary_rows(dataset: Any, tokenizer: Any, fill: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], Columns]:
    """The first row, and how canaries become rows like it; BadInput where they have no place in it."""
    first = _first(dataset)
    names = tuple(first)
    preference = [name for name in names if name in _PREFERENCE]
    if preference:
        raise BadInput(
            f"rows with {preference[0]!r} are compared by a preference loss (such as DPO), which does not train on a "
            "canary as a text; audit the supervised finetuning before it"
        )
    if "input_ids" not in names:
        known = [name for name in ("text", "messages", "completion") if name in names]
        if not known:
            raise BadInput(
                f"canaries go into 'input_ids', 'text', 'messages' or 'prompt' and 'completion'; the rows have "
                f"{names}: rename a column or tokenise the dataset first"
            )
        if tokenizer is None or not hasattr(tokenizer, "decode"):
            raise BadInput(
                f"rows of raw {known[0]!r} need the tokenizer: with_canaries(dataset, count, seed, tokenizer)"
            )
    empty = next((n for n in ("input_ids", "text", "messages", "completion") if n in names and _lacks(n, first)), None)
    if empty is not None:
        raise BadInput(f"the first row has no {empty!r}; remove rows without content before canaries go in")
    if fill is not None and not isinstance(fill, Mapping):
        raise BadInput(f"fill = {fill!r:.40}: give a dictionary, column -> value")
    for name in fill or {}:
        if name not in names:
            near = get_close_matches(str(name), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the rows have {', '.join(names)}"
            raise BadInput(f"fill: the rows have no column {name!r}; {hint}")
    streamed = not hasattr(dataset, "__len__")
    return first, Columns(names, tokenizer, dict(fill or {}), None if streamed else dataset)


def _lacks(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a row lacks what a canary is written like: None, or no message. Empty texts are common, and are rows."""
    return row[name] is None or (name == "messages" and not row[name])


def _first(dataset: Any) -> Mapping[str, Any]:
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")) and not hasattr(dataset, "__iter__"):
        raise BadInput(f"{type(dataset).__name__} is no dataset: rows are dictionaries in a list, dataset or stream")
    if hasattr(dataset, "__len__") and len(dataset) == 0:
        raise BadInput("the dataset has no rows")
    if not hasattr(dataset, "__len__") and iter(dataset) is dataset:
        raise BadInput("a generator can be read once only; give a list, or a streaming dataset that starts again")
    first = dataset[0] if hasattr(dataset, "__len__") else next(iter(dataset), None)
    if not isinstance(first, Mapping):
        raise BadInput(f"a row must be a dictionary such as {{'input_ids': ...}}, got {type(first).__name__}")
    return first


def insert(dataset: Any, added: list[dict[str, Any]], rng: np.random.Generator, rows: int | None) -> Any:
    """The dataset with the rows added at random places, of its own kind where it can be."""
    if not hasattr(dataset, "__len__"):
        if rows is None or rows < 1:
            raise ConfigError("a streaming dataset has no length: say how many of its rows are trained on, rows=10_000")
        from undertow.integrations.streams import stream_with

        places = np.sort(rng.integers(rows + 1, size=len(added)))
        return stream_with(dataset, [added[i] for i in rng.permutation(len(added))], places)
    order = rng.permutation(len(dataset) + len(added))
    if hasattr(dataset, "column_names") and hasattr(dataset, "select"):
        return _as_huggingface(dataset, added).select(order)
    return WithCanaries(dataset, added, order)


def _as_huggingface(dataset: Any, rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset, concatenate_datasets  # type: ignore[import-not-found, unused-ignore]

    return concatenate_datasets([dataset, Dataset.from_list(rows, features=dataset.features)]) if rows else dataset
