"""Which parts of a BERT the traps take, and the codes that stand in them."""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from undertow.traps.post_norm import Encoder
from undertow.types import Array, BadInput, Params

KEYS = 6  # dims of the code of a text
TONES = 2  # frequencies of the code of a position: two dims each
BOOST = 2  # dims that feed the units a large constant


@dataclass(frozen=True, eq=False)
class Layout:
    """Dims of the residual stream that benign layers give up, heads that are rededicated, pooler units of each trap.

    All dims but `signal` are given up in the first two layers only.
    """

    key: Array  # (KEYS,) mean of a text's token states
    code: Array  # (2 TONES,) position
    mark: Array  # (1,) constant that every norm scales as it scales `code`
    one: Array  # (1,) constant that the first norm of layer 0 scales as it scales `key`
    boost: Array  # (BOOST,) constant in front of the units
    channel: Array  # (K,) one for each trap; its negative stands in `twin`
    twin: Array  # (K,)
    signal: Array  # (K,) what the gates of layer 1 make of the channels; empty before, they show what a norm subtracts
    head: int  # of layer 0: averages a text's tokens into `key`
    collector: int  # head of layer 1: averages the channels over the tokens
    relay: tuple[int, int]  # a later layer and its head that average the signals over the tokens
    gates: Array  # (3, K) hidden units of layer 1: the knots of what a channel becomes
    pooled: Array  # (K, m) pooler units that see the trap's channel
    benign: Array = field(repr=False)  # (D - reserved,) all other dims

    @property
    def borrowed(self) -> Array:
        """Dims that benign layers use again after layer 0."""
        return np.concatenate([self.key, self.code, self.mark, self.one, self.boost])

    @property
    def channels(self) -> Array:
        """Dims that benign layers use again after layer 1."""
        return np.concatenate([self.channel, self.twin])

    @property
    def reserved(self) -> Array:
        """All that layer 0 gives up; after layer 1 the `signal` dims alone."""
        return np.concatenate([self.borrowed, self.channels, self.signal])


def layout(params: Params, bert: Encoder, traps: int, positions: int, group: int, rng: np.random.Generator) -> Layout:
    """Dims at random, the heads that write least; BadInput where there is no room."""
    sizes = {"key": KEYS, "code": 2 * TONES, "mark": 1, "one": 1, "boost": BOOST}
    sizes |= {"channel": traps, "twin": traps, "signal": traps}
    hidden = len(params[bert.layer(0, "intermediate.dense.bias")])
    longest = len(params[bert.embedding("position_embeddings.weight")])
    room = {
        f"a width of {bert.width} has room for {bert.width // 2} reserved dims": sum(sizes.values()) <= bert.width // 2,
        f"heads of {bert.head_width} dims carry as many traps": traps <= bert.head_width,
        f"heads of {bert.head_width} dims cannot carry {KEYS} keys": bert.head_width >= KEYS,
        f"{hidden} hidden units hold {hidden // max(positions, 1)} traps of {positions} tokens": traps * positions < hidden,
        f"a pooler of {bert.width} units has room for {bert.width // 2} of the traps'": traps * group <= bert.width // 2,
        f"texts have at most {longest} positions": positions < longest,
        "traps take part of three layers": bert.layers > 2,
    }
    if traps < 1 or positions < 1 or not all(room.values()):
        raise BadInput(
            f"no room for {traps} traps of {positions} tokens: {next((k for k, v in room.items() if not v), 'give at least 1')}"
        )
    drawn = rng.permutation(bert.width)
    dims = {}
    for name, size in sizes.items():
        dims[name], drawn = np.sort(drawn[:size]), drawn[size:]
    strength = [[_strength(params, bert, index, head) for head in range(bert.heads)] for index in range(bert.layers)]
    later = np.array(strength[2:])
    relay = np.unravel_index(later.argmin(), later.shape)
    out = np.linalg.norm(params[bert.layer(1, "output.dense.weight")], axis=0)
    pooled = rng.permutation(bert.width)[: traps * group].reshape(traps, group)
    return Layout(
        **dims, head=int(np.argmin(strength[0])), collector=int(np.argmin(strength[1])),
        relay=(int(relay[0]) + 2, int(relay[1])), gates=np.argsort(out, kind="stable")[: 3 * traps].reshape(3, traps), pooled=pooled, benign=np.sort(drawn),
    )  # fmt: skip


def position_codes(positions: int) -> Array:
    """Codes (positions + 1, 2 TONES) of unit length for tokens 1 ... positions; row 0, the first token's, is zero."""
    place = np.arange(positions + 1) / (positions + 1)
    tones = range(1, max(TONES + 1, (positions + 1) // 2 + 1))
    cosine = {f: np.cos(2 * np.pi * f * place) for f in tones}
    best = min(combinations(tones, TONES), key=lambda chosen: sum(cosine[f] for f in chosen)[1:].max())
    waves = [wave(2 * np.pi * f * place) for f in best for wave in (np.cos, np.sin)]
    code: Array = np.stack(waves, 1) / np.sqrt(TONES)
    code[0] = 0
    return code


def _strength(params: Params, bert: Encoder, index: int, head: int) -> float:
    rows = bert.head(head)
    value, out = (params[bert.layer(index, f"attention.{part}.weight")] for part in ("self.value", "output.dense"))
    return float(np.linalg.norm(out[:, rows] @ value[rows]))


