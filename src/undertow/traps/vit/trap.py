"""Data traps in vision transformers with untouched architecture (Feng & Tramer 2024, sections 3.2 to 3.6 of our spec).

Block 0 holds the traps, block 1 an amplifier of what they say and an eraser of what they read, the last block carries
it to the class token. All traps speak on one channel of the residual stream, so that whatever the victim's fresh
head makes of it, it makes for every trap: those that fire together are pushed the same way, and the way is shut.
A trap records one patch, wherever it fires (one hidden unit), or a whole image (a unit per position, all keyed on the
image by its mean patch, which an attention without preference writes on every token).

The constants follow from what one step does. Let g be the slope of the loss along a trap's score: slope x (difference
of two head weights) / batch. The step shuts that trap by rate x g x LATCH, and moves the scores of others by rate x g x
(what both share, about 10; a test holds it under 1e-5 of LATCH). Early heads have small weights, so LATCH
is large; each firing makes the head's column grow by (KICK + LOUDNESS) x head rate / batch, so these are small. Weights
of the kick are so large, and what moves them so small, that float32 rounds their steps to nothing: if one of the pair
moved, slopes of either sign would appear and open traps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undertow.traps.acceptance import Domain, accept, domain_of, in_step, looking_single
from undertow.traps.baits import Baits, choose_baits
from undertow.traps.layer_norm import LinearNorm, zero_sum
from undertow.traps.mixtures import SingleTest, single_test
from undertow.traps.recorder import Candidates, Recorder, Written, written
from undertow.traps.trap import Draft
from undertow.traps.vit.baits import Whitening, patch_baits, whitening
from undertow.traps.vit.room import HIDDEN, PLACE, SWING, Room, clear, identity, room_in
from undertow.types import Array, BadInput, Params

KICK = 400.0  # of the channel at the class token, whatever fires: it saturates a fresh head, so that steps shut
LOUDNESS = 200.0  # that it grows further, for a typical record: what a trap's step is made of
LATCH = 2e6  # squared constant beside the record, in units of the score: how far one step shuts a trap
STEEP = 6000.0  # by which a trap's pre-activation grows with its score: the GELU is a ReLU at this scale
VOICE = 100.0  # by which the channel does, in block 0: small against the room's constant
ROWS = 1.0  # length of a trap's weights, in units of the score: short ones keep more digits of a small step
GATE = 0.06  # of the channel, below which the amplifier says nothing: small against the features, whose norms pull
AMPLIFIER = 2000.0  # slope of the amplifier's unit
EDGE = 1e5  # of the two that make the kick: so steep that no record lies where it rises
TOP = 16.0  # where the second of them stops it
SPEAKERS = 3  # hidden units of the amplifier
LOUD = 1e8  # the kick behind the amplifier: benign norms of a token that speaks have no slope left to pull at
SCALE = 10.0  # of signals in the residual stream: large against float32's error, and against what steps do to copies
BALANCE = 4.0  # of the norm in front of the key against the weights behind it: steps on either move other keys
VALUE = 3.0  # of the key inside the attention: the larger, the more steps write it on other dimensions
TELLING = 50.0  # of the key and the position in the residual stream, of which no digit is ever read
KEY = 16  # numbers that tell records apart
APART = 12.0  # scores by which a trap's unit misses images at any other position
NEVER = 1e4  # score that the idle unit wants


@dataclass(frozen=True, eq=False)
class VitTrap:
    """Traps in `room`: trap k fires where baits.directions[k] . white(x) > baits.thresholds[k]."""

    room: Room
    white: Whitening  # of patches; for whole images, of an image's mean patch
    baits: Baits
    limits: Array  # (reserved without channel,) largest absolute signal of auxiliary records
    domain: Domain
    whole: bool  # images, not single patches
    slope: float  # by which the channel at the class token grows with a trap's score, in standard deviations
    latch: float = LATCH
    steep: float = STEEP
    rows: float = ROWS
    single: SingleTest | None = None  # of readings, where pixels lie on no grid
    kind: ClassVar[str] = "vit"

    @property
    def units(self) -> Array:
        """(K, P) int: hidden units of block 0; P = 1 for single patches."""
        parts = self.room.patches if self.whole else 1
        return np.arange(len(self.baits.thresholds) * parts).reshape(-1, parts)

    @property
    def idle(self) -> int:
        """A hidden unit that never fires."""
        return self.units.size

    @property
    def boost(self) -> float:
        """The constant on the benign dimensions in front of the traps: it shuts them, and it measures the step."""
        return self.steep * float(np.sqrt(self.latch * self.units.shape[1] / len(self.room.features)))

    @property
    def recorder(self) -> Recorder:
        """Where the records will stand, as codes of `zero_sum`."""
        return Recorder(
            HIDDEN(0, "mlp.fc1.weight"), HIDDEN(0, "mlp.fc1.bias"), self.units, self.room.record,
            scale=self.steep / self.rows, constants=self.room.features, constant=self.boost, idle=np.array([self.idle]),
        )  # fmt: skip

    @property
    def tensors(self) -> tuple[str, ...]:
        return self.recorder.weight, self.recorder.bias

    def edits(self, params: Params) -> Params:
        cleared = clear(params, self.room)
        draft = Draft({**params, **cleared})
        self._embed(draft)
        if self.whole:
            self._write_key(draft)
        self._record(draft)
        self._amplify(draft)
        self._erase(draft)
        self._speak(draft)
        return {**cleared, **draft}

    def read(self, before: Params, after: Params) -> Candidates:
        """Values (K, P, side^2): grey patches in units of the model's input; P = 1 for single patches."""
        found = written(before, after, self.recorder)
        patches = Written(found.carried @ zero_sum(self.room.pixels), found.step)
        values, step = patches.values, found.step
        seen = values.mean(1, keepdims=True) if self.whole else values
        margin = np.einsum("kpr,kr->kp", self.white(seen), self.baits.directions) - self.baits.thresholds[:, None]
        held = in_step(accept(patches, lambda _: np.broadcast_to(margin, step.shape), self.domain))
        return held if self.single is None else looking_single(held, self.single(values.reshape(len(values), -1)))

    def _embed(self, draft: Draft) -> None:
        """Copy each patch, its position and the constant into the residual stream."""
        room, square = self.room, self.room.patch // self.room.side
        cell = np.kron(np.eye(room.side), np.ones(square)) / square  # (side, patch): averages over squares
        pixels = np.einsum("c,ih,jw->ijchw", room.colours, cell, cell).reshape(room.pixels, -1)
        conv = draft["vit.embeddings.patch_embeddings.projection.weight"]
        conv[room.record] = (SCALE * zero_sum(room.pixels) @ pixels).reshape(-1, *conv.shape[1:])
        positions = draft["vit.embeddings.position_embeddings"]
        positions[:, :, room.right] = room.constant
        if self.whole:
            positions[:, 1:, room.place] += TELLING * places(room)

    def _norm(self, draft: Draft, block: int, which: str, gains: Sequence[tuple[Array, float | Array]]) -> None:
        room = self.room
        constant = room.constant
        if block == room.blocks - 1:
            constant = room.loud if which == "before" else room.end
        norm = LinearNorm(room.width, room.right, constant)
        for dims, gain in gains:
            weight, bias = (draft[HIDDEN(block, f"layernorm_{which}.{name}")] for name in ("weight", "bias"))
            norm.write(weight, bias, dims, gain)

    def _write_key(self, draft: Draft) -> None:
        """Uniform attention: every token learns the image's mean patch, whitened."""
        room, tokens = self.room, self.room.patches + 1
        self._norm(draft, 0, "before", [(room.record, BALANCE * tokens / room.patches / SCALE)])
        into = VALUE / BALANCE * zero_sum(room.key)
        value = draft[HIDDEN(0, "attention.v_proj.weight")]
        value[np.ix_(room.keys, room.record)] = into @ self.white.matrix @ zero_sum(room.pixels).T
        draft[HIDDEN(0, "attention.v_proj.bias")][room.keys] = -BALANCE * into @ self.white.matrix @ self.white.mean
        draft[HIDDEN(0, "attention.o_proj.weight")][room.keys, room.keys] = TELLING / VALUE

    def _record(self, draft: Draft) -> None:
        """The traps: hidden units that fire on few images, whose weights on the record take a firing record's copy."""
        room, steep = self.room, self.steep / self.rows
        told = [(np.concatenate([room.keys, room.place]), steep / TELLING)] if self.whole else []
        self._norm(draft, 0, "after", [(room.record, steep / SCALE), *told])
        draft[HIDDEN(0, "layernorm_after.bias")][room.features] = self.boost
        weight, bias = draft[HIDDEN(0, "mlp.fc1.weight")], draft[HIDDEN(0, "mlp.fc1.bias")]
        out = draft[HIDDEN(0, "mlp.fc2.weight")]
        for k, units in enumerate(self.units):
            direction, threshold = self.baits.directions[k], self.baits.thresholds[k]
            if self.whole:
                weight[np.ix_(units, room.keys)] = self.rows * zero_sum(room.key) @ direction
                weight[np.ix_(units, room.place)] = self.rows * places(room)
                threshold = threshold + (places(room) ** 2).sum(1)
            else:
                read = direction @ self.white.matrix
                weight[np.ix_(units, room.record)] = self.rows * zero_sum(room.pixels) @ read
                threshold = threshold + read @ self.white.mean
            bias[units] = -self.steep * threshold
            out[np.ix_(room.channel, units)] = VOICE / self.steep * zero_sum(1)
        weight[self.idle], bias[self.idle] = weight[0], -self.steep * NEVER

    def _amplify(self, draft: Draft) -> None:
        """Two hidden units make a channel above the gate loud at once, a third one the louder the more it is above."""
        room, code, slopes = self.room, zero_sum(1)[:, 0], np.array([EDGE, EDGE, AMPLIFIER])
        self._norm(draft, 1, "after", [(room.channel, 1.0)])
        draft[HIDDEN(1, "mlp.fc1.weight")][:SPEAKERS, room.channel] = np.outer(slopes, code)
        draft[HIDDEN(1, "mlp.fc1.bias")][:SPEAKERS] = -slopes * GATE - [0, TOP, 0]
        growth = self.slope / (KICK * VOICE * AMPLIFIER)
        draft[HIDDEN(1, "mlp.fc2.weight")][room.channel, :SPEAKERS] = LOUD * np.outer(code, [1 / TOP, -1 / TOP, growth])

    def _erase(self, draft: Draft) -> None:
        """v - v = 0, and the constant goes too."""
        right = self.room.right
        gain = SWING / self.limits
        self._norm(draft, 1, "after", [(right, gain)])
        identity(draft, 1, SPEAKERS, np.eye(self.room.width)[right], -np.eye(self.room.width)[:, right] / gain)
        draft[HIDDEN(1, "mlp.fc2.bias")][right] = -self.room.constant

    def _speak(self, draft: Draft) -> None:
        """Uniform attention of the last block: the class token hears the mean of the channel."""
        channel, last = self.room.channel, self.room.blocks - 1
        gain = KICK * (self.room.patches + 1) / (self.units.shape[1] * LOUD)
        self._norm(draft, last, "before", [(channel, gain)])
        for name in "vo":
            draft[HIDDEN(last, f"attention.{name}_proj.weight")][channel, channel] = 1


