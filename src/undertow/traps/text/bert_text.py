"""From steps of units to tokens: each state that was kept is compared with that of every token of the vocabulary."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from undertow.traps.recorder import NOTHING, Candidates, Recorder, written
from undertow.traps.text import post_norm
from undertow.traps.text.bert_layout import Layout
from undertow.traps.text.post_norm import PAD, Encoder
from undertow.types import Array, Params

SIMILAR = 0.9  # cosine below which a state is no single token's
GAP = 0.05  # by which the best token must lead


class TextTrap(Protocol):
    """What reading must know of traps for texts; `bert.BertTrap` is one."""

    @property
    def recorder(self) -> Recorder: ...
    @property
    def bert(self) -> Encoder: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def positions(self) -> int: ...
    @property
    def directions(self) -> Array: ...
    @property
    def thresholds(self) -> Array: ...
    @property
    def context(self) -> Array: ...
    @property
    def ends(self) -> tuple[int, int]: ...
    def keys(self, planted: Params, ids: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class TextCandidates(Candidates):
    """What was read from K traps; part p is the token at position p + 1. Parts after a text's last token hold PAD."""

    tokens: Array  # (K, P) int: the best token, 0 where nothing was written and after the last token
    similarity: Array  # (K, P): cosine of the state with that of the text as read; NaN where nothing was written
    gap: Array  # (K, P): by how much the best token leads


def read_texts(before: Params, after: Params, trap: TextTrap) -> TextCandidates:
    """Tokens, and whether each is accepted: no test needs the finetuning data."""
    found = written(before, after, trap.recorder)
    values, step = found.values, found.step
    ids = np.zeros((len(values), trap.positions + 1), int)
    similarity, gap = np.full((2, *step.shape), np.nan)
    context = np.broadcast_to(trap.context, (*ids.shape, len(trap.context)))
    for p in range(trap.positions):
        any_step = step[:, p] != 0
        ids[any_step, p + 1], similarity[any_step, p], gap[any_step, p] = _nearest(
            before, trap, p + 1, values[any_step, p], context[any_step, p + 1]
        )
    ids[:, 0] = trap.ends[0]
    over = np.cumsum(ids == trap.ends[1], axis=1) - (ids == trap.ends[1]) > 0
    ids[over] = PAD
    if step.any():
        similarity = np.where(step != 0, _agreement(before, trap, ids, values), np.nan)
    fires = (trap.keys(before, ids) * trap.directions).sum(1) > trap.thresholds
    tests = (
        (step == 0, NOTHING), (over[:, 1:], "after the text's last token"),
        (~(similarity > SIMILAR), "no single token's state"), (~(gap > GAP), "another token fits as well"),
        (np.broadcast_to(~fires[:, None], step.shape), "the trap does not fire on the text as read"),
    )  # fmt: skip
    reasons = np.full(step.shape, "", object)
    for failed, reason in reversed(tests):
        reasons[failed] = reason
    return TextCandidates(values, step, reasons == "", reasons, ids[:, 1:], similarity, gap)


def _nearest(before: Params, trap: TextTrap, place: int, values: Array, context: Array) -> tuple[Array, Array, Array]:
    """Best token, its cosine and its lead, for states `values` (n, d) at position `place`."""
    bert, benign = trap.bert, trap.layout.benign
    if not len(values):
        return np.zeros(0, int), np.zeros(0), np.zeros(0)
    vocabulary = np.arange(len(before[bert.embedding("word_embeddings.weight")]))[:, None]
    states = post_norm.embed(before, bert, vocabulary, place)[:, 0] + context[0].astype(np.float32)
    table = post_norm.norm(states, before, bert.layer(0, "attention.output.LayerNorm"))[:, benign]
    centre = table.mean(0)
    cosine = _unit(values - centre) @ _unit(table - centre).T
    cosine[:, PAD] = -1
    best = cosine.argmax(1)
    second = np.partition(cosine, -2, axis=1)[:, -2]
    top = cosine[np.arange(len(best)), best]
    return best, top, top - second


def _agreement(before: Params, trap: TextTrap, ids: Array, values: Array) -> Array:
    """(K, P) cosine of what was read with the states that the planted layer 0 gives the text as read."""
    x = post_norm.embed(before, trap.bert, ids)
    state = x + post_norm.attend(before, trap.bert, 0, x, ids)
    state = post_norm.norm(state, before, trap.bert.layer(0, "attention.output.LayerNorm"))[:, 1:, trap.layout.benign]
    centre = state[ids[:, 1:] != PAD].mean(0)
    cosine: Array = (_unit(values - centre) * _unit(state - centre)).sum(-1)
    return cosine


def _unit(x: Array) -> Array:
    unit: Array = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
    return unit


@dataclass(frozen=True, eq=False)
class TextCaptures:
    """Per trap: the finetuning text that agrees best with what was accepted. For scoring only."""

    nearest: Array  # (K,) int
    accepted: Array  # (K,) int, tokens that were accepted
    right: Array  # (K,) int, of these, the ones that stand so in the nearest text
    length: Array  # (K,) int, tokens of the nearest text after the first

    @property
    def token_accuracy(self) -> float | None:
        """Of the accepted tokens, the share that is right; None where none was accepted."""
        return float(self.right.sum() / self.accepted.sum()) if self.accepted.sum() else None

    @property
    def captured(self) -> Array:
        """(K,) bool: nine in ten of a text's tokens were accepted and are right."""
        return (self.accepted > 0) & (self.right >= 0.9 * np.maximum(self.length, self.accepted))


def text_captures(found: TextCandidates, texts: Array) -> TextCaptures:
    """Compare accepted tokens with the finetuning texts (N, T), padded with 0."""
    texts = np.asarray(texts)[:, 1 : found.tokens.shape[1] + 1]
    agree = ((found.tokens[:, None] == texts) & found.accepted[:, None]).sum(-1)
    nearest = agree.argmax(1)
    return TextCaptures(nearest, found.accepted.sum(1), agree.max(1), (texts[nearest] != PAD).sum(1))
