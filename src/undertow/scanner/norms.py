"""Which LayerNorm stands in front of which matrix, from names alone; transformers 4 and 5.

A network computes the same where a norm's gain is made larger and what reads it smaller. So a row counts as long as it
is behind the norm: W diag(gain). What else reads the norm's output must then be undone elsewhere, in plain sight too.
"""

import re
from collections.abc import Collection, Mapping

from undertow.scanner.chains import natural
from undertow.scanner.layers import TRANSPOSED
from undertow.scanner.statistics import FLOATS, Statistics, statistics
from undertow.scanner.tensors import Tensor
from undertow.types import Array

QKV = r"(?:query|key|value)$"
FRONT = (  # the end of a layer's name, that of the norm in its block; of several that fit, the first that is there
    (rf"attention\.self\.{QKV}", "<.output.LayerNorm"),
    (rf"attention\.self\.{QKV}", "^embeddings.LayerNorm"),
    (r"intermediate\.dense$", "attention.output.LayerNorm"),
    (r"intermediate\.dense$", "layernorm_after"),
    (rf"attention\.attention\.{QKV}", "layernorm_before"),
    (r"attention\.[qkv]_proj$", "layernorm_before"),
    (r"mlp\.fc1$", "layernorm_after"),
    (r"self_attn\.[qkv]_proj$", "input_layernorm"),
    (r"mlp\.(?:gate|up)_proj$", "post_attention_layernorm"),
    (r"self_attn\.[qkv]_proj$", "layer_norm1"),
    (r"mlp\.fc1$", "layer_norm2"),
    (r"attn\.c_attn$", "ln_1"),
    (r"mlp\.c_fc$", "ln_2"),
    (r"attention\.[qkv]_lin$", "<.output_layer_norm"),
    (r"attention\.[qkv]_lin$", "^embeddings.LayerNorm"),
    (r"ffn\.lin1$", "sa_layer_norm"),
    (r"(?:SelfAttention|EncDecAttention)\.[qkv]$", "layer_norm"),
    (r"DenseReluDense\.wi(?:_\d)?$", "layer_norm"),
    (r"pooler\.dense$", "$"),
)  # fmt: skip
LAST = re.compile(r"layer\.\d+\.output\.LayerNorm$|(^|\.)layernorm$")  # what a pooler reads


def norm_in_front(stem: str, names: Collection[str]) -> str | None:
    """The name (without ".weight") of the norm that the layer `stem` reads; None where none is known."""
    for end, norm in FRONT:
        found = re.search(rf"^(|.*\.){end}", stem)
        if found is None:
            continue
        guess = _guess(found[1], norm, names)
        if f"{guess}.weight" in names:
            return guess
    return None


def _guess(block: str, norm: str, names: Collection[str]) -> str:
    """`<.`: in the block before; `^`: in front of the first block; `$`: the last of all."""
    if norm == "$":
        known = (name.removesuffix(".weight") for name in names if name.startswith(block) and name.endswith(".weight"))
        return max((name for name in known if LAST.search(name)), key=natural, default="")
    number = re.search(r"^(|.*\.)(\w+)\.(\d+)\.$", block)
    if norm.startswith("<"):
        return f"{number[1]}{number[2]}.{int(number[3]) - 1}{norm[1:]}" if number and int(number[3]) else ""
    if norm.startswith("^"):
        return re.sub(r"(encoder|transformer)\.layer\.0\.$", "", block) + norm[1:]
    return block + norm


def statistics_of(tensors: Mapping[str, Tensor]) -> dict[str, Statistics]:
    """Of every tensor of floating-point numbers; vectors first, for matrices are also measured behind their norms."""
    floats = {name: one for name, one in tensors.items() if one.dtype in FLOATS}
    found = {name: statistics(one) for name, one in floats.items() if len(one.shape) < 2}
    for name, one in floats.items():
        if name not in found:
            transposed = TRANSPOSED.search(name) is not None
            found[name] = statistics(one, _gain(name, one, found, transposed), transposed)
    return {name: found[name] for name in floats}


def _gain(name: str, tensor: Tensor, found: Mapping[str, Statistics], transposed: bool) -> Array | None:
    """(D,) gains of the norm in front of a matrix; None where none is known."""
    norm = norm_in_front(name.removesuffix(".weight"), found) if name.endswith(".weight") else None
    if norm is None or len(tensor.shape) != 2:
        return None
    values = found[f"{norm}.weight"].values
    return values if len(values) == tensor.shape[0 if transposed else 1] else None
