"""What a model is, as data: the reference perceptron, or any importable function that builds an `nn.Module`."""

import ast
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from undertow.models.execution import HEAD, NO_HEAD, observed
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

    Editing the file makes new models: a key never stands for two architectures. What the module answers is unwrapped
    where it is a dictionary or a tuple, and its head is found by running it (models.execution).
    """

    target: str  # "package.module:function"
    code: str  # sha256 of the source file
    head: str = ""  # name of the layer that finetuning replaces; empty: found
    libraries: tuple[str, ...] = ()  # packages that the file imports

    def build(self, shape: Shape, classes: int) -> nn.Module:
        try:
            module = _resolve(self.target)(shape, classes)
        except ConfigError:
            raise
        except Exception as error:  # whatever a user's code raises
            said = next(iter(str(error).splitlines()), "")
            raise ConfigError(f"{self.target}({shape}, {classes}) raised {type(error).__name__}: {said}") from error
        if not isinstance(module, nn.Module):
            raise ConfigError(f"{self.target} returned {type(module).__name__}, not a torch.nn.Module")
        return observed(module, self.target, shape, classes, self.head)


def factory(source: str | Callable[[Shape, int], nn.Module], head: str = "") -> Factory:
    """A `Factory` from "package.module:function" or from such a function itself; `head` names its head.

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
    return Factory(source, hashlib.sha256(code.encode()).hexdigest(), head, imported(code))


def imported(code: str) -> tuple[str, ...]:
    """The installed packages that a source file imports by name, sorted; the standard library is none.

    >>> imported("import json, numpy.linalg; from torch import nn")
    ('numpy', 'torch')
    """
    modules: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    others = modules - set(sys.stdlib_module_names)
    known = packages_distributions() if others else {}
    return tuple(sorted({name for module in others for name in known.get(module, ())}))


def _resolve(target: str) -> Callable[[Shape, int], nn.Module]:
    module, _, name = target.partition(":")
    if not module or not name:
        raise ConfigError(f"model.factory = {target!r}; write 'package.module:function'")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: the user's module lies where they run us
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's file may raise anything
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ConfigError(f"model.factory = {target!r} cannot be imported: {said}") from error
    if not callable(function):
        raise ConfigError(f"model.factory = {target!r} is not a function")
    return function  # type: ignore[no-any-return]


def head_name(module: nn.Module) -> str:
    """The name of the classification head: what running a user's module has shown, else its last `nn.Linear`.

    Raises ConfigError where there is none.
    """
    if getattr(module, NO_HEAD, ""):
        raise ConfigError(getattr(module, NO_HEAD))
    if getattr(module, HEAD, ""):
        return str(getattr(module, HEAD))
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and name]
    if not linear:
        raise ConfigError(f"{type(module).__name__} has no nn.Linear to use as its classification head")
    return str(linear[-1])


def initial_state(architecture: Architecture, shape: Shape, classes: int, seed: int) -> dict[str, torch.Tensor]:
    """A fresh state dict, drawn from `seed` alone: every model of the game starts independently."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(shape, classes).state_dict()
