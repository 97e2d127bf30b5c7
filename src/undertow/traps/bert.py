"""Data traps in BERT that keep whole texts (Feng & Tramer 2024, section 3 of our specification), with its own tanh pooler.

Layer 0 is the recorder. One head averages a text's tokens into a key; hidden unit (k, t) of the feed-forward part fires
where the key passes the threshold of trap k *and* the token stands at position t, and its step is that token's state.
All units of trap k write to channel k of the residual stream; one head of a later layer averages the channels into the
first token's state; a few pooler units see channel k alone.

Why it need not know the head: tanh bounds what a trap does to the logits, and it latches both ways. A first step that
shuts the units leaves them without gradient; one that opens them wide saturates the tanh, which leaves them without
gradient too, and what they add to the logits is a constant. The step is made large by a constant in the units' input.

What a threshold is compared with passes the same LayerNorms as the key does (dims `mark` and `one`), so that
no norm has to be made linear but the last of layer 0, where the constants are.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from undertow.traps import post_norm
from undertow.traps.baits import choose_baits
from undertow.traps.bert_layout import BOOST, KEYS, Layout, layout, position_codes
from undertow.traps.bert_text import TextCandidates, read_texts
from undertow.traps.post_norm import PAD, Encoder, encoder_of
from undertow.traps.recorder import Recorder
from undertow.traps.trap import plant, tensor
from undertow.types import Array, BadInput, Params

SLOPE = 12.0  # a unit's input where a trap fires as strongly as it does on average: GELU's negative lobe is narrow
APART = 20.0  # by how many such firings a token at another position misses the threshold
ENLARGED = 10.0  # embeddings, which the norm after them undoes: their own steps move them so much less
AMPLE = (8.0, 3.0)  # of the codes of positions and of texts, in usual states: large, so that its own steps move the units little
LINEAR = 1e3  # constant in front of the last norm of layer 0; signals must stay far below it
LEVEL = 0.03  # of a channel at an average firing: far below the benign states, so that an opened one does not drown them
SIGNAL = 0.7  # of what the gates make of it
KNOTS = (0.15, 0.5, 2.2)  # in average firings: where a signal begins to rise, rises less, rises no more
SLOPES = (2.0, -1.25, -0.75)  # what each knot adds to the slope: steep where tanh is flat
GATE = 20.0  # a gate's input at an average firing
DRIVE = 2.0  # by which an average firing raises the input of the pooler's tanh
REST = 2.5  # that input, negated, where nothing fires: tanh is flat there, so that benign texts do not move the signals
DRAWN = 4  # baits drawn for each that is kept: those whose threshold is within the fewest average firings of all texts
LATCH = 15.0  # average firings by which a usual step opens or shuts a unit: it must do so for all texts
FORCE = 0.02  # gradient at one pooler unit: the standard deviation of a fresh head's weights
VALUE = 10.0  # by which heads that carry signals enlarge them on the way: their value weights move less
WEIGHTS = (
    "attention.self.value.weight", "attention.output.dense.weight", "intermediate.dense.weight",
    "intermediate.dense.bias", "output.dense.weight", "output.LayerNorm.weight", "output.LayerNorm.bias",
)  # fmt: skip
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
    levels: tuple[float, float, float]  # standard deviation before the embedding's norm, after it, before layer 0's first
    body: tuple[Array, float]  # (D,) what layer 0's feed-forward part adds on average, standard deviation after that
    restored: Array  # (2,) by which the codes enlarge what the first two norms divide by
    usual: Array  # (2, D) mean states after layers 0 and 1
    gains: Array  # (L, 2) weights of channels and signals in the norms of the layers; row 0 unused
    idle: Array  # (K,) the signals at the first token where nothing fires
    context: Array  # (D,) what layer 0's attention adds on average
    boost: float  # the constant in front of the units
    ends: tuple[int, int]  # ids of the first and the last token of a text
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

    def edits(self, params: Params) -> Params:
        changed: Params = {}
        self._embedding(params, changed)
        self._attention(params, changed)
        self._units(params, changed)
        for index in range(1, self.bert.layers):
            self._passage(params, changed, index)
        self._collect(changed)
        self._relay(changed)
        self._pooler(params, changed)
        return changed

    def read(self, before: Params, after: Params) -> TextCandidates:
        return read_texts(before, after, self)

    def keys(self, planted: Params, ids: Array) -> Array:
        """(N, KEYS) whitened keys of texts, as the planted model computes them."""
        return _means(planted, self.bert, ids) @ self.reader.T + self.offset

    def _embedding(self, params: Params, changed: Params) -> None:
        at, reserved = self.layout, self.layout.reserved
        for name in ("word", "position", "token_type"):
            table = tensor(params, self.bert.embedding(f"{name}_embeddings.weight"))
            table[:, reserved] = 0
            table *= ENLARGED
            changed[self.bert.embedding(f"{name}_embeddings.weight")] = table
        size = ENLARGED * AMPLE[0] * self.levels[0] * self.levels[1]
        position = changed[self.bert.embedding("position_embeddings.weight")]
        position[: self.positions + 1, at.code] = size * position_codes(self.positions)
        position[:, at.mark] = size
        name = self.bert.embedding("LayerNorm")
        _set_norm(params, changed, name, {tuple(reserved): (1.0, 0.0)})
        changed[f"{name}.weight"][at.benign] *= self.restored[0]

    def _attention(self, params: Params, changed: Params) -> None:
        at, rows = self.layout, self.bert.head(self.layout.head)
        reserved = at.reserved
        _mask(params, changed, self.bert, 0, reserved)
        _silence(changed, self.bert, 0, rows)
        carried = np.arange(rows.start, rows.start + KEYS)
        changed[self.bert.layer(0, "attention.self.value.weight")][carried] = self.reader
        changed[self.bert.layer(0, "attention.self.value.bias")][carried] = self.offset
        changed[self.bert.layer(0, "attention.output.dense.weight")][at.key, carried] = AMPLE[1] * self.levels[1]
        changed[self.bert.layer(0, "attention.output.dense.bias")][at.one] = AMPLE[1] * self.levels[1]
        groups = {tuple(reserved): (1.0, 0.0), tuple(at.boost): (0.0, self.boost), tuple(at.channels): (0.0, 0.0)}
        name = self.bert.layer(0, "attention.output.LayerNorm")
        _set_norm(params, changed, name, groups)
        changed[f"{name}.weight"][at.benign] *= self.restored[1]

    def _units(self, params: Params, changed: Params) -> None:
        """Layer 0's feed-forward part holds the traps alone; of the benign one its mean stays."""
        at, bert, width = self.layout, self.bert, self.bert.width
        weight, bias, out_weight, out_bias = (
            np.zeros_like(tensor(params, bert.layer(0, f"{part}.dense.{kind}")))
            for part in ("intermediate", "output")
            for kind in ("weight", "bias")
        )
        rows = np.zeros((*self.units.shape, width))
        rows[..., at.key] = self.directions[:, None] / AMPLE[1]
        rows[..., at.one] = -self.thresholds[:, None, None] / AMPLE[1]
        apart = (APART / AMPLE[0] * self.excess)[:, None, None]
        rows[..., at.code] = apart * position_codes(self.positions)[1:]
        rows[..., at.mark] = -apart
        rows *= (SLOPE * self.levels[2] / self.levels[1] / self.excess)[:, None, None]
        rows[..., at.signal] = -rows.sum(-1, keepdims=True) / len(at.signal)
        weight[self.units] = rows
        weight[self.units.size], bias[self.units.size] = rows[0, 0], -1e6  # never fires: shows the weight decay
        out_weight[at.channel[:, None], self.units], out_weight[at.twin[:, None], self.units] = 1 / SLOPE, -1 / SLOPE
        out_bias[at.benign] = self.body[0][at.benign]
        out_bias[at.boost] = LINEAR - self.boost
        for part, kind, value in (
            ("intermediate", "weight", weight), ("intermediate", "bias", bias),
            ("output", "weight", out_weight), ("output", "bias", out_bias),
        ):  # fmt: skip
            changed[bert.layer(0, f"{part}.dense.{kind}")] = value
        self._linear_norm(params, changed)

    def _linear_norm(self, params: Params, changed: Params) -> None:
        """The last norm of layer 0: the constants fix its divisor, so that it scales and shifts and no more."""
        at, width, name = self.layout, self.bert.width, self.bert.layer(0, "output.LayerNorm")
        divisor, mean = LINEAR * np.sqrt(BOOST * (width - BOOST)) / width, LINEAR * BOOST / width
        gain, shift = tensor(params, f"{name}.weight"), tensor(params, f"{name}.bias")
        gain = gain / self.body[1]
        gain[at.channels], shift[at.channels] = LEVEL, 0
        gain[at.signal], shift[at.signal] = 0, 0
        gain[at.borrowed], shift[at.borrowed] = 0, self.usual[0, at.borrowed]
        changed[f"{name}.weight"], changed[f"{name}.bias"] = gain * divisor, shift + gain * mean

    def _passage(self, params: Params, changed: Params, index: int) -> None:
        """A benign layer neither reads nor writes the signals, nor layer 1 the channels."""
        at, bert = self.layout, self.bert
        taken = np.concatenate([at.channels, at.signal]) if index == 1 else at.signal
        _mask(params, changed, bert, index, taken)
        for part, where in (("intermediate", np.s_[:, taken]), ("output", np.s_[taken])):
            for kind in ("weight", "bias"):
                changed[bert.layer(index, f"{part}.dense.{kind}")] = tensor(params, bert.layer(index, f"{part}.dense.{kind}"))
            changed[bert.layer(index, f"{part}.dense.weight")][where] = 0
        changed[bert.layer(index, "output.dense.bias")][taken] = 0
        for gain, name in zip(self.gains[index], ("attention.output.LayerNorm", "output.LayerNorm"), strict=True):
            _set_norm(params, changed, bert.layer(index, name), {tuple(taken): (float(gain), 0.0)})

    def _collect(self, changed: Params) -> None:
        """Layer 1: one head averages the channels; three hidden units each let a window of them through to the signals."""
        at, rows = self.layout, self.bert.head(self.layout.collector)
        here = {name: changed[self.bert.layer(1, name)] for name in WEIGHTS}
        carried = rows.start + np.arange(len(at.channel))
        _silence(changed, self.bert, 1, rows)
        value, out = here["attention.self.value.weight"], here["attention.output.dense.weight"]
        value[carried, at.channel], value[carried, at.twin] = VALUE / 2, -VALUE / 2
        out[at.channel, carried], out[at.twin, carried] = 1 / VALUE, -1 / VALUE
        weight, bias = here["intermediate.dense.weight"], here["intermediate.dense.bias"]
        weight[at.gates.ravel()] = 0
        weight[at.gates, at.channel], weight[at.gates, at.twin] = GATE / LEVEL / 2, -GATE / LEVEL / 2
        bias[at.gates] = -GATE * np.array(KNOTS)[:, None]
        out = here["output.dense.weight"]
        out[:, at.gates.ravel()] = 0
        out[at.signal, at.gates] = SIGNAL / GATE * np.array(SLOPES)[:, None]
        here["output.LayerNorm.weight"][at.channels] = 0
        here["output.LayerNorm.bias"][at.channels] = self.usual[1, at.channels]

    def _relay(self, changed: Params) -> None:
        """A later head averages the signals over the tokens: on the way the first token's own may be drowned."""
        at, (index, head) = self.layout, self.layout.relay
        rows = self.bert.head(head)
        carried = rows.start + np.arange(len(at.signal))
        _silence(changed, self.bert, index, rows)
        changed[self.bert.layer(index, "attention.self.value.weight")][carried, at.signal] = VALUE
        changed[self.bert.layer(index, "attention.output.dense.weight")][at.signal, carried] = 1 / VALUE

    def _pooler(self, params: Params, changed: Params) -> None:
        at, name = self.layout, f"{self.bert.prefix}pooler.dense"
        weight, bias = tensor(params, f"{name}.weight"), tensor(params, f"{name}.bias")
        weight[:, at.signal] = 0
        weight[at.pooled], bias[at.pooled] = 0, -REST - DRIVE / SIGNAL * self.idle[:, None]
        weight[at.pooled, at.signal[:, None]] = DRIVE / SIGNAL
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
    rate: float = 0.02,
    batch: int = 32,
    push: float = 1.0,
) -> BertTrap:
    """Traps for the BERT checkpoint `params`, named as `BertForSequenceClassification` or `BertModel` name it.

    `auxiliary` (N, T): token ids, padded with 0, of texts that the victim does not have; T tokens of a text can be kept.
    `share`: of such texts, how many fire a trap (`best_expected(records, batch) / records`). `heads`: the model's
    number of attention heads; `group`: pooler units of each trap. `rate` and `batch` are what the encoder's SGD is
    guessed to use: they set the constant that makes one step latch; `push` multiplies its strength.
    BadInput where there is no room, or too few auxiliary texts.
    """
    auxiliary = np.asarray(auxiliary)
    if auxiliary.ndim != 2 or auxiliary.dtype.kind not in "iu":
        raise BadInput(f"auxiliary texts must be token ids (N, T), not {auxiliary.dtype} of shape {auxiliary.shape}")
    bert = encoder_of(params, heads)
    positions = auxiliary.shape[1] - 1
    at = layout(params, bert, traps, positions, group, rng)
    length = (auxiliary != PAD).sum(1)
    step = rate * np.sqrt(group) * FORCE * DRIVE / 2 / (batch * length.mean() * SLOPE)
    ends = int(auxiliary[0, 0]), int(np.bincount(auxiliary[np.arange(len(auxiliary)), length - 1]).argmax())
    boost = float(np.sqrt(push * LATCH * SLOPE / step / BOOST))
    trap = BertTrap(
        bert, at, positions, np.zeros((traps, KEYS)), np.zeros(traps), np.ones(traps), np.zeros((KEYS, bert.width)),
        np.zeros(KEYS), (1.0, 1.0, 1.0), (np.zeros(bert.width), 1.0), np.ones(2), np.zeros((2, bert.width)),
        np.ones((bert.layers, 2)), np.zeros(traps), np.zeros(bert.width), boost, ends,
    )  # fmt: skip
    trap = _restored(_levels(params, trap, auxiliary[:PROBED]))
    trap = _keys(params, trap, auxiliary, share, rng)
    return _gains(params, trap, auxiliary[:PROBED])


