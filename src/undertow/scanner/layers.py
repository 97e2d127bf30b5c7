"""Which tensors are the layers of a network, and which layer reads the units of which: from names and shapes alone.

Knows the names of transformers 4 and 5, of llama.cpp and of plain modules; where names say nothing, shapes do
(`chains`): a layer is read by the nearest one in natural order whose inputs are as many as its units.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from undertow.scanner.chains import GUESSED, bias_of, conventional, natural, stem_of, turned
from undertow.scanner.statistics import Statistics
from undertow.types import Array

TRANSPOSED = re.compile(r"(^|\.)c_(attn|fc|proj)\.weight$|\.kernel$")  # GPT-2 and Flax: columns are the units
TABLE = re.compile(
    r"embed(?!.*proj)|token_embd|wte|wpe|(^|\.)shared\.|relative_attention_bias"
)  # rows are looked up, not dotted
READERS = (  # the end of a layer's name, that of the layer which reads its units
    ("attention.self.value", "attention.output.dense"),
    ("attention.attention.value", "attention.output.dense"),
    ("intermediate.dense", "output.dense"),
    ("v_proj", "o_proj"), ("v_proj", "out_proj"), ("v_lin", "out_lin"),
    ("fc1", "fc2"), ("lin1", "lin2"), ("linear1", "linear2"), ("c_fc", "c_proj"),
    ("up_proj", "down_proj"), ("gate_proj", "down_proj"), ("w1", "w2"), ("w3", "w2"), ("wv", "wo"),
    ("wi", "wo"), ("wi_0", "wo"), ("wi_1", "wo"), ("SelfAttention.v", "SelfAttention.o"),
    ("gate_up_proj", "down_proj"), ("ffn_up", "ffn_down"), ("ffn_gate", "ffn_down"), ("attn_v", "attn_output"),
    ("EncDecAttention.v", "EncDecAttention.o"), ("dense_h_to_4h", "dense_4h_to_h"), ("pooler.dense", ""),
)  # fmt: skip
WRITERS = re.compile(r"(^|\.)(" + "|".join(re.escape(end) for _, end in READERS if end) + r")$")  # to a residual stream
SILENT = re.compile(
    r"(^|[._])(query|key|q|k|q_proj|k_proj|q_lin|k_lin|wq|wk|c_attn|query_key_value|qkv|qkv_proj|attn_[qk])$"
)
STATE = re.compile(
    r"running_(mean|var)$|num_batches|inv_freq|rotary|position_ids|\.masked_bias$|logit_scale"
)  # no layers
EPS = 1e-5  # of batch norms


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix or a convolution: H units that read D inputs."""

    name: str  # without ".weight"
    weight: Statistics
    transposed: bool
    bias: Array | None = field(default=None, repr=False)  # (H,)
    scale: Array | None = field(default=None, repr=False)  # (H,) by which a batch norm behind it multiplies the units
    bias_name: str = ""
    guessed: bool = False  # its name does not say how it is stored: judged by limits of its own
    sided: bool = True  # which axis the units are on is known, or follows from shapes
    adapter: bool = False  # a difference: most rows may be zero

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
    def across(self) -> Array:
        """(C,) lengths of what is no unit: of the columns, or the rows where it is transposed."""
        return self.weight.norm if self.transposed else self.weight.column_norm

    @property
    def kind(self) -> tuple[str, int, int]:
        """Equal for the same layer of other blocks."""
        return re.sub(r"\d+", "*", self.name), self.units, self.inputs


@dataclass(frozen=True, eq=False)
class Hidden:
    """The hidden units between a layer and the one that reads them."""

    layer: Layer
    reader: Layer
    guessed: bool = False  # by shape alone

    @property
    def gain(self) -> Array:
        """(H,) lengths of what reads each unit; of two halves that are multiplied with each other, for both."""
        if self.layer.units == 2 * self.reader.inputs:
            return np.tile(self.reader.reach, 2)
        square: Array = (self.reader.reach**2).reshape(self.layer.units, -1).sum(1)
        return np.sqrt(square)


def layers_of(found: Mapping[str, Statistics], adapters: Collection[str] = ()) -> list[Layer]:
    """Matrices, convolutions and recurrent cells in natural order; tables of embeddings only where shapes chain them.

    `adapters`: names of those that are differences to a weight.
    """
    order = sorted(found, key=natural)
    places = {name: i for i, name in enumerate(order)}
    names = [n for n in order if len(found[n].shape) >= 2 and min(found[n].shape) > 0]
    names = [n for n in names if not TABLE.search(n) or _chained_table(n, names, found)]
    biases = {n: None if n in adapters else bias_of(n, found, places, order) for n in names}
    ways = turned([found[n].shape for n in names], [_way(n, found, biases[n]) for n in names])
    return [_layer(n, found, way, biases[n], n in adapters) for n, way in zip(names, ways, strict=True)]


