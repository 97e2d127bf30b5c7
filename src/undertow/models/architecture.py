"""What a model is, as data: the reference perceptron, or any importable function that builds an `nn.Module`."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from undertow.types import ConfigError

Shape = tuple[int, ...]


class Architecture(Protocol):
    """A frozen dataclass that builds an untrained module for inputs of `shape` and `classes` outputs."""

    def build(self, shape: Shape, classes: int) -> nn.Module: ...


@dataclass(frozen=True)
class Mlp:
    """Fully connected layers with one activation between them."""

    hidden: tuple[int, ...] = (128, 128)
    activation: Literal["relu", "tanh"] = "relu"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        widths = [torch.Size(shape).numel(), *self.hidden]
        act = nn.ReLU if self.activation == "relu" else nn.Tanh
        parts: list[nn.Module] = [nn.Flatten()]
        for a, b in pairwise(widths):
            parts += [nn.Linear(a, b), act()]
        return nn.Sequential(*parts, nn.Linear(widths[-1], classes))


@dataclass(frozen=True)
class Factory:
    """The user's own `function(shape, classes) -> nn.Module`, found by name, with a hash of its file.

    Editing the file makes new models: a key never stands for two architectures.
    """

    target: str  # "package.module:function"
    code: str  # sha256 of the source file

    def build(self, shape: Shape, classes: int) -> nn.Module:
        module = _resolve(self.target)(shape, classes)
        if not isinstance(module, nn.Module):
            raise ConfigError(f"{self.target} returned {type(module).__name__}, not a torch.nn.Module")
        return module


def factory(source: str | Callable[[Shape, int], nn.Module]) -> Factory:
    """A `Factory` from "package.module:function" or from such a function itself.

    Raises ConfigError where it cannot be found again by name (a lambda, a function inside a function).
    """
    if not isinstance(source, str):
        name = getattr(source, "__qualname__", "")
        if not name or "<" in name:
            raise ConfigError("the model must be a named function at the top of a module: workers import it by name")
        source = f"{source.__module__}:{name}"
    function = _resolve(source)
    try:
        code = inspect.getsource(sys.modules[function.__module__])
    except (OSError, TypeError) as error:
        raise ConfigError(f"the source of {source} cannot be found") from error
    return Factory(source, hashlib.sha256(code.encode()).hexdigest())


def _resolve(target: str) -> Callable[[Shape, int], nn.Module]:
    module, _, name = target.partition(":")
    if not module or not name:
        raise ConfigError(f"model.factory = {target!r}; write 'package.module:function'")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: the user's module lies where they run us
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"model.factory = {target!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ConfigError(f"model.factory = {target!r} is not a function")
    return function  # type: ignore[no-any-return]


def head_name(module: nn.Module) -> str:
    """The name of the classification head: the last `nn.Linear` of the module.

    Raises ConfigError where there is none.
    """
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and name]
    if not linear:
        raise ConfigError(f"{type(module).__name__} has no nn.Linear to use as its classification head")
    return linear[-1]


def initial_state(architecture: Architecture, shape: Shape, classes: int, seed: int) -> dict[str, torch.Tensor]:
    """A fresh state dict, drawn from `seed` alone: every model of the game starts independently."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(shape, classes).state_dict()