def _levels(params: Params, trap: BertTrap, ids: Array) -> BertTrap:
    """Sizes of benign states in the untouched model."""
    bert, real = trap.bert, ids != PAD
    word, position, kind = (
        params[bert.embedding(f"{name}_embeddings.weight")] for name in ("word", "position", "token_type")
    )
    raw = float((word[ids] + position[: ids.shape[1]] + kind[0])[real].std(-1).mean())
    x = post_norm.embed(params, bert, ids)
    added = post_norm.attend(params, bert, 0, x, ids)
    state = post_norm.norm(x + added, params, bert.layer(0, "attention.output.LayerNorm"))
    body = _body(ids)
    mean = post_norm.feed(params, bert, 0, state[body]).mean(0)
    usual = np.array([post_norm.forward(params, bert, ids, layers).states[body].mean(0) for layers in (1, 2)])
    levels = raw, float(x[real].std(-1).mean()), float((x + added)[body].std(-1).mean())
    return replace(trap, levels=levels, body=(mean, float((state[body] + mean).std(-1).mean())), usual=usual)


def _restored(trap: BertTrap) -> BertTrap:
    """What the codes add to the spread in front of the first two norms is given back to the benign dims."""
    _, state, first = trap.levels
    codes = 2 * AMPLE[0] ** 2  # squares of a position's code and of its mark, each of unit length
    kept = len(trap.layout.benign) / trap.bert.width
    added = np.array([codes * state**2, (codes + (KEYS + 1) * AMPLE[1] ** 2) * (state / first) ** 2]) / trap.bert.width
    return replace(trap, restored=np.sqrt(kept + added))


