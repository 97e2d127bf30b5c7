"""Data traps in GPT-2-style decoders that classify texts: pre-norm, causal, GELU; the last token speaks for the text.

Simpler than in encoders: the head reads the last token alone, and no other token's trap units get a gradient. Block 0
holds the traps. Head p of its attention looks at position p and nowhere else and copies a code of the token there
into a slot of the residual stream, so that at the last token one hidden unit sees the first tokens of the text,
one per head, all at once. A head whose position a text does not have looks at the last token: an undecided head would
have a gradient, and its keys would move. All units speak on one mirrored channel, which the last norm makes loud.

Everything written to the residual stream sums to zero (a norm takes the mean away in any case), so that the channel at
rest is exactly silent, whatever the benign state. Derived here; nothing is published on decoders.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from undertow.traps.baits import choose_baits
from undertow.traps.recorder import NOTHING, Candidates, Recorder, written
from undertow.traps.trap import Draft
from undertow.types import Array, BadInput, Params

CODE = 16  # numbers that tell a token
PLACE = 3.0  # size of a position's code
SHARP = 30.0  # by which a head prefers its position
RISE = 0.02  # of that, by which a head whose position a text does not have prefers each position to the one before
AMOUNT = 4.0  # size of a token's code
STEEP = 40.0  # by which a trap's pre-activation grows with its score: the GELU is a ReLU at this scale
LATCH = 1e3  # squared constant beside the slots, in units of the score: how far one step shuts a trap
VOICE = 20.0  # gain from a trap's score to the channel
LOUD = 30.0  # of the last norm, on the channel
NEVER = 1e3  # score that the idle unit wants
SIMILAR = 0.9  # cosine below which a code is no single token's
SAME = 0.01  # mean cosines that differ by less are of texts that would leave the same
GAP = 0.05  # by which the best token must lead


@dataclass(frozen=True, eq=False)
class DecoderCandidates(Candidates):
    """What was read from K traps; part p is the token at position p."""

    tokens: Array  # (K, P) int
    similarity: Array  # (K, P): cosine with that token's code


@dataclass(frozen=True, eq=False)
class Gpt2Trap:
    """Traps in block 0; `prefix` is "transformer." or ""."""

    prefix: str
    blocks: int
    width: int
    heads: int
    pad: int  # token id of padding, on the right
    codes: Array  # (V, CODE) of the tokens; they sum to zero
    directions: Array  # (K, P CODE)
    thresholds: Array  # (K,)
    steep: float = STEEP
    latch: float = LATCH
    kind: ClassVar[str] = "gpt2"

    @property
    def benign(self) -> Array:
        """Dimensions of the residual stream that stay as they are; then come token, place, slots and channel."""
        return np.arange(self.width - self.heads * (CODE + 1) - CODE - 2)

    @property
    def token(self) -> Array:
        return len(self.benign) + np.arange(CODE)

    @property
    def place(self) -> Array:
        return self.width - 2 - self.heads * (CODE + 1) + np.arange(self.heads)

    @property
    def slots(self) -> Array:
        """(P, CODE)."""
        return self.width - 2 - self.heads * CODE + np.arange(self.heads * CODE).reshape(self.heads, CODE)

    @property
    def channel(self) -> Array:
        return np.arange(self.width - 2, self.width)

    @property
    def boost(self) -> float:
        """The constant on the benign dimensions in front of the traps: it shuts them, and it measures the step."""
        return self.steep * float(np.sqrt(self.latch / len(self.benign)))

    @property
    def units(self) -> Array:
        """(K, 1) int: hidden units of block 0."""
        return np.arange(len(self.thresholds))[:, None]

    @property
    def recorder(self) -> Recorder:
        """Where the slots will stand."""
        name = self.name(0, "mlp.c_fc")
        return Recorder(
            f"{name}.weight", f"{name}.bias", self.units, self.slots.ravel(), scale=self.steep, constants=self.benign,
            constant=self.boost, idle=np.array([len(self.units)]), transposed=True,
        )  # fmt: skip

    @property
    def tensors(self) -> tuple[str, ...]:
        return self.recorder.weight, self.recorder.bias

    def name(self, block: int, part: str) -> str:
        """The full name of a tensor, or of the module that holds it."""
        return f"{self.prefix}h.{block}.{part}"

    def edits(self, params: Params) -> Params:
        draft = Draft(params)
        self._embed(draft)
        self._look(draft)
        self._record(draft)
        for block in range(1, self.blocks):
            self._pass(draft, block)
        reserved = np.arange(len(self.benign), self.width)
        for kind, value in (("weight", LOUD), ("bias", 0.0)):
            tensor = draft[f"{self.prefix}ln_f.{kind}"]
            tensor[reserved], tensor[self.channel] = 0, value
        return dict(draft)

    def _embed(self, draft: Draft) -> None:
        """Codes of token and position beside the benign embedding, whose mean goes."""
        words, places = draft[f"{self.prefix}wte.weight"], draft[f"{self.prefix}wpe.weight"]
        for table in (words, places):
            table[:, len(self.benign) :] = 0
            table[:, self.benign] -= table[:, self.benign].mean(1, keepdims=True)
        words[:, self.token] = AMOUNT * self.codes
        spot, rise = np.eye(self.heads) - 1 / self.heads, RISE * np.arange(self.heads)[:, None]
        size = PLACE * np.sqrt(self.width / 10)
        places[: self.heads, self.place] = size * (spot + rise)
        places[: self.heads, self.benign] -= size * rise * self.heads / len(self.benign)

    def _look(self, draft: Draft) -> None:
        """Head p attends to position p and copies the token's code into slot p."""
        weight, bias = draft[self.name(0, "attn.c_attn.weight")], draft[self.name(0, "attn.c_attn.bias")]
        out, size = draft[self.name(0, "attn.c_proj.weight")], self.width // self.heads
        for tensor in (weight, bias, out, draft[self.name(0, "attn.c_proj.bias")], draft[self.name(0, "ln_1.bias")]):
            tensor[...] = 0
        draft[self.name(0, "ln_1.weight")][...] = 1
        for p in range(self.heads):
            bias[p * size] = SHARP * np.sqrt(size)
            weight[self.place[p], self.width + p * size] = 1
            weight[self.token, 2 * self.width + p * size + np.arange(CODE)] = 1
            out[p * size + np.arange(CODE), self.slots[p]] = 1

    def _record(self, draft: Draft) -> None:
        """The traps: hidden units that fire on few texts, and speak."""
        norm, shift = draft[self.name(0, "ln_2.weight")], draft[self.name(0, "ln_2.bias")]
        weight, bias = draft[self.name(0, "mlp.c_fc.weight")], draft[self.name(0, "mlp.c_fc.bias")]
        out, after = draft[self.name(0, "mlp.c_proj.weight")], draft[self.name(0, "mlp.c_proj.bias")]
        for tensor in (norm, shift, weight, out, after):
            tensor[...] = 0
        norm[self.slots], shift[self.benign] = self.steep, self.boost
        bias[...] = -NEVER * self.steep
        count = len(self.units)
        weight[self.slots.ravel(), :count] = self.directions.T
        bias[:count] = -self.steep * self.thresholds
        out[:count, self.channel] = VOICE / self.steep * np.array([1.0, -1.0])
        weight[self.slots.ravel(), count] = self.directions[0]

    def _pass(self, draft: Draft, block: int) -> None:
        """A benign block neither reads nor writes what is reserved, and writes no mean."""
        reserved = np.arange(len(self.benign), self.width)
        for norm in ("ln_1", "ln_2"):
            for kind in ("weight", "bias"):
                draft[self.name(block, f"{norm}.{kind}")][reserved] = 0
        for part in ("attn.c_proj", "mlp.c_proj"):
            for kind in ("weight", "bias"):
                tensor = draft[self.name(block, f"{part}.{kind}")]
                tensor[..., reserved] = 0
                tensor[..., self.benign] -= tensor[..., self.benign].mean(-1, keepdims=True)

    def seen(self, planted: Params, ids: Array) -> Array:
        """(N, P CODE): what the traps see of texts (N, T) at their last tokens, in a planted checkpoint."""
        last = (ids != self.pad).sum(1) - 1
        x = planted[f"{self.prefix}wte.weight"][ids] + planted[f"{self.prefix}wpe.weight"][: ids.shape[1]]
        x = x.astype(np.float64)
        rows = np.arange(len(ids))
        normed = _norm(x)
        key = normed[..., self.place] * SHARP  # (N, T, P)
        hidden = np.arange(ids.shape[1])[None, :, None] > last[:, None, None]
        key = np.where(hidden, -np.inf, key)
        weight = np.exp(key - key.max(1, keepdims=True))
        slots = np.einsum("ntp,ntc->npc", weight / weight.sum(1, keepdims=True), normed[..., self.token])
        state = x[rows, last]
        state[:, self.slots.ravel()] += slots.reshape(len(ids), -1)
        kept: Array = _norm(state)[:, self.slots.ravel()]
        return kept

    def read(self, before: Params, after: Params) -> DecoderCandidates:
        """Tokens, and whether each is accepted: no test needs the finetuning data.

        A slot whose position a text does not have repeats the last token. The text is taken to end where what was read
        is like what it would leave, so that of equal last tokens one is kept.
        """
        found = written(before, after, self.recorder)
        values = found.values[:, 0].reshape(len(self.units), self.heads, CODE)
        cosine = np.nan_to_num(np.einsum("kpc,vc->kpv", _unit(values), _unit(self.codes)), nan=-1.0)
        cosine[..., self.pad] = -2  # less than nothing at all
        tokens = cosine.argmax(-1)
        over = np.arange(self.heads) >= self._lengths(before, tokens, values)[:, None]
        two = np.partition(cosine, -2, axis=-1)[..., -2:]
        step = np.broadcast_to(found.step, tokens.shape)
        fires = np.einsum("kd,kd->k", np.nan_to_num(found.values[:, 0]), self.directions) > self.thresholds
        reasons = np.full(tokens.shape, "", object)
        tests = (
            (step == 0, NOTHING), (step > 0, "pushed open"),
            (np.broadcast_to(~fires[:, None], step.shape), "the trap does not fire on it"),
            (over, "after the text's last token"), (two[..., 1] < SIMILAR, "no single token's code"),
            (two[..., 1] - two[..., 0] < GAP, "another token fits as well"),
        )  # fmt: skip
        for failed, reason in reversed(tests):
            reasons[failed] = reason
        return DecoderCandidates(values, step.copy(), reasons == "", reasons, tokens, two[..., 1])

    def _lengths(self, before: Params, tokens: Array, values: Array) -> Array:
        """(K,): how long a text of `tokens` (K, P) is, by what the slots `values` (K, P, CODE) hold; at most P."""
        alike = []
        for length in range(1, self.heads + 1):
            ids = np.where(np.arange(self.heads) < length, tokens, self.pad)
            left = self.seen(before, ids).reshape(values.shape)
            alike.append(np.nan_to_num((_unit(values) * _unit(left)).sum(-1).mean(-1)))
        first: Array = 1 + np.argmax(np.array(alike) > np.max(alike, axis=0) - SAME, axis=0)
        return first


