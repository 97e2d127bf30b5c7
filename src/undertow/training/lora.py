"""Low-rank updates (Hu et al. 2021, arXiv:2106.09685) through peft: beside every layer of the body, merged afterwards.

An update starts at zero and has scale 1: the merged weight is W + BA.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from undertow.training.task import load_state, to_params
from undertow.types import ConfigError, MissingExtra, Params

ADAPTER = "default"  # peft's name of the one adapter


def with_lora(module: nn.Module, head: str, rank: int) -> nn.Module:
    """`module` with an update of `rank` beside every layer of its body; these and the head ask for gradients.

    Layers are those of exactly nn.Linear, nn.Conv2d (not grouped) and transformers' Conv1D. Changed in place.
    Raises ConfigError where the body has none or ties their weights, MissingExtra without peft.
    """
    lora, inject = _peft()
    targets = _targets(module, head)
    if not targets:
        raise ConfigError("strategy = 'lora' found no dense or convolutional layer beside the head; use 'linear'")
    # One regular expression, matched whole: peft matches the names of a list by their ends, so that 0 is also 10.0.
    config = lora.LoraConfig(r=rank, lora_alpha=rank, target_modules="|".join(map(re.escape, targets)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft corrects it by itself
        module = inject(config, module, ADAPTER)
    module.requires_grad_(False)
    module.get_submodule(head).requires_grad_(True)
    for part in _layers(module).values():
        part.lora_A.requires_grad_(True)
        part.lora_B.requires_grad_(True)
    return module


def lora_state(module: nn.Module, state: Params, seed: int) -> Params:
    """`state` of the plain model as one of `module` (from `with_lora`): same outputs, updates drawn from `seed`."""
    layers = _layers(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in layers.values():
            part.reset_lora_parameters(ADAPTER, True)
    fresh = {
        f"{name}.{inner}": value
        for name, part in layers.items()
        for inner, value in to_params(part.state_dict()).items()
        if inner.startswith("lora_")
    }
    return {_inner(name, layers): value for name, value in state.items()} | fresh


@torch.no_grad()
def merged(module: nn.Module, state: Params, names: Iterable[str]) -> Params:
    """A trained `state` of `module` (from `with_lora`) as one of the plain model, each update added to its weight.

    `names` are those of the plain model's tensors. Added in float64 and rounded once; what has no update is the
    same array.
    """
    load_state(module.double(), state, torch.float64)
    layers = _layers(module)
    plain = {name: state[_inner(name, layers)] for name in names}
    for name, part in layers.items():
        weight = part.get_base_layer().weight + part.get_delta_weight(ADAPTER)
        key = f"{name}.weight"
        plain[key] = weight.numpy().astype(plain[key].dtype)
    return plain


def _targets(module: nn.Module, head: str) -> list[str]:
    """Names of the layers of the body that are given an update."""
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.Conv2d, Conv1D)
    found = {
        name: part
        for name, part in module.named_modules()
        if type(part) in kinds and name and name != head and getattr(part, "groups", 1) == 1
    }
    owners = Counter(id(p) for _, p in module.named_parameters(remove_duplicate=False))
    tied = [name for name, part in found.items() if owners[id(part.weight)] > 1]
    if tied:
        raise ConfigError(f"strategy = 'lora' cannot update {tied[0]!r}: its weight is shared with another layer")
    return list(found)


def _layers(module: nn.Module) -> dict[str, Any]:
    """The layers that carry an update, by the names they have in the plain model."""
    lora, _ = _peft()
    return {name: part for name, part in module.named_modules() if isinstance(part, lora.LoraLayer)}


def _inner(name: str, layers: dict[str, Any]) -> str:
    """The name of a plain model's tensor once its layer has an update."""
    owner, _, leaf = name.rpartition(".")
    return f"{owner}.base_layer.{leaf}" if owner in layers else name


def _peft() -> tuple[Any, Any]:
    try:
        from peft import inject_adapter_in_model
        from peft.tuners import lora
    except ImportError as error:
        raise MissingExtra("peft", "llm") from error
    return lora, inject_adapter_in_model
