"""A post-norm encoder (BERT) in NumPy: what planting must know of one, and what reading decodes with.

Every sublayer is x <- LN(x + f(x)); eps as BERT has it. The first token's last state goes through a tanh pooler.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from undertow.types import Array, BadInput, Params

EPS = 1e-12
PAD = 0  # token id of padding in BERT vocabularies


@dataclass(frozen=True, eq=False)
class Sublayers:
    """What a forward pass saw: states (N, T, D), and the standard deviation (2 L, N, T) before each layer's norms."""

    states: Array
    spread: Array


@dataclass(frozen=True)
class Encoder:
    """Names and sizes of a BERT checkpoint; `prefix` is "bert." or ""."""

    prefix: str
    layers: int
    width: int
    heads: int

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def head(self, index: int) -> slice:
        """The rows of query, key and value (the columns of the attention's output) of one head."""
        return slice(index * self.head_width, (index + 1) * self.head_width)

    def layer(self, index: int, name: str) -> str:
        """The full name of a tensor of layer `index`, say "attention.self.value.weight"."""
        return f"{self.prefix}encoder.layer.{index}.{name}"

    def embedding(self, name: str) -> str:
        return f"{self.prefix}embeddings.{name}"


def encoder_of(params: Params, heads: int) -> Encoder:
    """Names and sizes, from the tensors; BadInput where they are none of a BERT with a pooler and `heads` heads."""
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in params else ""
    first = f"{prefix}embeddings.word_embeddings.weight"
    if first not in params or f"{prefix}encoder.layer.0.attention.self.value.weight" not in params:
        raise BadInput(f"no BERT checkpoint: no {first!r} or no encoder.layer.0; it has {sorted(params)[:4]}, ...")
    if f"{prefix}pooler.dense.weight" not in params:
        raise BadInput("the BERT checkpoint has no pooler: the victim's would be new, and the traps' signals lost")
    layers = sum(name.endswith("attention.self.value.weight") for name in params)
    width = params[first].shape[1]
    if heads < 1 or width % heads:
        raise BadInput(f"a width of {width} cannot have {heads} heads; give the model's num_attention_heads")
    return Encoder(prefix, layers, width, heads)


def gelu(z: Array) -> Array:
    """Exact GELU, as BERT has it."""
    value: Array = z * 0.5 * (1 + erf(z / np.sqrt(2)))
    return value


def norm(x: Array, params: Params, name: str) -> Array:
    """LayerNorm `name` over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS)
    shifted: Array = scaled * params[f"{name}.weight"] + params[f"{name}.bias"]
    return shifted


def embed(params: Params, bert: Encoder, ids: Array, start: int = 0) -> Array:
    """States (N, T, D) before layer 0, of token ids (N, T) that begin at position `start`."""
    position = params[bert.embedding("position_embeddings.weight")][start : start + ids.shape[1]]
    x = params[bert.embedding("word_embeddings.weight")][ids] + position
    x = x + params[bert.embedding("token_type_embeddings.weight")][0]
    return norm(x, params, bert.embedding("LayerNorm"))


def attend(params: Params, bert: Encoder, index: int, x: Array, ids: Array) -> Array:
    """What the attention of layer `index` adds to states `x` (N, T, D); padding is not attended to."""
    n, t, d = x.shape
    q, k, v = (
        _dense(params, bert.layer(index, f"attention.self.{part}"), x).reshape(n, t, bert.heads, -1).swapaxes(1, 2)
        for part in ("query", "key", "value")
    )
    score = q @ k.swapaxes(2, 3) / np.sqrt(bert.head_width) + np.where(ids == PAD, -1e9, 0.0)[:, None, None]
    weight = np.exp(score - score.max(-1, keepdims=True))
    mixed = (weight / weight.sum(-1, keepdims=True)) @ v
    return _dense(params, bert.layer(index, "attention.output.dense"), mixed.swapaxes(1, 2).reshape(n, t, d))


def feed(params: Params, bert: Encoder, index: int, x: Array) -> Array:
    """What the feed-forward part of layer `index` adds to `x` (..., D)."""
    hidden = gelu(_dense(params, bert.layer(index, "intermediate.dense"), x))
    return _dense(params, bert.layer(index, "output.dense"), hidden)


def forward(params: Params, bert: Encoder, ids: Array, layers: int | None = None) -> Sublayers:
    """Run `layers` layers (all of them by default) on token ids (N, T)."""
    x = embed(params, bert, ids)
    spread = []
    for index in range(bert.layers if layers is None else layers):
        x = x + attend(params, bert, index, x, ids)
        spread.append(x.std(-1))
        x = norm(x, params, bert.layer(index, "attention.output.LayerNorm"))
        x = x + feed(params, bert, index, x)
        spread.append(x.std(-1))
        x = norm(x, params, bert.layer(index, "output.LayerNorm"))
    return Sublayers(x, np.array(spread))


def _dense(params: Params, name: str, x: Array) -> Array:
    product: Array = x @ params[f"{name}.weight"].T + params[f"{name}.bias"]
    return product