def hidden_of(layers: Iterable[Layer]) -> list[Hidden]:
    """Every layer whose reader is known by name or follows it, else by shape, and the reader."""
    layers = list(layers)
    plain = [one for one in layers if not one.guessed]
    by_name, place = {layer.name: layer for layer in layers}, {id(one): i for i, one in enumerate(plain)}
    by_inputs: dict[int, list[int]] = {}
    for i, layer in enumerate(layers):
        by_inputs.setdefault(layer.inputs, []).append(i)
    found = []
    for i, layer in enumerate(layers):
        at = place.get(id(layer))
        reader = _reader(layer, [] if at is None else plain[at + 1 : at + 2], by_name)
        if reader is not None:
            found.append(Hidden(layer, reader))
        elif len(layers) <= GUESSED and (nearest := _nearest(i, layers, by_inputs)) is not None:
            found.append(Hidden(layer, nearest, True))
    return found


def norm_behind(stem: str, found: Mapping[str, Statistics]) -> str | None:
    """The name of the batch norm behind the layer `stem`; None where there is none."""
    number = re.search(r"^(|.*\.)(\d+)$", stem)
    guesses = [re.sub(r"conv(\d*)$", r"bn\1", stem), re.sub(r"conv(\d*)$", r"norm\1", stem), f"{stem}.bn"]
    if number:
        guesses.append(f"{number[1]}{int(number[2]) + 1}")
    return next((guess for guess in guesses if guess != stem and f"{guess}.running_var" in found), None)


def _way(name: str, found: Mapping[str, Statistics], bias: str | None) -> bool | None:
    """Whether the units are columns, as far as names and the length of the bias say; None: not known."""
    shape = found[name].shape
    if len(shape) != 2:
        return False
    length = found[bias].shape[0] if bias else 0
    if length in shape and shape[0] != shape[1]:
        return length == shape[1]
    if TRANSPOSED.search(name):
        return True
    return False if conventional(name) else None


def _chained_table(name: str, names: Sequence[str], found: Mapping[str, Statistics]) -> bool:
    """Whether what is named as a table is a layer by its shape: as long as the next matrix is wide, not as wide."""
    at = names.index(name) + 1
    shape, following = found[name].shape, found[names[at]].shape if at < len(names) else ()
    return len(shape) == 2 == len(following) and shape[0] == following[1] != shape[1]


def _layer(name: str, found: Mapping[str, Statistics], way: bool | None, bias: str | None, adapter: bool) -> Layer:
    stem, weight, known = stem_of(name), found[name], conventional(name)
    transposed = way if way is not None else False
    units = weight.shape[1 if transposed else 0]
    offset = found[bias].values if bias and found[bias].shape == (units,) else None
    norm, scale = norm_behind(stem, found), None
    if norm and f"{norm}.weight" in found and found[f"{norm}.weight"].shape == (units,):
        scale = np.abs(found[f"{norm}.weight"].values) / np.sqrt(np.abs(found[f"{norm}.running_var"].values) + EPS)
    odd = transposed and TRANSPOSED.search(name) is None
    guessed = not known or odd or bool(TABLE.search(name))
    named = bias if bias and offset is not None else ""
    return Layer(stem, weight, transposed, offset, scale, named, guessed, way is not None, adapter)


def _nearest(at: int, layers: Sequence[Layer], by_inputs: Mapping[int, Sequence[int]]) -> Layer | None:
    """The nearest layer behind this one, else in front of it, that reads as many inputs as this one has units.

    Layers that write to a residual stream have no reader of their own. Of square ones, only the next can be it, and
    only where names say nothing: every layer beside them would fit.
    """
    layer = layers[at]
    if WRITERS.search(layer.name) or (layer.units == layer.inputs and not layer.guessed):
        return None
    places = [i for i in by_inputs.get(layer.units, ()) if i != at]
    if layer.units == layer.inputs:
        places = [i for i in places if i == at + 1]
    behind = [i for i in places if i > at]
    return layers[behind[0] if behind else places[-1]] if places else None


def _reader(layer: Layer, following: list[Layer], by_name: Mapping[str, Layer]) -> Layer | None:
    if SILENT.search(layer.name):
        return None
    for end, other in READERS:
        if other and (layer.name == end or layer.name.endswith(f".{end}")):
            reader = by_name.get(layer.name.removesuffix(end) + other)
            if reader is not None and reader.inputs in (layer.units, layer.units / 2):  # gate and up in one
                return reader
    if WRITERS.search(layer.name) or not following:
        return None
    follower = following[0]
    fits = follower.inputs % layer.units == 0 and not SILENT.search(follower.name)
    return follower if fits else None
