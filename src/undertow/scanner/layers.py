"""Which tensors are the layers of a network, and which layer reads the units of which: from names and shapes alone.

Knows the names of transformers 4 and 5 and of plain modules; where names say nothing, a layer is read by the next one
in natural order whose inputs are as many as its units.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from undertow.scanner.statistics import Statistics
from undertow.types import Array

TRANSPOSED = re.compile(r"(^|\.)c_(attn|fc|proj)\.weight$|\.kernel$")  # GPT-2 and Flax: columns are the units
TABLE = re.compile(r"embed|wte|wpe|(^|\.)shared\.|relative_attention_bias")
READERS = (  # the end of a layer's name, that of the layer which reads its units
    ("attention.self.value", "attention.output.dense"),
    ("attention.attention.value", "attention.output.dense"),
    ("intermediate.dense", "output.dense"),
    ("v_proj", "o_proj"), ("v_proj", "out_proj"), ("v_lin", "out_lin"),
    ("fc1", "fc2"), ("lin1", "lin2"), ("linear1", "linear2"), ("c_fc", "c_proj"),
    ("up_proj", "down_proj"), ("gate_proj", "down_proj"), ("w1", "w2"), ("w3", "w2"),
    ("wi", "wo"), ("wi_0", "wo"), ("wi_1", "wo"), ("SelfAttention.v", "SelfAttention.o"),
    ("EncDecAttention.v", "EncDecAttention.o"), ("dense_h_to_4h", "dense_4h_to_h"), ("pooler.dense", ""),
)  # fmt: skip
SILENT = re.compile(r"(query|key|q_proj|k_proj|q_lin|k_lin|\.q|\.k|c_attn|query_key_value|qkv)$")


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix or a convolution: H units that read D inputs."""

    name: str  # without ".weight"
    weight: Statistics
    transposed: bool
    bias: Array | None = field(default=None, repr=False)  # (H,)
    scale: Array | None = field(default=None, repr=False)  # (H,) of the batch norm behind it

    @property
    def units(self) -> int:
        return self.weight.shape[1] if self.transposed else self.weight.shape[0]

    @property
    def inputs(self) -> int:
        return self.weight.shape[0] if self.transposed else self.weight.shape[1]

    @property
    def norm(self) -> Array:
        """(H,) lengths of the units' weights."""
        length: Array = self.weight.column_norm if self.transposed else self.weight.norm
        return length

    @property
    def reach(self) -> Array:
        """(D,) lengths of what reads each input."""
        if self.transposed:
            return self.weight.norm
        return np.sqrt(self.weight.column_square.reshape(self.inputs, -1).sum(1))


@dataclass(frozen=True, eq=False)
class Hidden:
    """The hidden units between a layer and the one that reads them; gain (H,) is None where nothing does."""

    layer: Layer
    reader: Layer | None

    @property
    def gain(self) -> Array | None:
        """(H,) lengths of what reads each unit."""
        if self.reader is None:
            return None
        spread = self.reader.inputs // self.layer.units
        return np.sqrt((self.reader.reach**2).reshape(self.layer.units, spread).sum(1))


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sorts "layers.10" behind "layers.9"."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def layers_of(found: Mapping[str, Statistics]) -> list[Layer]:
    """Matrices and convolutions in natural order; tables of embeddings are none."""
    names = [n for n, s in found.items() if len(s.shape) >= 2 and min(s.shape) > 0 and not TABLE.search(n)]
    return [_layer(name, found) for name in sorted(names, key=natural) if name.endswith(("weight", "kernel"))]


def hidden_of(layers: Iterable[Layer]) -> list[Hidden]:
    """Every layer and its reader."""
    layers = list(layers)
    by_name = {layer.name: layer for layer in layers}
    return [Hidden(layer, _reader(layer, layers[i + 1 :], by_name)) for i, layer in enumerate(layers)]


def _layer(name: str, found: Mapping[str, Statistics]) -> Layer:
    stem, transposed = name.rsplit(".", 1)[0] if "." in name else "", TRANSPOSED.search(name) is not None
    weight = found[name]
    transposed = transposed and len(weight.shape) == 2
    bias = found.get(f"{stem}.bias" if stem else "bias")
    units = weight.shape[1 if transposed else 0]
    return Layer(stem, weight, transposed, bias.values if bias is not None and bias.shape == (units,) else None)


def _reader(layer: Layer, later: list[Layer], by_name: Mapping[str, Layer]) -> Layer | None:
    if SILENT.search(layer.name):
        return None
    for end, other in READERS:
        if layer.name == end or layer.name.endswith(f".{end}"):
            reader = by_name.get(layer.name.removesuffix(end) + other)
            if reader is not None and reader.inputs == layer.units:
                return reader
    if any(layer.name == end or layer.name.endswith(f".{end}") for _, end in READERS if end):
        return None  # it writes to a residual stream
    follower = later[0] if later else None
    if follower is None or follower.inputs % layer.units or SILENT.search(follower.name):
        return None
    return follower