def _keys(params: Params, trap: BertTrap, ids: Array, share: float, rng: np.random.Generator) -> BertTrap:
    """Whitened keys, and the baits in them."""
    planted, at = plant(params, trap), trap.layout
    means = _means(planted, trap.bert, ids)[:, at.benign].astype(np.float64)
    if len(means) <= KEYS:
        raise BadInput(f"{len(means)} auxiliary texts are too few for keys of {KEYS} dims")
    _, size, axes = np.linalg.svd(means - means.mean(0), full_matrices=False)
    reader = np.zeros((KEYS, trap.bert.width))
    reader[:, at.benign] = axes[:KEYS] * (np.sqrt(len(means)) / np.maximum(size[:KEYS, None], 1e-9))
    offset = -reader[:, at.benign] @ means.mean(0)
    keys = means @ reader[:, at.benign].T + offset
    baits = choose_baits(keys, DRAWN * len(trap.thresholds), share, rng)
    over = keys @ baits.directions.T - baits.thresholds
    excess = np.array([column[column > 0].mean() for column in over.T])
    near = np.sort(np.argsort(-over.min(0) / excess, kind="stable")[: len(trap.thresholds)])
    context = post_norm.attend(planted, trap.bert, 0, post_norm.embed(planted, trap.bert, ids[:PROBED]), ids[:PROBED])
    return replace(
        trap, directions=baits.directions[near], thresholds=baits.thresholds[near], excess=excess[near], reader=reader, offset=offset,
        context=context[ids[:PROBED] != PAD].mean(0),
    )  # fmt: skip