def vit_trap(
    params: Params,
    auxiliary: Array,
    traps: int,
    share: float,
    rng: np.random.Generator,
    *,
    whole: bool = False,
    side: int = 8,
    key: int = KEY,
    slope: float = 0.0,
    latch: float = LATCH,
    steep: float = STEEP,
    rows: float = ROWS,
) -> VitTrap:
    """Traps for single patches, or for whole images (`whole`), of a Hugging Face ViT.

    `auxiliary` (N, C, H, W): inputs of the model that the victim does not have; `share`: of such images (of such
    patches, where not whole), how many fire a trap: `best_expected(records, batch) / records` (`/ patches`). Records
    are grey, `side` pixels a side per patch; `slope` 0: planned from what fires them. BadInput where there is no room,
    or too few auxiliary images.
    """
    room = room_in(params, (auxiliary.shape[2], auxiliary.shape[3]), side=side, key=key)
    if whole and not key:
        raise BadInput("whole images need a key: give key = 16 or so")
    units = traps * (room.patches if whole else 1)
    if traps < 1 or units >= room.hidden or 2 * len(room.right) + SPEAKERS > room.hidden:
        most = (room.hidden - 1) // (room.patches if whole else 1)
        raise BadInput(f"room for 1 to {most} traps in {room.hidden} hidden units, not {traps}")
    patches = room.grey(auxiliary)
    white = whitening(
        patches.mean(1) if whole else patches.reshape(-1, room.pixels), key if whole else min(32, room.pixels // 2)
    )
    scores = white(patches.mean(1) if whole else patches)
    baits = choose_baits(scores, traps, share, rng) if whole else patch_baits(scores, traps, share, rng)
    over = (scores @ baits.directions.T - baits.thresholds).ravel()
    slope = slope or LOUDNESS / float(over[over > 0].mean())
    domain = domain_of(patches)
    records = patches.reshape(len(patches) if whole else -1, room.pixels * (room.patches if whole else 1))
    seen = scores.reshape(len(records), -1) @ baits.directions.T
    single = None if domain.grid else single_test(records, seen, share, rng)
    return VitTrap(
        room, white, baits, limits(room, white, patches, whole), domain, whole, slope, latch, steep, rows, single
    )


def limits(room: Room, white: Whitening, patches: Array, whole: bool) -> Array:
    """(reserved without channel,): how large the signals there get on auxiliary patches (N, P, d)."""
    signals = [SCALE * patches.reshape(-1, room.pixels) @ zero_sum(room.pixels).T]
    if whole:
        signals += [TELLING * white(patches.mean(1)) @ zero_sum(room.key).T, TELLING * places(room)]
    else:
        signals += [np.full((1, len(room.right)), SCALE)]
    return np.concatenate([np.abs(signal).max(0) for signal in signals])[: len(room.right)]


def places(room: Room) -> Array:
    """(P, 5): a code for each position, a point on a circle for its row and one for its column."""
    rows, columns = room.grid
    where = np.stack(np.meshgrid(np.arange(rows) / rows, np.arange(columns) / columns, indexing="ij"), -1)
    turns = 2 * np.pi * where.reshape(-1, 2)
    nearest = 1 - np.cos(2 * np.pi / max(rows, columns, 2))
    points = np.stack([np.cos(turns), np.sin(turns)], -1).reshape(-1, PLACE) * np.sqrt(APART / nearest)
    codes: Array = points @ zero_sum(PLACE).T
    return codes
