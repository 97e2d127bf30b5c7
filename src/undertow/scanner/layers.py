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
TABLE = re.compile(r"embed(?!.*proj)|wte|wpe|(^|\.)shared\.|relative_attention_bias")  # rows are looked up, not dotted
READERS = (  # the end of a layer's name, that of the layer which reads its units
    ("attention.self.value", "attention.output.dense"),
    ("attention.attention.value", "attention.output.dense"),
    ("intermediate.dense", "output.dense"),
    ("v_proj", "o_proj"), ("v_proj", "out_proj"), ("v_lin", "out_lin"),
    ("fc1", "fc2"), ("lin1", "lin2"), ("linear1", "linear2"), ("c_fc", "c_proj"),
    ("up_proj", "down_proj"), ("gate_proj", "down_proj"), ("w1", "w2"), ("w3", "w2"), ("wv", "wo"),
    ("wi", "wo"), ("wi_0", "wo"), ("wi_1", "wo"), ("SelfAttention.v", "SelfAttention.o"),
    ("EncDecAttention.v", "EncDecAttention.o"), ("dense_h_to_4h", "dense_4h_to_h"), ("pooler.dense", ""),
)  # fmt: skip
WRITERS = re.compile(r"(^|\.)(" + "|".join(re.escape(end) for _, end in READERS if end) + r")$")  # to a residual stream
SILENT = re.compile(r"(^|[._])(query|key|q|k|q_proj|k_proj|q_lin|k_lin|wq|wk|c_attn|query_key_value|qkv|qkv_proj)$")
EPS = 1e-5  # of batch norms


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix or a convolution: H units that read D inputs."""

    name: str  # without ".weight"
    weight: Statistics
    transposed: bool
    bias: Array | None = field(default=None, repr=False)  # (H,)
    scale: Array | None = field(default=None, repr=False)  # (H,) by which a batch norm behind it multiplies the units

    @property
    def units(self) -> int:
        """H."""
        return self.weight.shape[1] if self.transposed else self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """D; of a convolution, its input channels."""
        return self.weight.shape[0] if self.transposed else self.weight.shape[1]

    @property
    def norm(self) -> Array:
        """(H,) lengths of the units' weights, as the batch norm behind them leaves them."""
        length = self.weight.column_norm if self.transposed else self.weight.norm
        return length if self.scale is None else length * self.scale

    @property
    def behind(self) -> Array | None:
        """(H,) lengths of the units' weights with the gains of the norm in front of them; None where none is known."""
        return None if self.weight.behind is None else np.sqrt(self.weight.behind)

    @property
    def reach(self) -> Array:
        """(D,) lengths of what reads each input."""
        if self.transposed:
            return self.weight.norm
        square: Array = self.weight.column_square.reshape(self.inputs, -1).sum(1)
        return np.sqrt(square)

    @property
    def kind(self) -> tuple[str, int, int]:
        """Equal for the same layer of other blocks."""
        return re.sub(r"\d+", "*", self.name), self.units, self.inputs


@dataclass(frozen=True, eq=False)
class Hidden:
    """The hidden units between a layer and the one that reads them."""

    layer: Layer
    reader: Layer

    @property
    def gain(self) -> Array:
        """(H,) lengths of what reads each unit."""
        square: Array = (self.reader.reach**2).reshape(self.layer.units, -1).sum(1)
        return np.sqrt(square)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sorts "layers.10" behind "layers.9"."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def layers_of(found: Mapping[str, Statistics]) -> list[Layer]:
    """Matrices and convolutions in natural order; tables of embeddings are none."""
    names = [name for name, one in found.items() if len(one.shape) >= 2 and min(one.shape) > 0]
    names = [name for name in names if name.endswith(("weight", "kernel")) and not TABLE.search(name)]
    return [_layer(name, found) for name in sorted(names, key=natural)]


def hidden_of(layers: Iterable[Layer]) -> list[Hidden]:
    """Every layer whose reader is known, and the reader."""
    layers = list(layers)
    by_name = {layer.name: layer for layer in layers}
    pairs = [(layer, _reader(layer, layers[i + 1 : i + 2], by_name)) for i, layer in enumerate(layers)]
    return [Hidden(layer, reader) for layer, reader in pairs if reader is not None]


def norm_behind(stem: str, found: Mapping[str, Statistics]) -> str | None:
    """The name of the batch norm behind the layer `stem`; None where there is none."""
    number = re.search(r"^(|.*\.)(\d+)$", stem)
    guesses = [re.sub(r"conv(\d*)$", r"bn\1", stem), re.sub(r"conv(\d*)$", r"norm\1", stem), f"{stem}.bn"]
    if number:
        guesses.append(f"{number[1]}{int(number[2]) + 1}")
    return next((guess for guess in guesses if guess != stem and f"{guess}.running_var" in found), None)


def _layer(name: str, found: Mapping[str, Statistics]) -> Layer:
    stem = name.rpartition(".")[0]
    weight = found[name]
    transposed = TRANSPOSED.search(name) is not None and len(weight.shape) == 2
    units = weight.shape[1 if transposed else 0]
    bias = found.get(f"{stem}.bias")
    norm, scale = norm_behind(stem, found), None
    if norm and f"{norm}.weight" in found and found[f"{norm}.weight"].shape == (units,):
        scale = np.abs(found[f"{norm}.weight"].values) / np.sqrt(np.abs(found[f"{norm}.running_var"].values) + EPS)
    return Layer(stem, weight, transposed, bias.values if bias and bias.shape == (units,) else None, scale)


def _reader(layer: Layer, following: list[Layer], by_name: Mapping[str, Layer]) -> Layer | None:
    if SILENT.search(layer.name):
        return None
    for end, other in READERS:
        if other and (layer.name == end or layer.name.endswith(f".{end}")):
            reader = by_name.get(layer.name.removesuffix(end) + other)
            if reader is not None and reader.inputs == layer.units:
                return reader
    if WRITERS.search(layer.name) or not following:
        return None
    follower = following[0]
    fits = follower.inputs % layer.units == 0 and not SILENT.search(follower.name)
    return follower if fits else None