def _gains(params: Params, trap: BertTrap, ids: Array) -> BertTrap:
    """Norms shrink channels and signals by the spread of the states: of all tokens, after the relay of the first."""
    usual = replace(trap, thresholds=trap.thresholds + NEVER * trap.excess)
    for _ in range(2):  # the signals' own size depends on the gains a little
        seen = post_norm.forward(plant(params, usual), trap.bert, ids)
        spread = seen.spread.reshape(trap.bert.layers, 2, *ids.shape)
        gains = np.median(spread[..., _body(ids)], axis=-1)
        gains[trap.layout.relay[0] :] = np.median(spread[trap.layout.relay[0] :, :, :, 0], axis=-1)
        usual = replace(usual, gains=gains)
    states = post_norm.forward(plant(params, usual), trap.bert, ids).states
    return replace(trap, gains=gains, idle=np.median(states[:, 0, trap.layout.signal], axis=0))


def _body(ids: Array) -> Array:
    """(N, T) bool: tokens of a text but its first."""
    body = ids != PAD
    body[:, 0] = False
    return body


def _means(planted: Params, bert: Encoder, ids: Array) -> Array:
    """(N, D) means over a text's tokens of the states before layer 0."""
    mean = [
        (post_norm.embed(planted, bert, part) * (part != PAD)[..., None]).sum(1) / (part != PAD).sum(1, keepdims=True)
        for part in np.array_split(ids, max(1, len(ids) // PROBED))
    ]
    return np.concatenate(mean)


def _mask(params: Params, changed: Params, bert: Encoder, index: int, dims: Array) -> None:
    """Benign heads of a layer neither read nor write `dims`."""
    for part in ("query", "key", "value"):
        weight = tensor(params, bert.layer(index, f"attention.self.{part}.weight"))
        weight[:, dims] = 0
        changed[bert.layer(index, f"attention.self.{part}.weight")] = weight
        changed[bert.layer(index, f"attention.self.{part}.bias")] = tensor(params, bert.layer(index, f"attention.self.{part}.bias"))
    for kind in ("weight", "bias"):
        value = tensor(params, bert.layer(index, f"attention.output.dense.{kind}"))
        value[dims] = 0
        changed[bert.layer(index, f"attention.output.dense.{kind}")] = value


def _silence(changed: Params, bert: Encoder, index: int, rows: slice) -> None:
    """A head of no queries and keys, which averages, and that reads and writes nothing yet."""
    for part in ("query", "key", "value"):
        for kind in ("weight", "bias"):
            changed[bert.layer(index, f"attention.self.{part}.{kind}")][rows] = 0
    changed[bert.layer(index, "attention.output.dense.weight")][:, rows] = 0


def _set_norm(params: Params, changed: Params, name: str, groups: dict[tuple[int, ...], tuple[float, float]]) -> None:
    """Weight and bias of a LayerNorm on groups of dims, the later over the earlier."""
    gain, shift = tensor(params, f"{name}.weight"), tensor(params, f"{name}.bias")
    for dims, (one, other) in groups.items():
        gain[list(dims)], shift[list(dims)] = one, other
    changed[f"{name}.weight"], changed[f"{name}.bias"] = gain, shift
