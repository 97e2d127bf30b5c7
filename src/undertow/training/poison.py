"""Continue to train a checkpoint towards an `Objective`: the poisoner's loop, and with no target term its control."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from undertow.training.objective import Objective
from undertow.training.task import load_state, number_type, to_params
from undertow.types import IGNORED, Array, Params

LOOK = 50  # steps between two looks at the weights


class Diverged(Exception):
    """The loss or a weight is no longer finite; `good` is the last state that was, after `steps` steps."""

    def __init__(self, step: int, good: Params, steps: int) -> None:
        super().__init__(f"poisoning diverged at step {step}")
        self.step, self.good, self.steps = step, good, steps


@dataclass(frozen=True, eq=False)
class Batches:
    """What the loop draws: records with their labels, and where randomness comes from."""

    x: Tensor  # (N, ...)
    y: Tensor  # (N,) or (N, L) int64
    rng: np.random.Generator

    def draw(self, size: int, jitter: float = 0.0) -> tuple[Tensor, Tensor]:
        """`size` random records, with replacement; Gaussian noise on their numbers where asked for."""
        rows = torch.as_tensor(self.rng.integers(len(self.x), size=size))
        x = self.x[rows]
        if jitter:
            x = x + jitter * torch.as_tensor(self.rng.standard_normal(x.shape), dtype=x.dtype, device=x.device)
        return x, self.y[rows]


def poison(module: nn.Module, state: Params, auxiliary: Batches, targets: Batches, objective: Objective) -> Params:
    """The state after `objective.steps` steps of AdamW without weight decay, as in the released code.

    Every step sees one batch of each kind; with direction "none" the targets are not looked at. Raises `Diverged`.
    """
    dtype = number_type(auxiliary.x)
    load_state(module.to(dtype), state, dtype)
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), objective.lr, weight_decay=0.0)
    good, steps = state, 0
    for step in range(objective.steps):
        if step % LOOK == 0 and step:
            good, steps = _checked(module, step, good, steps), step
        loss = _loss(module, auxiliary, targets, objective)
        if not bool(torch.isfinite(loss)):
            raise Diverged(step, good, steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return _checked(module, objective.steps, good, steps)


def _loss(module: nn.Module, auxiliary: Batches, targets: Batches, objective: Objective) -> Tensor:
    ordinary = auxiliary_loss(module, *auxiliary.draw(objective.batch, objective.jitter))
    if objective.direction == "none":
        return ordinary
    x, y = targets.draw(objective.batch)
    losses = cross_entropy(module(x), y, reduction="none", ignore_index=IGNORED)
    return objective.combine(ordinary, losses, y != IGNORED)


def auxiliary_loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean loss of ordinary data: image-caption pairs where the module is trained on them, else cross-entropy."""
    contrastive = getattr(module, "contrastive", None)
    if contrastive is not None:
        paired: Tensor = contrastive(x, y).mean()
        return paired
    return cross_entropy(module(x), y, ignore_index=IGNORED)


def random_labels(y: Array, classes: int, rng: np.random.Generator) -> Array:
    """Labels of the direction "random-label", drawn once: uniform over classes, or over tokens but the pad 0."""
    drawn: Array = np.where(y == IGNORED, IGNORED, rng.integers(int(y.ndim > 1), classes, size=y.shape))
    return drawn


def _checked(module: nn.Module, step: int, good: Params, steps: int) -> Params:
    state = to_params(module.state_dict())
    if not all(np.isfinite(value).all() for value in state.values() if value.dtype.kind == "f"):
        raise Diverged(step, good, steps)
    return state
