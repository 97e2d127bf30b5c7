"""Canary texts for an epsilon bound from one training run: which go in is decided by fair coins.

The bound is that of Steinke, Nasr and Jagielski 2023 (arXiv:2305.08846); a token of its own that no other text has, as
the last of each canary, makes it memorable (`kind="new-token"`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from undertow.metrics.epsilon import Bound, Trials, one_run_from_scores
from undertow.rng import stream
from undertow.types import IGNORED, Array, BadInput, ConfigError

Kind = Literal["random", "new-token"]


@dataclass(frozen=True, eq=False)
class CanaryKey:
    """The auditor's secret: all canaries and the coins. Keep it out of the training data and of the model."""

    tokens: Array  # (m, L) int
    labels: Array  # (m, L) int; what a canary is scored on, IGNORED elsewhere
    member: Array  # (m,) bool: was it put into the data
    repeats: int  # times each of those is there
    seed: int


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


def with_canaries(
    dataset: Any,
    count: int,
    seed: int,
    vocabulary: int | Any,
    *,
    length: int = 16,
    kind: Kind = "random",
    tokens: Sequence[int] | None = None,
    repeats: int = 1,
) -> tuple[Any, CanaryKey]:
    """`dataset` with about half of `count` canaries in it, and the key to find them.

    dataset: tokenised rows {"input_ids": ...}: a list, any map-style dataset, or a `datasets.Dataset`, which is what
    comes back then (for TRL). Other columns that a canary can fill are filled (attention_mask, labels).
    vocabulary: number of token ids, or a tokenizer. tokens: the ids canaries are made of; with `kind="new-token"` ids
    that the data does not use, one for each canary, and the canary is scored on that last token alone. repeats: copies
    of each; the bound is on a single record's epsilon only at 1, where it is on that of `repeats` copies.

    Raises ConfigError for sizes that cannot be, BadInput for rows that are not tokenised.
    """
    if count < 16 or length < 2 or repeats < 1:
        raise ConfigError(f"count = {count}, length = {length}, repeats = {repeats}: at least 16, 2 and 1 are needed")
    columns = _columns(dataset)
    size = vocabulary if isinstance(vocabulary, int) else len(vocabulary)
    rng = stream(seed, "canaries")
    ids, labels = _draw(count, length, size, kind, tokens, rng)
    key = CanaryKey(ids, labels, rng.random(count) < 0.5, repeats, seed)
    inside = np.repeat(np.flatnonzero(key.member), repeats)
    rows = [_row(ids[i], columns) for i in inside]
    order = rng.permutation(len(dataset) + len(rows))
    if hasattr(dataset, "column_names") and hasattr(dataset, "select"):
        return _as_huggingface(dataset, rows).select(order), key
    return WithCanaries(dataset, rows, order), key


def _draw(
    count: int, length: int, size: int, kind: Kind, tokens: Sequence[int] | None, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Token ids (m, L) and what is scored of them."""
    if tokens is not None and not all(0 <= t < size for t in tokens):
        raise ConfigError(
            f"tokens must be ids below {size}; grow the model's embedding first (resize_token_embeddings)"
        )
    if kind == "random":
        ids = rng.choice(np.arange(size) if tokens is None else np.asarray(tokens), (count, length))
        return ids, ids
    if tokens is None or len(set(tokens)) < count:
        raise ConfigError(f"kind = 'new-token' needs tokens = {count} different ids that the data does not use")
    ids = rng.integers(size, size=(count, length))
    ids[:, -1] = rng.permutation(np.unique(np.asarray(tokens)))[:count]
    labels = np.full_like(ids, IGNORED)
    labels[:, -1] = ids[:, -1]
    return ids, labels


def _columns(dataset: Any) -> tuple[str, ...]:
    if len(dataset) == 0 or "input_ids" not in dataset[0]:
        raise BadInput("canaries go among tokenised rows with 'input_ids'; tokenise the dataset first")
    return tuple(dataset[0])


def _row(ids: Array, columns: Sequence[str]) -> dict[str, list[int]]:
    """A canary, trained on as any text, with the columns of the other rows; BadInput where one is unknown."""
    values = {
        "input_ids": ids.tolist(),
        "labels": ids.tolist(),
        "attention_mask": [1] * len(ids),
        "completion_mask": [1] * len(ids),
        "assistant_masks": [1] * len(ids),
        "token_type_ids": [0] * len(ids),
        "length": len(ids),
    }
    unknown = [name for name in columns if name not in values]
    if unknown:
        raise BadInput(f"canaries cannot fill the column {unknown[0]!r}; remove it (dataset.remove_columns)")
    return {name: values[name] for name in columns}


def _as_huggingface(dataset: Any, rows: list[dict[str, list[int]]]) -> Any:
    from datasets import Dataset, concatenate_datasets  # type: ignore[import-not-found, unused-ignore]

    return concatenate_datasets([dataset, Dataset.from_list(rows, features=dataset.features)]) if rows else dataset


@dataclass(frozen=True)
class CanaryAudit:
    """What the canaries showed about one training run."""

    bound: Bound  # assumption-free
    gdp: Bound  # if the mechanism is Gaussian-DP in every canary, as DP-SGD nearly is; else it means nothing
    loss_members: float  # mean fall of the loss, nats per token
    loss_others: float
    repeats: int

    def text(self) -> str:
        """One line for the end of a training."""
        unit = "one record" if self.repeats == 1 else f"{self.repeats} copies of a record"
        return (
            f"undertow: epsilon >= {self.bound.epsilon:.2f} for {unit} at delta {self.bound.delta:g}, "
            f"{self.bound.confidence:.0%} confidence ({self.bound.name}, {self.bound.n} canaries, assumes nothing; "
            f"{self.gdp.epsilon:.2f} if Gaussian). Loss of canaries fell by {self.loss_members:.3g} in the data, "
            f"{self.loss_others:.3g} outside."
        )


def audit_canaries(
    before: Array, after: Array, key: CanaryKey, delta: float = 1e-5, confidence: float = 0.95
) -> CanaryAudit:
    """The bound from every canary's loss before and after training, (m,) each; the score is how far it fell.

    How many canaries are guessed is chosen on one half of them, the bound is of the other (see
    `undertow.metrics.epsilon.one_run_from_scores`). BadInput where the coins fell all alike.
    """
    fell = np.asarray(before, float) - np.asarray(after, float)
    trials = Trials(fell, key.member, np.zeros(len(fell), int))
    plain, gdp = (one_run_from_scores(trials, delta, confidence, gdp=g, seed=key.seed) for g in (False, True))
    return CanaryAudit(plain, gdp, float(fell[key.member].mean()), float(fell[~key.member].mean()), key.repeats)
