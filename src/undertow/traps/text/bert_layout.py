"""Which parts of a BERT the traps take, and the codes that stand in them."""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from undertow.traps.text.post_norm import Encoder
from undertow.types import Array, BadInput, Params

KEYS = 6  # dims of the code of a text
TONES = 3  # frequencies of the code of a position: two dims each


@dataclass(frozen=True, eq=False)
class Layout:
    """Dims of the residual stream that benign layers give up, heads that are rededicated, pooler units of each trap.

    `borrowed` dims are given up in the embedding and layer 0 only.
    """

    key: Array  # (KEYS,) mean of a text's token states
    code: Array  # (2 TONES,) position
    mark: Array  # (1,) constant that every norm scales as it scales `code`
    one: Array  # (1,) constant that the first norm of layer 0 scales as it scales `key`
    channel: Array  # (K,) one for each trap, at every token; its negative stands in `twin`
    twin: Array  # (K,)
    signal: Array  # (K,) the channels' mean, after the relay; empty before, they show what a norm subtracts
    head: int  # of layer 0: averages a text's tokens into `key`
    relay: tuple[int, int]  # a later layer and its head, which averages the channels over the tokens into the signals
    pooled: Array  # (K, m) pooler units that see the trap's signal alone
    benign: Array = field(repr=False)  # (D - reserved,) all other dims

    @property
    def borrowed(self) -> Array:
        """Dims that benign layers use again after layer 0."""
        return np.concatenate([self.key, self.code, self.mark, self.one])

    @property
    def channels(self) -> Array:
        """Channels and their twins."""
        return np.concatenate([self.channel, self.twin])

    @property
    def lasting(self) -> Array:
        """Dims that no benign layer uses."""
        return np.concatenate([self.channels, self.signal])

    @property
    def reserved(self) -> Array:
        """All that layer 0 gives up."""
        return np.concatenate([self.borrowed, self.lasting])


def layout(params: Params, bert: Encoder, traps: int, positions: int, group: int, rng: np.random.Generator) -> Layout:
    """Dims at random, the heads that write least; BadInput where there is no room."""
    sizes = {"key": KEYS, "code": 2 * TONES, "mark": 1, "one": 1}
    sizes |= {"channel": traps, "twin": traps, "signal": traps}
    hidden = len(params[bert.layer(0, "intermediate.dense.bias")])
    longest = len(params[bert.embedding("position_embeddings.weight")])
    room = {
        f"a width of {bert.width} has room for {bert.width // 2} reserved dims": sum(sizes.values()) <= bert.width // 2,
        f"heads of {bert.head_width} dims carry as many traps": traps <= bert.head_width,
        f"heads of {bert.head_width} dims cannot carry {KEYS} keys": bert.head_width >= KEYS,
        f"{hidden} hidden units are too few": traps * positions < hidden,
        f"a pooler of {bert.width} units gives up {bert.width // 2} at most": traps * group <= bert.width // 2,
        f"texts have at most {longest} positions": positions < longest,
        "the recorder and the relay take two layers": bert.layers > 1,
    }
    if traps < 1 or positions < 1 or not all(room.values()):
        why = next((reason for reason, fits in room.items() if not fits), "give at least 1")
        raise BadInput(f"no room for {traps} traps of {positions} tokens: {why}")
    drawn = rng.permutation(bert.width)
    dims = {}
    for name, size in sizes.items():
        dims[name], drawn = np.sort(drawn[:size]), drawn[size:]
    strength = [[_strength(params, bert, index, head) for head in range(bert.heads)] for index in range(bert.layers)]
    later = np.array(strength[1:])
    relay = np.unravel_index(later.argmin(), later.shape)
    pooled = rng.permutation(bert.width)[: traps * group].reshape(traps, group)
    return Layout(
        **dims, head=int(np.argmin(strength[0])), relay=(int(relay[0]) + 1, int(relay[1])), pooled=pooled,
        benign=np.sort(drawn),
    )  # fmt: skip


def position_codes(positions: int) -> Array:
    """Codes (positions + 1, 2 TONES) of unit length for tokens 1 ... positions; row 0, the first token's, is zero."""
    place = np.arange(positions + 1) / (positions + 1)
    tones = range(1, max(TONES + 1, (positions + 1) // 2 + 1))
    cosine = {f: np.cos(2 * np.pi * f * place) for f in tones}
    best = min(
        combinations(tones, TONES), key=lambda chosen: float(np.sum([cosine[f] for f in chosen], axis=0)[1:].max())
    )
    waves = [wave(2 * np.pi * f * place) for f in best for wave in (np.cos, np.sin)]
    code: Array = np.stack(waves, 1) / np.sqrt(TONES)
    code[0] = 0
    return code


def _strength(params: Params, bert: Encoder, index: int, head: int) -> float:
    rows = bert.head(head)
    value, out = (params[bert.layer(index, f"attention.{part}.weight")] for part in ("self.value", "output.dense"))
    return float(np.linalg.norm(out[:, rows] @ value[rows]))
