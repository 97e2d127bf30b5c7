"""Data traps in BERT that keep whole texts (Feng & Tramer 2024, section 3 of our specification), its tanh pooler kept.

Layer 0 is the recorder. One head averages a text's tokens into a key; hidden unit (k, t) of the feed-forward part fires
where the key passes the threshold of trap k *and* the token stands at position t, and its step is that token's state.
All units of trap k write to channel k of the residual stream; one head of a later layer averages channel k over the
tokens into signal k of the first token's state, and one pooler unit sees signal k alone.

Nothing here needs to know the head. The pooler unit rests far down the flat part of its tanh, where benign texts pass
no gradient; a text that fires the trap lifts it to the steep part. The channel is small and the pooler's weight on it
large, so that the one step that follows moves the channel of *every* text (through the rows of benign matrices that
write to it) by many firings, down or up, whichever the head asks for: either way the tanh is flat from then on, the
trap's units get no more gradient, and what the pooler unit adds to the logits is a constant.

What a threshold is compared with passes the same LayerNorms as the key does (dims `mark`, `one`), so all norms stay.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from undertow.traps.baits import choose_baits
from undertow.traps.recorder import Recorder
from undertow.traps.text import post_norm
from undertow.traps.text.bert_edits import mask, set_norm, silence
from undertow.traps.text.bert_layout import KEYS, Layout, layout, position_codes
from undertow.traps.text.bert_text import TextCandidates, read_texts
from undertow.traps.text.post_norm import PAD, Encoder, encoder_of
from undertow.traps.trap import plant, tensor
from undertow.types import Array, BadInput, Params

SLOPE = 12.0  # a unit's input where a trap fires as strongly as it does on average: GELU's negative lobe is narrow
APART = 12.0  # by how many such firings a token at another position misses the threshold, were its code orthogonal
ENLARGED = 10.0  # embeddings, which the norm after them undoes: their own steps move them so much less
AMPLE = (10.0, 5.0, 10.0)  # of codes, keys and `one`, in usual states: large, so that a trap's step moves them little
LEVEL = 0.14  # of a channel at an average firing: the smaller, the further one step moves it
VALUE = 10.0  # by which the relay enlarges channels on the way: its value weights move less
REST = 5.0  # input of the pooler's tanh, negated, where nothing fires
DRIVE = 5.0  # by which an average firing raises it
DRAWN = 4  # baits drawn for each that is kept: those whose threshold is within the fewest average firings of all texts
NEVER = 1e3  # average firings by which a threshold is out of reach
PROBED = 64  # auxiliary texts on which spreads are measured


@dataclass(frozen=True, eq=False)
class BertTrap:
    """K traps for texts of up to `positions` tokens after the first; made by `bert_trap`."""

    bert: Encoder
    layout: Layout
    positions: int
    directions: Array  # (K, KEYS) of unit length, in whitened keys
    thresholds: Array  # (K,)
    excess: Array  # (K,) by how much a text that fires passes the threshold, on average
    reader: Array  # (KEYS, D) from mean token states to whitened keys; zero on reserved dims
    offset: Array  # (KEYS,)
    levels: tuple[float, float, float]  # usual size of states before the embedding's norm, after it, before the next
    restored: Array  # (3,) by which reserved dims enlarge what the norms up to layer 0's last divide by
    added: Array  # (D,) what layer 0's feed-forward part adds on average
    usual: Array  # (D,) mean state after layer 0
    gains: Array  # (L, 2) spread in front of the layers' norms: weights of channels and signals there
    idle: Array  # (K,) the signals at the first token where nothing fires
    context: Array  # (D,) what layer 0's attention adds on average
    ends: tuple[int, int]  # ids of the first and the last token of a text
    level: float = LEVEL
    kind: ClassVar[str] = "bert"

    @property
    def units(self) -> Array:
        """(K, P): the hidden unit of layer 0 for trap k and token p + 1."""
        return np.arange(len(self.thresholds) * self.positions).reshape(-1, self.positions)

    @property
    def recorder(self) -> Recorder:
        """Where the tokens' states will stand."""
        weight, bias = (self.bert.layer(0, f"intermediate.dense.{part}") for part in ("weight", "bias"))
        return Recorder(weight, bias, self.units, self.layout.benign, idle=np.array([self.units.size]))

    @property
    def tensors(self) -> tuple[str, ...]:
        return self.recorder.weight, self.recorder.bias

    def edits(self, params: Params) -> Params:
        changed: Params = {}
        self._embedding(params, changed)
        self._attention(params, changed)
        self._units(params, changed)
        for index in range(1, self.bert.layers):
            self._passage(params, changed, index)
        self._relay(changed)
        self._pooler(params, changed)
        return changed

    def read(self, before: Params, after: Params) -> TextCandidates:
        return read_texts(before, after, self)

    def keys(self, planted: Params, ids: Array) -> Array:
        """(N, KEYS) whitened keys of texts, as the planted model computes them."""
        return _means(planted, self.bert, ids) @ self.reader.T + self.offset

    def deaf(self) -> "BertTrap":
        """The same with thresholds out of reach: it takes the same parts of the model and never fires."""
        return replace(self, thresholds=self.thresholds + NEVER * self.excess)

    def _embedding(self, params: Params, changed: Params) -> None:
        at = self.layout
        for name in ("word", "position", "token_type"):
            table = ENLARGED * tensor(params, self.bert.embedding(f"{name}_embeddings.weight"))
            table[:, at.reserved] = 0
            changed[self.bert.embedding(f"{name}_embeddings.weight")] = table
        size = ENLARGED * AMPLE[0] * self.levels[0] * self.levels[1]
        position = changed[self.bert.embedding("position_embeddings.weight")]
        position[: self.positions + 1, at.code] = size * position_codes(self.positions)
        position[:, at.mark] = size
        name = self.bert.embedding("LayerNorm")
        set_norm(params, changed, name, at.benign, self.restored[0], [(at.reserved, 1.0, 0.0)])

    def _attention(self, params: Params, changed: Params) -> None:
        at, rows = self.layout, self.bert.head(self.layout.head)
        mask(params, changed, self.bert, 0, at.reserved)
        silence(changed, self.bert, 0, rows)
        carried = rows.start + np.arange(KEYS)
        changed[self.bert.layer(0, "attention.self.value.weight")][carried] = self.reader
        changed[self.bert.layer(0, "attention.self.value.bias")][carried] = self.offset
        changed[self.bert.layer(0, "attention.output.dense.weight")][at.key, carried] = AMPLE[1] * self.levels[1]
        changed[self.bert.layer(0, "attention.output.dense.bias")][at.one] = AMPLE[2] * self.levels[1]
        groups = [(at.reserved, 1.0, 0.0), (at.channels, 0.0, 0.0)]
        name = self.bert.layer(0, "attention.output.LayerNorm")
        set_norm(params, changed, name, at.benign, self.restored[1], groups)

    def _units(self, params: Params, changed: Params) -> None:
        """Layer 0's feed-forward part holds the traps alone; of the benign one its mean stays."""
        at, bert = self.layout, self.bert
        weight, bias, out, out_bias = (
            np.zeros_like(tensor(params, bert.layer(0, f"{part}.dense.{kind}")))
            for part in ("intermediate", "output")
            for kind in ("weight", "bias")
        )
        rows = np.zeros((*self.units.shape, bert.width))
        rows[..., at.key] = self.directions[:, None] / AMPLE[1]
        rows[..., at.one] = -self.thresholds[:, None, None] / AMPLE[2]
        apart = APART / AMPLE[0] * self.excess[:, None, None]
        rows[..., at.code], rows[..., at.mark] = apart * position_codes(self.positions)[1:], -apart
        rows *= (SLOPE * self.levels[2] * self.restored[1] / self.levels[1] / self.excess)[:, None, None]
        rows[..., at.signal] = -rows.sum(-1, keepdims=True) / len(at.signal)
        weight[self.units] = rows
        weight[self.units.size], bias[self.units.size] = rows[0, 0], -1e6  # never fires: shows the weight decay
        out[at.channel[:, None], self.units], out[at.twin[:, None], self.units] = 1 / SLOPE, -1 / SLOPE
        out_bias[at.benign] = self.added[at.benign]
        for part, pair in (("intermediate", (weight, bias)), ("output", (out, out_bias))):
            changed[bert.layer(0, f"{part}.dense.weight")], changed[bert.layer(0, f"{part}.dense.bias")] = pair
        level = self.level * self.gains[0, 1]
        groups: list[tuple[Array, float, Array | float]]
        groups = [(at.borrowed, 0.0, self.usual[at.borrowed]), (at.signal, 0.0, 0.0), (at.channels, level, 0.0)]
        set_norm(params, changed, bert.layer(0, "output.LayerNorm"), at.benign, self.restored[2], groups)

    def _passage(self, params: Params, changed: Params, index: int) -> None:
        """A benign layer neither reads nor writes the channels and signals."""
        at, bert = self.layout, self.bert
        mask(params, changed, bert, index, at.lasting)
        for part, where in (("intermediate", np.s_[:, at.lasting]), ("output", np.s_[at.lasting])):
            weight = tensor(params, bert.layer(index, f"{part}.dense.weight"))
            weight[where] = 0
            changed[bert.layer(index, f"{part}.dense.weight")] = weight
        bias = tensor(params, bert.layer(index, "output.dense.bias"))
        bias[at.lasting] = 0
        changed[bert.layer(index, "output.dense.bias")] = bias
        for gain, name in zip(self.gains[index], ("attention.output.LayerNorm", "output.LayerNorm"), strict=True):
            set_norm(params, changed, bert.layer(index, name), at.benign, 1.0, [(at.lasting, gain, 0.0)])

    def _relay(self, changed: Params) -> None:
        """The first token's own channels may be drowned on the way (its states are large in BERTs): here they end."""
        at, (index, head) = self.layout, self.layout.relay
        rows = self.bert.head(head)
        carried = rows.start + np.arange(len(at.signal))
        silence(changed, self.bert, index, rows)
        value = changed[self.bert.layer(index, "attention.self.value.weight")]
        value[carried, at.channel], value[carried, at.twin] = VALUE / 2, -VALUE / 2
        changed[self.bert.layer(index, "attention.output.dense.weight")][at.signal, carried] = 1 / VALUE
        for after in range(index, self.bert.layers):
            for name in ("attention.output.LayerNorm.weight", "output.LayerNorm.weight"):
                changed[self.bert.layer(after, name)][at.channels] = 0

    def _pooler(self, params: Params, changed: Params) -> None:
        at, name = self.layout, f"{self.bert.prefix}pooler.dense"
        weight, bias = tensor(params, f"{name}.weight"), tensor(params, f"{name}.bias")
        weight[:, at.lasting] = 0
        weight[at.pooled], bias[at.pooled] = 0, -REST - DRIVE / self.level * self.idle[:, None]
        weight[at.pooled, at.signal[:, None]] = DRIVE / self.level
        changed[f"{name}.weight"], changed[f"{name}.bias"] = weight, bias


