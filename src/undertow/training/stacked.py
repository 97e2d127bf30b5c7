"""Stacked parameters and their update rules, for engines that write the backward pass by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from undertow.training.schedule import Fit
from undertow.training.task import Task
from undertow.types import Params


@dataclass(frozen=True)
class Dense:
    """The names of one fully connected layer's tensors in a state dict."""

    weight: str
    bias: str


@dataclass(frozen=True)
class DenseShape:
    """A chain of fully connected layers with one activation between them."""

    layers: tuple[Dense, ...]
    activation: str  # "relu" | "tanh" | "" for a single layer


def dense_shape(module: nn.Module) -> DenseShape | None:
    """How `module` is a plain multilayer perceptron, or None where it is anything else."""
    if isinstance(module, nn.Linear) and module.bias is not None:
        return DenseShape((Dense("weight", "bias"),), "")
    if type(module) is not nn.Sequential:
        return None
    layers: list[Dense] = []
    activations: list[str] = []
    for place, part in enumerate(module):
        kind = type(part)
        if kind is nn.Flatten and not layers and part.start_dim == 1 and part.end_dim == -1:
            continue
        if kind is nn.Linear and part.bias is not None and len(activations) == len(layers):
            layers.append(Dense(f"{place}.weight", f"{place}.bias"))
        elif kind in (nn.ReLU, nn.Tanh) and len(activations) == len(layers) - 1:
            activations.append("relu" if kind is nn.ReLU else "tanh")
        else:
            return None
    if not layers or len(activations) != len(layers) - 1 or len(set(activations)) > 1:
        return None
    return DenseShape(tuple(layers), activations[0] if activations else "")


def stack(states: Sequence[Params], name: str, task: Task) -> Tensor:
    """Tensor `name` of every model, (k, ...), on the task's device and dtype, owning its memory."""
    stacked = torch.stack([torch.as_tensor(state[name]) for state in states])
    return stacked.to(device=task.device, dtype=task.dtype).contiguous()


class Slope:
    """A stacked parameter with its optimiser state; `step` adds one gradient, given as a product a @ b.

    SGD lets the matrix product accumulate into the momentum (beta = momentum): the gradient is never
    written out. A product of None adds the plain tensor.
    """

    def __init__(self, value: Tensor, fit: Fit) -> None:
        self.value = value
        self.fit = fit
        self.first = torch.zeros_like(value)
        self.second = torch.zeros_like(value) if fit.optimizer == "adamw" else None
        self.count = 0

    def step_product(self, a: Tensor, b: Tensor, lr: float) -> None:
        """One step along the gradient a @ b, batched when the parameter has a model axis."""
        if self.fit.optimizer == "adamw":
            self._adamw(a @ b, lr)
            return
        if self.value.dim() == 3:
            self.first.baddbmm_(a, b, beta=self.fit.momentum)
        else:
            self.first.addmm_(a, b, beta=self.fit.momentum)
        self._descend(lr)

    def step(self, gradient: Tensor, lr: float) -> None:
        """One step along `gradient`."""
        if self.fit.optimizer == "adamw":
            self._adamw(gradient, lr)
            return
        if not self.fit.momentum and not self.fit.weight_decay:
            self.value.add_(gradient, alpha=-lr)
            return
        self.first.mul_(self.fit.momentum).add_(gradient)
        self._descend(lr)

    def _descend(self, lr: float) -> None:
        if self.fit.weight_decay:
            self.first.add_(self.value, alpha=self.fit.weight_decay)
        self.value.add_(self.first, alpha=-lr)

    def _adamw(self, gradient: Tensor, lr: float) -> None:
        """torch.optim.AdamW, term by term."""
        if self.second is None:
            raise TypeError("AdamW needs a second moment")
        beta1, beta2, eps = self.fit.momentum, 0.999, 1e-8
        self.count += 1
        self.value.mul_(1 - lr * self.fit.weight_decay)
        self.first.lerp_(gradient, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = math.sqrt(1 - beta2**self.count)
        denominator = (self.second.sqrt() / scale).add_(eps)
        self.value.addcdiv_(self.first, denominator, value=-lr / (1 - beta1**self.count))


def loss_gradient(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """d(weighted mean cross-entropy)/d(logits), (., C, .) with classes in the middle; labels, weights (., .).

    In the middle because a softmax over the innermost, short axis is ten times slower on a CPU.
    """
    gradient = torch.softmax(logits, 1)
    minus = gradient.new_full((1, 1, 1), -1.0).expand(gradient.shape[0], 1, gradient.shape[2])
    gradient.scatter_add_(1, labels.unsqueeze(1), minus)
    return gradient.mul_(weights.unsqueeze(1))
