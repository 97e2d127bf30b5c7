"""Proof instead of suspicion: finetune briefly on records of our own, and see whether units copy one of them and shut.

Nothing is asked of the weights' looks, so nothing is gained by hiding: a trap that still works copies our records too.
A fresh model of the same shape goes the same way and says how many units do so by chance.
"""

from collections.abc import Callable, Sequence
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

EPOCHS = 4
BATCH = 32
LEAST = 3  # units that hold a record, below which nothing is proven
BEYOND = 3  # times as many as by chance


@dataclass(frozen=True)
class Way:
    """One way to finetune everything, with a fresh head."""

    optimizer: Literal["sgd", "adamw"]
    lr: float
    head_lr: float
    decay: bool = False  # rates fall to zero linearly


DENSE = (Way("sgd", 0.05, 0.05), Way("adamw", 1e-3, 1e-3))
TRANSFORMER = (Way("sgd", 1e-5, 0.05), Way("sgd", 0.1, 0.5, decay=True), Way("adamw", 2e-5, 1e-3))


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
    """Which units copied a record, and how many do so in a fresh model."""

    held: tuple[Held, ...]  # a unit is named once, whatever ways it was found in
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
    """Finetune the subject in every way, and the controls where the subject has copied anything worth comparing."""
    units = _units(subject, seed, progress)
    asked = controls if len(units) >= LEAST else ()
    chance = max((len(_units(control, seed, progress)) for control in asked), default=0)
    return Proof(tuple(units[key] for key in sorted(units)), chance, len(subject.x))


def _units(subject: Subject, seed: int, progress: Progress | None) -> dict[tuple[str, int], Held]:
    """The units that hold a record after any of the ways, by tensor and row."""
    units: dict[tuple[str, int], Held] = {}
    for done, way in enumerate(subject.ways):
        if progress is not None:
            progress("prove", done, len(subject.ways))
        units |= {(one.tensor, one.row): one for one in copied(subject, way, seed)}
    return units


def copied(subject: Subject, way: Way, seed: int) -> list[Held]:
    """The units that hold one of the subject's records after finetuning it in one way."""
    module = subject.build(seed).eval()  # no dropout
    layers = _dense(module)
    x, y = torch.as_tensor(subject.x), torch.as_tensor(subject.y.astype(np.int64))
    start = {name: value.detach().clone() for name, value in module.state_dict().items()}
    seen = _finetune(module, layers, x, y, way, seed)
    module.load_state_dict(start)
    found: list[Held] = []
    for name, part in layers.items():
        before, late, after = (_rows(part, one[name]) for one in seen)
        bias = None if part.bias is None else part.bias.detach().double().numpy()
        layer = Watched(subject.named(f"{name}.weight"), (before, late, after), bias)
        if len(layer.candidates):
            found += held(layer, *_inputs(module, part, x))
    return found


def _dense(module: nn.Module) -> dict[str, Any]:
    """The dense layers below the head, by name; GPT-2's Conv1D is one."""
    head = head_name(module)
    dense = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"}
    return {name: part for name, part in dense.items() if name != head}


def _rows(layer: nn.Module, weight: Array) -> Array:
    """(H, D): a unit in each row."""
    return (weight if isinstance(layer, nn.Linear) else weight.T).astype(np.float64)


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
    steps = EPOCHS * -(-len(x) // BATCH)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps if way.decay else 1.0)
    seen = [_weights(layers)]
    for epoch in range(EPOCHS):
        if epoch == EPOCHS - 1:
            seen.append(_weights(layers))
        for rows in np.split(stream(seed, "prove", epoch).permutation(len(x)), range(BATCH, len(x), BATCH)):
            optimiser.zero_grad()
            cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
            rates.step()
    return [*seen, _weights(layers)]


def _weights(layers: dict[str, Any]) -> dict[str, Array]:
    return {name: part.weight.detach().numpy().copy() for name, part in layers.items()}


@torch.no_grad()
def _inputs(module: nn.Module, layer: nn.Module, x: Tensor) -> tuple[Array, Array]:
    """What the layer reads of the records: (M, D), and the record of each row (M,)."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        for block in x.split(BATCH):
            module(block)
    finally:
        hook.remove()
    rows = torch.cat([one.reshape(-1, one.shape[-1]) for one in seen]).double().numpy()
    return rows, np.repeat(np.arange(len(x)), len(rows) // len(x))
