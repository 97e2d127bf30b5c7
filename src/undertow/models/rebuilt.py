"""A module that computes what a checkpoint computes, built from its weights and nothing it could run."""

import re
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from undertow.models.architecture import Mlp
from undertow.types import BadInput, Params


def dense_chain(params: Params) -> list[str]:
    """The prefixes of the dense layers of a perceptron, in order; BadInput where these weights are not one.

    Every tensor must belong to a dense layer with a bias, and each layer must read what the one before it gives. The
    activation cannot be seen in weights: it is taken to be ReLU.
    """
    names = sorted((n.removesuffix(".weight") for n in params if n.endswith(".weight")), key=_natural)
    rest = set(params) - {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if len(names) < 2 or rest or any(f"{name}.bias" not in params for name in names):
        raise BadInput("these weights are no plain perceptron")
    shapes = [params[f"{name}.weight"].shape for name in names]
    if any(len(shape) != 2 for shape in shapes) or any(a[0] != b[1] for a, b in pairwise(shapes)):
        raise BadInput("these weights are no plain perceptron")
    return names


def perceptron(params: Params, names: Sequence[str], classes: int, seed: int) -> nn.Module:
    """The perceptron of `dense_chain`, with a fresh head for `classes`; its dense layers are named 1, 3, 5, ..."""
    hidden = tuple(len(params[f"{name}.weight"]) for name in names[:-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Mlp(hidden).build((params[f"{names[0]}.weight"].shape[1],), classes)
    dense = [part for part in module.modules() if isinstance(part, nn.Linear)]
    with torch.no_grad():
        for name, part in zip(names[:-1], dense, strict=False):
            part.weight.copy_(torch.as_tensor(params[f"{name}.weight"]))
            part.bias.copy_(torch.as_tensor(params[f"{name}.bias"]))
    return module


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts layer10 after layer9."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
