"""What a user's module does with one batch: in which order its layers run, which one is the head, what comes out.

Order of registration says nothing of this: a head may be built before its body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from undertow.types import ConfigError

HEAD, LAYERS, NO_HEAD = "undertow_head", "undertow_layers", "undertow_no_head"  # attributes of an observed module
BATCH = 2
OUTPUTS = ("logits", "scores", "output", "out")  # keys of a dictionary, in this order


@dataclass(frozen=True)
class Observed:
    """One batch through a module."""

    layers: tuple[str, ...]  # modules that own parameters, by name, in the order in which they ran last
    head: str  # name of the layer that finetuning replaces; empty where it could not be found
    no_head: str  # why not
    wrapped: bool  # whether what comes out is not a tensor


def observed(module: nn.Module, who: str, shape: tuple[int, ...], classes: int, head: str = "") -> nn.Module:
    """`module` with a tensor of logits (N, classes) as its answer, its head and the order of its layers noted on it.

    `who` names it in messages. ConfigError where it cannot read such records or answers no logits.
    """
    found = _observe(module.eval(), who, shape, classes, head)
    module.train()
    if found.wrapped:
        module.register_forward_hook(partial(_unwrap, who, classes))
    for name, value in ((HEAD, found.head), (LAYERS, found.layers), (NO_HEAD, found.no_head)):
        object.__setattr__(module, name, value)
    return module


def logits_of(output: Any, classes: int) -> Tensor | None:
    """The logits (N, classes) in what a module answers: a tensor, a dictionary (ModelOutput), a tuple or an object."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        named = [output[key] for key in OUTPUTS if isinstance(output.get(key), Tensor)]
        parts = named[:1] or list(output.values())
    elif isinstance(output, tuple | list):
        parts = list(output)
    else:
        parts = [getattr(output, key, None) for key in OUTPUTS]
    fitting = [part for part in parts if isinstance(part, Tensor) and part.dim() == 2 and part.shape[1] == classes]
    return fitting[0] if fitting else None


def _unwrap(who: str, classes: int, _: nn.Module, __: Any, output: Any) -> Tensor:
    found = logits_of(output, classes)
    if found is None:
        raise ConfigError(_no_logits(who, output, classes))
    return found


@torch.no_grad()
def _observe(module: nn.Module, who: str, shape: tuple[int, ...], classes: int, head: str) -> Observed:
    ran: list[tuple[str, Any]] = []
    hooks = [
        part.register_forward_hook(lambda _, __, out, name=name: ran.append((name, out)))
        for name, part in module.named_modules()
        if name
    ]
    try:
        output = _answer(module, who, shape)
    finally:
        for hook in hooks:
            hook.remove()
    logits = logits_of(output, classes)
    _check_logits(who, output, logits, classes)
    last = {name: place for place, (name, _) in enumerate(ran)}
    parts = dict(module.named_modules())
    owners = [name for name in last if any(True for _ in parts[name].parameters(recurse=False))]
    layers = tuple(sorted(owners, key=lambda name: last[name]))
    outputs = {name: ran[place][1] for name, place in last.items()}
    chosen, why = _head(who, parts, layers, outputs, classes, head)
    return Observed(layers, chosen, why, not isinstance(output, Tensor))


def _answer(module: nn.Module, who: str, shape: tuple[int, ...]) -> Any:
    """What the module makes of a batch; of token ids where it reads no measurements."""
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    batches = [torch.linspace(-1, 1, BATCH * _count(shape), dtype=like.dtype).reshape(BATCH, *shape)]
    if len(shape) == 1:
        batches.append(torch.ones(BATCH, *shape, dtype=torch.int64))
    said: list[str] = []
    for batch in batches:
        try:
            return module(batch.to(like.device))
        except Exception as error:  # whatever a user's code raises
            said.append(next(iter(str(error).splitlines()), "") or type(error).__name__)
    raise ConfigError(f"{who} cannot read records of shape {tuple(shape)}: {said[0]}")


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _check_logits(who: str, output: Any, logits: Tensor | None, classes: int) -> None:
    if logits is None or tuple(logits.shape[:2]) != (BATCH, classes):
        raise ConfigError(_no_logits(who, output, classes))
    sums = logits.float().sum(1) if logits.dim() == 2 else None
    if sums is not None and bool((logits >= 0).all()) and bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-4)):
        raise ConfigError(f"{who} answers probabilities; leave the softmax out, so that it answers logits")


def _no_logits(who: str, output: Any, classes: int) -> str:
    if isinstance(output, Tensor):
        found = f"a tensor of shape {tuple(output.shape)} for {BATCH} records"
        hint = "; of two classes both need a logit, such as torch.stack([-z, z], 1)" * (classes == 2)
    else:
        found, hint = f"{type(output).__name__} without logits", ""
        if isinstance(output, Mapping):
            found = f"a dictionary of {', '.join(map(str, output)) or 'nothing'}"
    return f"{who} answers {found}; logits of shape (N, {classes}) are needed{hint}"


def _head(
    who: str, parts: Mapping[str, nn.Module], layers: tuple[str, ...], outputs: Mapping[str, Any], classes: int,
    asked: str,
) -> tuple[str, str]:  # fmt: skip
    """The head and an empty text, or nothing and why it is not known."""
    if asked:
        if asked not in parts:
            raise ConfigError(f"model.head = {asked!r} is no part of {who}; its layers are {_some(layers)}")
        if not any(name == asked or name.startswith(f"{asked}.") for name in layers):
            raise ConfigError(f"model.head = {asked!r} has no parameters that answer; the layers are {_some(layers)}")
        return asked, ""
    linear = [
        name
        for name in layers
        if isinstance(parts[name], nn.Linear) and isinstance(outputs[name], Tensor)
        and outputs[name].shape[-1] == classes
    ]  # fmt: skip
    if linear:
        return linear[-1], ""
    last = f"its last layer, {layers[-1]!r}, is a {type(parts[layers[-1]]).__name__}" if layers else "it has no layers"
    return "", (
        f"{who} has no nn.Linear that answers the {classes} classes ({last}), so its classification head is not known: "
        "name it, model.head = '...' (as in named_modules()), with strategy = 'full', 'last-k' or 'lora'; 'linear' "
        "needs a model that ends with nn.Linear"
    )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[-6:]) if len(names) <= 6 else "..., " + ", ".join(names[-6:])
