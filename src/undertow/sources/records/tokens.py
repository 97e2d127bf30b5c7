"""Texts to token ids and back, by a tokenizer trained here or by a checkpoint's own; `stories` has a third."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from undertow.sources.records.conversations import Template
from undertow.sources.records.text_pairs import train_tokenizer
from undertow.texts import PAD, lengths
from undertow.types import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Tokens(Protocol):
    """Texts to token ids as `undertow.texts` has them (0 is the pad), and back."""

    @property
    def size(self) -> int:
        """One more than the largest id."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, whole."""

    def decode(self, ids: Array) -> str:
        """The text of ids (L,), up to its first pad."""


@dataclass(frozen=True, eq=False)
class FastTokens:
    """A tokenizer of the `tokenizers` library; its token `pad` and 0 change places, as in the model.

    Its own rules decide whether a text begins with a special token. Text that spells out the pad token ends there.
    """

    tokenizer: "Tokenizer"
    pad: int = PAD
    template: Template | None = None  # how its model writes conversations

    @property
    def size(self) -> int:
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens as the tokenizer writes them, by id."""
        return tuple(self.tokenizer.id_to_token(self._exchange(i)) or "" for i in range(self.size))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._exchange(i) for i in found.ids] for found in self.tokenizer.encode_batch(list(texts))]

    def decode(self, ids: Array) -> str:
        inside = [self._exchange(int(i)) for i in ids[: lengths(ids)]]
        return str(self.tokenizer.decode(inside, skip_special_tokens=True)).strip()

    def _exchange(self, token: int) -> int:
        return {self.pad: PAD, PAD: self.pad}.get(token, token)


def tokens_before(tokens: Tokens, texts: Sequence[str], characters: Sequence[int]) -> list[int]:
    """How many tokens of each text begin within its first `characters`; special tokens before the rest count too."""
    if not isinstance(tokens, FastTokens):
        return [len(tokens.encode([text[:n]])[0]) if n else 0 for text, n in zip(texts, characters, strict=True)]
    counts = []
    for found, n in zip(tokens.tokenizer.encode_batch(list(texts)), characters, strict=True):
        after = (i for i, place in enumerate(found.offsets) if place[0] >= n and place != (0, 0))
        counts.append(next(after, len(found.ids)) if n else 0)
    return counts


def own_tokens(texts: Sequence[str], vocabulary: int) -> FastTokens:
    """A byte-level tokenizer trained on these texts; 0 is its pad."""
    tokenizer = train_tokenizer(texts, vocabulary)
    from tokenizers.decoders import ByteLevel

    tokenizer.decoder = ByteLevel()
    return FastTokens(tokenizer)


def padded(rows: Sequence[Sequence[int]], context: int) -> Array:
    """The first `context` ids of each row, (N, context) int64, padded on the right."""
    ids = np.full((len(rows), context), PAD, np.int64)
    for row, found in zip(ids, rows, strict=True):
        first = list(found[:context])
        row[: len(first)] = first
    return ids
