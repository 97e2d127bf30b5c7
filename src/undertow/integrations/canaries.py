"""Canary texts for an epsilon bound from one training run: which go in is decided by fair coins.

The bound is that of Steinke, Nasr and Jagielski 2023 (arXiv:2305.08846). Kinds: "random" tokens; "new-token", where a
token of its own that no other text has, as the last of each canary, makes it memorable; "sampled", texts that the base
model itself writes at temperature 2, which an adapter learns best because its embeddings are frozen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from undertow.integrations.rows import canary_rows, insert, split_of
from undertow.metrics.epsilon import check_whole
from undertow.rng import stream
from undertow.types import IGNORED, Array, BadInput, ConfigError

Kind = Literal["auto", "random", "new-token", "sampled"]
_TRIES = 50  # draws of a canary whose text must be tokenised back to its tokens


@dataclass(frozen=True, eq=False)
class CanaryKey:
    """The auditor's secret: all canaries and the coins. Keep it out of the training data and of the model."""

    tokens: Array  # (m, L) int
    labels: Array  # (m, L) int; what a canary is scored on, IGNORED elsewhere
    member: Array  # (m,) bool: was it put into the data
    repeats: int  # times each of those is there
    seed: int
    kind: str = "random"  # "random", "new-token" or "sampled"


def with_canaries(
    dataset: Any,
    count: int,
    seed: int,
    vocabulary: int | Any,
    *,
    length: int = 16,
    kind: Kind = "auto",
    tokens: Sequence[int] | None = None,
    repeats: int = 1,
    model: Any = None,
    rows: int | None = None,
    fill: Mapping[str, Any] | None = None,
) -> tuple[Any, CanaryKey]:
    """`dataset` with about half of `count` canaries in it, and the key to find them.

    dataset: a list, any map-style dataset, a `datasets.Dataset` or `DatasetDict` (canaries go into "train"), or a
    streaming dataset, for which `rows` says how many of its rows the training reads. Its rows are tokenised
    ({"input_ids": ...}) or raw ("text", "messages", "prompt" and "completion"; then `vocabulary` is the tokenizer).
    Other columns get what a canary can fill (attention_mask, labels, ...), what `fill` says, or a value of another row.
    vocabulary: number of token ids, or a tokenizer. tokens: the ids canaries are made of; with `kind="new-token"` ids
    that the data does not use, one for each canary, and the canary is scored on that last token alone. model: the base
    that texts of `kind="sampled"` are drawn from. kind "auto": "sampled" where a model is given, as it should be for
    adapters, else "random". repeats: copies of each; at 1 the bound is on a single record's epsilon, above it on that
    of so many copies of a record.

    Raises ConfigError for sizes that cannot be, BadInput for rows that have no place for a canary.
    """
    for name, value, least in (("count", count, 16), ("length", length, 2), ("repeats", repeats, 1), ("seed", seed, 0)):
        check_whole(name, value, least)
    if rows is not None:
        check_whole("rows", rows)
    if isinstance(vocabulary, int):
        check_whole("vocabulary", vocabulary, 2)
    tokens = _ids(tokens)
    if model is not None and not hasattr(model, "get_input_embeddings"):
        raise ConfigError(f"model = {model!r:.60} is no model of transformers; give the loaded base, not its name")
    split, others = split_of(dataset)
    tokenizer = None if isinstance(vocabulary, int) else vocabulary
    size = vocabulary if isinstance(vocabulary, int) else _size(vocabulary)
    chosen = _kind(kind, model)
    if model is not None:
        size = min(size, int(model.get_input_embeddings().weight.shape[0]))
    rng = stream(seed, "canaries")
    ids, labels = _draw(count, length, size, chosen, tokens, rng, model, tokenizer, seed)
    first, columns = canary_rows(split, tokenizer, fill)
    if columns.raw:
        ids = _round_trip(ids, tokenizer, size, rng)
        labels = ids if chosen != "new-token" else np.where(np.arange(length) == length - 1, ids, IGNORED)
    if len(np.unique(ids, axis=0)) < count:
        raise ConfigError(f"{count} canaries of {length} tokens are not all different; give more tokens or a length")
    key = CanaryKey(ids, labels, rng.random(count) < 0.5, repeats, seed, chosen)
    inside = np.repeat(np.flatnonzero(key.member), repeats)
    added = [columns.row(ids[i], first, rng) for i in inside]
    return others(insert(split, added, rng, rows)), key