def _unit(x: Array) -> Array:
    unit: Array = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
    return unit


def _norm(x: Array) -> Array:
    """LayerNorm without weight and bias, eps as GPT-2 has it."""
    centred = x - x.mean(-1, keepdims=True)
    scaled: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled


def gpt2_trap(
    params: Params, auxiliary: Array, traps: int, share: float, rng: np.random.Generator, *, heads: int, pad: int = 0
) -> Gpt2Trap:
    """Traps for the GPT-2 checkpoint `params`, named as `GPT2ForSequenceClassification` or `GPT2Model` name it.

    `auxiliary` (N, T): token ids of texts that the victim does not have, padded on the right with `pad`; `share`: of
    such texts, how many fire a trap. `heads`: the model's attention heads; so many of a text's first tokens are kept.
    BadInput where there is no room, or too few auxiliary texts.
    """
    prefix = "transformer." if "transformer.wte.weight" in params else ""
    first = f"{prefix}wte.weight"
    if first not in params or f"{prefix}h.0.attn.c_attn.weight" not in params:
        raise BadInput(f"no GPT-2 checkpoint: no {first!r} or no h.0.attn.c_attn; it has {sorted(params)[:4]}, ...")
    words, width = params[first], params[first].shape[1]
    if heads < 1 or width % heads:
        raise BadInput(f"a width of {width} cannot have {heads} heads; give the model's n_head")
    codes = rng.standard_normal((len(words), CODE))
    codes -= codes.mean(1, keepdims=True)
    codes *= np.sqrt(CODE) / np.linalg.norm(codes, axis=1, keepdims=True)
    blocks = sum(name.endswith("attn.c_attn.weight") for name in params)
    trap = Gpt2Trap(prefix, blocks, width, heads, pad, codes, np.zeros((1, heads * CODE)), np.zeros(1))
    hidden = params[trap.name(0, "mlp.c_fc.bias")].size
    if len(trap.benign) < width // 4 or width // heads < CODE or not 0 < traps < hidden or blocks < 2:
        raise BadInput(
            f"no room: {width - len(trap.benign)} of {width} dimensions would be reserved, heads are {width // heads} "
            f"wide ({CODE} are needed), {traps} traps in {hidden} hidden units, {blocks} blocks"
        )
    auxiliary = np.asarray(auxiliary)
    if auxiliary.ndim != 2 or auxiliary.dtype.kind not in "iu":
        raise BadInput(f"auxiliary texts must be token ids (N, T), not {auxiliary.dtype} of shape {auxiliary.shape}")
    baits = choose_baits(trap.seen({**params, **trap.edits(params)}, auxiliary), traps, share, rng)
    return replace(trap, directions=baits.directions, thresholds=baits.thresholds)