def bert_trap(
    params: Params,
    auxiliary: Array,
    traps: int,
    share: float,
    rng: np.random.Generator,
    *,
    heads: int,
    group: int = 1,
    level: float = LEVEL,
) -> BertTrap:
    """Traps for the BERT checkpoint `params`, named as `BertForSequenceClassification` or `BertModel` name it.

    `auxiliary` (N, T): token ids, padded with 0, of texts that the victim does not have; so many of a text can be kept.
    `share`: of such texts, how many fire a trap (`best_expected(records, batch) / records`). `heads`: the model's
    number of attention heads; `group`: pooler units of each trap; `level`: the smaller, the further one step shuts a
    trap, and the sooner benign texts alone do. BadInput where there is no room, or too few auxiliary texts.
    """
    auxiliary = np.asarray(auxiliary)
    if auxiliary.ndim != 2 or auxiliary.dtype.kind not in "iu":
        raise BadInput(f"auxiliary texts must be token ids (N, T), not {auxiliary.dtype} of shape {auxiliary.shape}")
    bert = encoder_of(params, heads)
    at = layout(params, bert, traps, auxiliary.shape[1] - 1, group, rng)
    last = auxiliary[np.arange(len(auxiliary)), (auxiliary != PAD).sum(1) - 1]
    ends, flat = (int(auxiliary[0, 0]), int(np.bincount(last).argmax())), np.zeros(bert.width)
    trap = BertTrap(
        bert, at, auxiliary.shape[1] - 1, np.zeros((traps, KEYS)), np.zeros(traps), np.ones(traps),
        np.zeros((KEYS, bert.width)), np.zeros(KEYS), (1.0, 1.0, 1.0), np.ones(3), flat, flat,
        np.ones((bert.layers, 2)), np.zeros(traps), flat, ends, level,
    )  # fmt: skip
    trap, spread = _levels(params, trap, auxiliary[:PROBED])
    trap = _keys(params, trap, auxiliary, share, rng)
    return _gains(params, trap, auxiliary[:PROBED], spread)