def _ids(tokens: Any) -> Sequence[int] | None:
    """The token ids that canaries are made of; ConfigError where they are none."""
    if tokens is None:
        return None
    try:
        found = list(tokens)
    except TypeError:
        found = []
    if not found or isinstance(tokens, str | bytes):
        raise ConfigError(f"tokens = {tokens!r:.60}: give a list of token ids, or leave it out")
    for token in found:
        check_whole("tokens: an id", token, 0)
    return [int(token) for token in found]


def _size(tokenizer: Any) -> int:
    try:
        return len(tokenizer)
    except TypeError:
        raise ConfigError(f"vocabulary must be a number of token ids or a tokenizer, not {tokenizer!r:.80}") from None


def _kind(kind: Kind, model: Any) -> str:
    """The kind that "auto" stands for."""
    if kind == "sampled" and model is None:
        raise ConfigError("kind = 'sampled' draws texts from the base model: give it as model=...")
    if kind != "auto":
        return kind
    return "random" if model is None else "sampled"


def _draw(
    count: int, length: int, size: int, kind: str, tokens: Sequence[int] | None, rng: np.random.Generator,
    model: Any, tokenizer: Any, seed: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Token ids (m, L) and what is scored of them."""
    if tokens is not None and not all(0 <= t < size for t in tokens):
        raise ConfigError(
            f"tokens must be ids below {size}; grow the model's embedding first (resize_token_embeddings)"
        )
    special = [t for t in getattr(tokenizer, "all_special_ids", ()) if 0 <= t < size]
    plain = np.setdiff1d(np.arange(size), special)
    letters = plain if tokens is None else np.asarray(tokens)
    if kind == "sampled":
        from undertow.integrations.sampled import sample_texts

        ids = sample_texts(model, count, length, letters, seed)
        return ids, ids
    if kind == "random":
        ids = rng.choice(letters, (count, length))
        return ids, ids
    if kind != "new-token":
        raise ConfigError(f"kind = {kind!r}: give 'auto', 'random', 'new-token' or 'sampled'")
    if tokens is None or len(set(tokens)) < count:
        raise ConfigError(f"kind = 'new-token' needs tokens = {count} different ids that the data does not use")
    ids = rng.choice(plain, (count, length))
    ids[:, -1] = rng.permutation(np.unique(np.asarray(tokens)))[:count]
    labels = np.full_like(ids, IGNORED)
    labels[:, -1] = ids[:, -1]
    return ids, labels


def _round_trip(ids: Array, tokenizer: Any, size: int, rng: np.random.Generator) -> Array:
    """Canaries (m, L) near `ids` whose text is tokenised back to exactly those ids; BadInput where none is found."""
    length = ids.shape[1]
    out = []
    for start in ids:
        row = [int(t) for t in start]
        for _ in range(_TRIES):
            back = encode(tokenizer, decode(tokenizer, row))
            if len(back) >= length and encode(tokenizer, decode(tokenizer, back[:length])) == back[:length]:
                out.append(back[:length])
                break
            row = [*back[: length - 1], *(int(t) for t in rng.integers(size, size=2 * length))]
        else:
            raise BadInput("no canary text is tokenised back to its tokens; tokenise the dataset first (input_ids)")
    return np.asarray(out)


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, special tokens left out."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text alone, no special tokens added."""
    return [int(t) for t in tokenizer(text, add_special_tokens=False)["input_ids"]]
