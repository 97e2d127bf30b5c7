"""What each finetuning strategy trains: the parts of a module, its head, and the features below it."""

import torch
from torch import Tensor, nn

from undertow.models.causal_lm import ties
from undertow.models.execution import LAYERS
from undertow.training.task import blocks, load_state, number_type
from undertow.types import ConfigError, Params


@torch.no_grad()
def features(module: nn.Module, state: Params, head: str, x: Tensor) -> Tensor:
    """What enters the head for every row of `x`, (N, D), in evaluation mode."""
    load_state(module.to(x.device, number_type(x)), state, number_type(x))
    module.eval()
    seen: list[Tensor] = []
    hook = module.get_submodule(head).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    try:
        for block in blocks(x):
            module(block)
    finally:
        hook.remove()
    table = torch.cat(seen)
    if table.dim() != 2:
        raise ConfigError(f"the head {head!r} receives {tuple(table.shape[1:])} per record; it must be one vector")
    return table


def freeze_all_but_last(module: nn.Module, layers: int) -> None:
    """Let only the last `layers` layers ask for gradients; a layer is a module that owns parameters.

    The last ones are those that run last, where running the module has shown that; else those registered last.

    Raises ConfigError where there are fewer.
    """
    ran = getattr(module, LAYERS, ())
    parts = [module.get_submodule(name) for name in ran] or list(module.modules())
    owners = [part for part in parts if any(True for _ in part.parameters(recurse=False))]
    if not 1 <= layers <= len(owners):
        raise ConfigError(f"last_layers = {layers}; the model has {len(owners)} layers with parameters")
    module.requires_grad_(False)
    for part in owners[-layers:]:
        for parameter in part.parameters(recurse=False):
            parameter.requires_grad_(True)


def freeze_all_but_head(module: nn.Module, head: str) -> None:
    """Let only the head ask for gradients."""
    module.requires_grad_(False)
    module.get_submodule(head).requires_grad_(True)


def check_own_head(module: nn.Module, head: str, strategy: str) -> None:
    """Refuse (ConfigError) to train a head whose weight is also another layer's."""
    for names in ties(module):
        others = [name for name in names if not name.startswith(head + ".")]
        if len(others) < len(names):
            raise ConfigError(
                f"strategy = {strategy!r} trains the head {head!r}, whose weight is also {others[0]!r}: give it "
                "models.causal_lm.for_strategy(architecture, strategy), which unties them"
            )


def linear_like(module: nn.Module, head: str) -> nn.Linear:
    """An `nn.Linear` like the module's head."""
    old = module.get_submodule(head)
    if not isinstance(old, nn.Linear):
        raise ConfigError(f"the head {head!r} is not an nn.Linear")
    return nn.Linear(old.in_features, old.out_features, bias=old.bias is not None)


def with_head(base: Params, head: str, new: Params) -> Params:
    """`base` with the head's tensors replaced; everything else is the same arrays."""
    kept = {n: v for n, v in base.items() if not n.startswith(head + ".")}
    return kept | {f"{head}.{n}": v for n, v in new.items()}