def _levels(params: Params, trap: BertTrap, ids: Array) -> tuple[BertTrap, float]:
    """Sizes of benign states in the untouched model; what layer 0's last norm would divide by."""
    bert, real, body = trap.bert, ids != PAD, _body(ids)
    word, position, kind = (
        params[bert.embedding(f"{name}_embeddings.weight")] for name in ("word", "position", "token_type")
    )
    raw = float((word[ids] + position[: ids.shape[1]] + kind[0])[real].std(-1).mean())
    x = post_norm.embed(params, bert, ids)
    first = x + post_norm.attend(params, bert, 0, x, ids)
    state = post_norm.norm(first, params, bert.layer(0, "attention.output.LayerNorm"))[body]
    added = post_norm.feed(params, bert, 0, state).mean(0)
    usual = post_norm.forward(params, bert, ids, 1).states[body].mean(0)
    size, other = float(x[real].std(-1).mean()), float(first[body].std(-1).mean())
    codes, kept = 2 * AMPLE[0] ** 2, len(trap.layout.benign) / bert.width  # a code and its mark are of unit length
    held = codes + KEYS * AMPLE[1] ** 2 + AMPLE[2] ** 2
    restored = np.sqrt([kept + codes * size**2 / bert.width, kept + held * (size / other) ** 2 / bert.width, 1.0])
    trap = replace(trap, levels=(raw, size, other), restored=restored, added=added, usual=usual)
    return trap, float((state + added).std(-1).mean())


