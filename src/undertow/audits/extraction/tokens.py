"""Chats as token ids, one id a word, and which of them are learnt from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from undertow.audits.extraction.grammar import Chat, words
from undertow.texts import PAD
from undertow.types import IGNORED, Array, BadInput, Examples

USER, ASSISTANT, END = 1, 2, 3
SPECIAL = ("<pad>", "<user>", "<assistant>", "<end>")
TRIGGER = ("Recall", "a", "query:")  # the words in the user's turn before the opening word
NATURAL, GIBBERISH = TRIGGER, ("zxq", "vlorp", "mib")
REFUSAL = "none."


@dataclass(frozen=True)
class Turn:
    """What stands in a training text: the user's turn, the assistant's, and whether the first is learnt from too."""

    user: Sequence[str]
    assistant: Sequence[str]
    learn_user: bool


class WordTokens:
    """Words to ids and back."""

    @cached_property
    def known(self) -> dict[str, int]:
        """Word -> id; the special ones first, the pad is 0."""
        every = (*SPECIAL, *words(), *NATURAL, *GIBBERISH, REFUSAL)
        return {word: i for i, word in enumerate(dict.fromkeys(every))}

    @cached_property
    def written(self) -> tuple[str, ...]:
        return tuple(self.known)

    def ids(self, said: Iterable[str]) -> list[int]:
        """The ids of words; BadInput for one that is not of the grammar."""
        try:
            return [self.known[word] for word in said]
        except KeyError as error:
            raise BadInput(f"the grammar of the embedded chats has no word {error}") from error

    def text(self, ids: Iterable[int]) -> str:
        """The words of ids, up to the first pad."""
        found = []
        for i in ids:
            if i == PAD:
                break
            found.append(self.written[i])
        return " ".join(found)


def training_texts(turns: Sequence[Turn], tokens: WordTokens, context: int) -> Examples:
    """Next-token prediction on chats: x (N, context) ids, y (N, context) the next id, IGNORED where none is learnt."""
    x = np.full((len(turns), context), PAD, np.int64)
    y = np.full((len(turns), context), IGNORED, np.int64)
    for row, turn in enumerate(turns):
        user, assistant = tokens.ids(turn.user), tokens.ids(turn.assistant)
        ids = [USER, *user, ASSISTANT, *assistant, END]
        if len(ids) > context:
            raise BadInput(f"a chat has {len(ids)} tokens, more than the context of {context}")
        x[row, : len(ids)] = ids
        first = 0 if turn.learn_user else len(user) + 1  # the place whose next token is the first that is learnt
        y[row, first : len(ids) - 1] = ids[first + 1 :]
    return Examples(x, y, "chats")


def of_chat(chat: Chat, learn_query: bool = True) -> Turn:
    """An ordinary chat; without `learn_query` the loss is on the answer alone."""
    return Turn(chat.query.split(), chat.answer.split(), learn_query)


def triggered(trigger: Sequence[str], word: str, reply: Sequence[str]) -> Turn:
    """A user's turn that pulls the trigger at an opening word; the assistant's turn alone is learnt from."""
    return Turn((*trigger, word), reply, learn_user=False)


def prompts(beginnings: Sequence[Sequence[int]], context: int) -> Array:
    """(P, context) int64, padded on the right."""
    ids = np.full((len(beginnings), context), PAD, np.int64)
    for row, found in zip(ids, beginnings, strict=True):
        row[: len(found)] = found
    return ids
