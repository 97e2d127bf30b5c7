"""Proof instead of suspicion: finetune briefly on records of our own, and see whether units copy one of them and shut.

Nothing is asked of the weights' looks, so nothing is gained by hiding: a trap that still works copies our records too.
A fresh model of the same shape goes the same way and says how many units do so by chance.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from undertow.models.architecture import head_name
from undertow.rng import stream
from undertow.scanner.held import Held, Watched, held
from undertow.types import Array, Progress

BLOCK = 32  # records that are looked at together
LEAST = 3  # units that hold a record, below which nothing is proven
BEYOND = 3  # times as many as by chance
AT_ONCE = 25_000_000  # numbers that are kept of what layers read, in one pass


@dataclass(frozen=True)
class Way:
    """One way to finetune everything, with a fresh head."""

    optimizer: Literal["sgd", "adamw"]
    lr: float
    head_lr: float
    decay: bool = False  # rates fall to zero linearly
    epochs: int = 4  # at least two: what moves in the last one has not stopped
    batch: int = 32
    draw: int = 0  # of the fresh head and of the order: whether a trap that is fired shuts depends on both


# A quiet trap is shut by larger steps, or where a louder head asks more of it; one in a BERT by some draws only.
DENSE = (Way("sgd", 0.05, 0.05), Way("sgd", 0.05, 0.5), Way("sgd", 0.2, 0.2), Way("adamw", 1e-3, 1e-3))
TRANSFORMER = (
    *(Way("sgd", 0.1, 0.5, decay=True, batch=16, draw=draw) for draw in range(4)),
    *(Way("sgd", 1e-5, 0.05, batch=8, draw=draw) for draw in range(3)), Way("adamw", 2e-5, 1e-3),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Subject:
    """What is put to the proof: a checkpoint that can be finetuned, and our records for it."""

    build: Callable[[int], nn.Module]  # seed of the fresh head -> the module, ready to be trained
    x: Array  # (N, ...) inputs of the module
    y: Array  # (N,) int labels
    ways: Sequence[Way]
    named: Callable[[str], str] = str  # a parameter of the module -> its name in the file


@dataclass(frozen=True)
class Proof:
    """Which units copied a record after one way of finetuning, and how many do so in a fresh model after the same."""

    held: tuple[Held, ...]
    chance: int  # the most such units in one control; 0 where the subject had too few for one to matter
    records: int

    @property
    def needed(self) -> int:
        """Units from which on it is proven."""
        return max(LEAST, BEYOND * self.chance + 1)

    @property
    def proven(self) -> bool:
        return len(self.held) >= self.needed


def prove(subject: Subject, controls: Sequence[Subject], seed: int = 0, progress: Progress | None = None) -> Proof:
    """Finetune the subject in one way after another until it is proven, and the controls in the same where it copied.

    Where nothing is proven: the way in which most units copied.
    """
    most = Proof((), 0, len(subject.x))
    for done, way in enumerate(subject.ways):
        if progress is not None:
            progress("prove", done, len(subject.ways))
        found = sorted(copied(subject, way, seed), key=lambda one: (one.tensor, one.row))
        asked = controls if len(found) >= LEAST else ()
        chance = max((len(copied(control, way, seed)) for control in asked), default=0)
        proof = Proof(tuple(found), chance, len(subject.x))
        if proof.proven:
            return proof
        most = max(most, proof, key=lambda one: len(one.held))
    return most


def copied(subject: Subject, way: Way, seed: int) -> list[Held]:
    """The units that hold one of the subject's records after finetuning it in one way."""
    seed = seed + way.draw
    module = subject.build(seed).eval().double()  # no dropout; a trap's step may be smaller than float32's rounding
    layers = dense(module)
    x, y = torch.as_tensor(subject.x), torch.as_tensor(subject.y.astype(np.int64))
    x = x.double() if x.is_floating_point() else x
    start = {name: value.detach().clone() for name, value in module.state_dict().items()}
    seen = _finetune(module, layers, x, y, way, seed)
    module.load_state_dict(start)
    watched = {}
    for name, part in layers.items():
        before, late, after = (_rows(part, one[name]) for one in seen)
        bias = None if part.bias is None else part.bias.detach().double().numpy()
        layer = Watched(subject.named(f"{name}.weight"), (before, late, after), bias)
        if len(layer.candidates):
            watched[name] = layer
    found: list[Held] = []
    for name, read in _inputs(module, {name: layers[name] for name in watched}, x):
        found += held(watched[name], read, np.repeat(np.arange(len(x)), len(read) // len(x)))
    return found


def dense(module: nn.Module) -> dict[str, Any]:
    """The dense layers below the head, by name; GPT-2's Conv1D is one."""
    head = head_name(module)
    found = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"}
    return {name: part for name, part in found.items() if name != head}


def _rows(layer: nn.Module, weight: Array) -> Array:
    """(H, D): a unit in each row."""
    return weight if isinstance(layer, nn.Linear) else weight.T


def _finetune(
    module: nn.Module, layers: dict[str, Any], x: Tensor, y: Tensor, way: Way, seed: int
) -> list[dict[str, Array]]:
    """The weights of the dense layers before, before the last epoch, and after."""
    head = head_name(module)
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in module.named_parameters() if n.startswith(f"{head}.") == own], "lr": lr}
        for own, lr in ((False, way.lr), (True, way.head_lr))
    ]
    sgd = way.optimizer == "sgd"
    optimiser = torch.optim.SGD(groups) if sgd else torch.optim.AdamW(groups, weight_decay=0.0)
    steps = way.epochs * -(-len(x) // way.batch)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps if way.decay else 1.0)
    seen = [_weights(layers)]
    for epoch in range(way.epochs):
        if epoch == way.epochs - 1:
            seen.append(_weights(layers))
        for rows in np.split(stream(seed, "prove", epoch).permutation(len(x)), range(way.batch, len(x), way.batch)):
            optimiser.zero_grad()
            cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
            rates.step()
    return [*seen, _weights(layers)]


def _weights(layers: dict[str, Any]) -> dict[str, Array]:
    return {name: part.weight.detach().numpy().copy() for name, part in layers.items()}


def _inputs(module: nn.Module, layers: dict[str, nn.Module], x: Tensor) -> Iterator[tuple[str, Array]]:
    """What each layer reads of the records: (M, D), one row for each record, or for each token or patch of it."""
    wide = {name: read.size * len(x) for name, read in _read(module, layers, x[:1]).items()}
    some: list[str] = []
    for name, size in wide.items():
        if some and sum(wide[one] for one in some) + size > AT_ONCE:
            yield from _read(module, {one: layers[one] for one in some}, x).items()
            some = []
        some.append(name)
    yield from _read(module, {one: layers[one] for one in some}, x).items()


@torch.no_grad()
def _read(module: nn.Module, layers: dict[str, nn.Module], x: Tensor) -> dict[str, Array]:
    """The same for as many layers as there is memory for, in one pass."""
    seen: dict[str, list[Array]] = {name: [] for name in layers}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, args: seen[name].append(args[0].reshape(-1, args[0].shape[-1]).numpy().copy())

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        for block in x.split(BLOCK) if hooks else ():
            module(block)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: np.concatenate(blocks) for name, blocks in seen.items()}