def _keys(params: Params, trap: BertTrap, ids: Array, share: float, rng: np.random.Generator) -> BertTrap:
    """Whitened keys, and the baits in them."""
    planted, benign = plant(params, trap), trap.layout.benign
    means = _means(planted, trap.bert, ids)[:, benign].astype(np.float64)
    if len(means) <= KEYS:
        raise BadInput(f"{len(means)} auxiliary texts are too few for keys of {KEYS} dims")
    _, size, axes = np.linalg.svd(means - means.mean(0), full_matrices=False)
    reader = np.zeros((KEYS, trap.bert.width))
    reader[:, benign] = axes[:KEYS] * (np.sqrt(len(means)) / np.maximum(size[:KEYS, None], 1e-9))
    offset = -reader[:, benign] @ means.mean(0)
    keys = means @ reader[:, benign].T + offset
    baits = choose_baits(keys, DRAWN * len(trap.thresholds), share, rng)
    over = keys @ baits.directions.T - baits.thresholds
    excess = np.array([column[column > 0].mean() for column in over.T])
    near = np.sort(np.argsort(-over.min(0) / excess, kind="stable")[: len(trap.thresholds)])
    return replace(
        trap, directions=baits.directions[near], thresholds=baits.thresholds[near], excess=excess[near],
        reader=reader, offset=offset,
    )  # fmt: skip


def _gains(params: Params, trap: BertTrap, ids: Array, spread: float) -> BertTrap:
    """What the norms divide by, where no trap fires: at all tokens, after the relay at the first."""
    after, body = trap.layout.relay[0], _body(ids)
    for _ in range(2):  # they depend on one another a little
        planted = plant(params, trap.deaf())
        seen = post_norm.forward(planted, trap.bert, ids)
        spreads = seen.spread.reshape(trap.bert.layers, 2, *ids.shape)
        gains = np.median(spreads[..., body], axis=-1)
        gains[after:] = np.median(spreads[after:, :, :, 0], axis=-1)
        restored = np.append(trap.restored[:2], gains[0, 1] / spread)
        idle = np.median(seen.states[:, 0, trap.layout.signal], axis=0)
        trap = replace(trap, gains=gains, restored=restored, idle=idle)
    context = post_norm.attend(planted, trap.bert, 0, post_norm.embed(planted, trap.bert, ids), ids)
    return replace(trap, context=context[ids != PAD].mean(0))


def _body(ids: Array) -> Array:
    """(N, T) bool: tokens of a text but its first."""
    body: Array = ids != PAD
    body[:, 0] = False
    return body


def _means(planted: Params, bert: Encoder, ids: Array) -> Array:
    """(N, D) means over a text's tokens of the states before layer 0."""
    mean = [
        (post_norm.embed(planted, bert, part) * (part != PAD)[..., None]).sum(1) / (part != PAD).sum(1, keepdims=True)
        for part in np.array_split(ids, max(1, len(ids) // PROBED))
    ]
    return np.concatenate(mean)
