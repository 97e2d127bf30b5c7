"""What an adversary computes from models and records for DP audits: gradients and losses, many at once."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from undertow.rng import stream
from undertow.training.privacy import Noise
from undertow.training.private import private_dense
from undertow.training.schedule import Fit, Schedule
from undertow.training.stacked import dense_shape
from undertow.training.task import Task
from undertow.types import Array, Params


def record_gradients(module: nn.Module, state: Params, x: Array, y: Array, dtype: torch.dtype) -> Array:
    """Gradient of each record's loss at `state`, (K, P), in the order of `flat_parameters`; x (K, d), y (K,)."""
    k, found = len(x), []
    schedule = Schedule(np.arange(k).reshape(1, k, 1), np.ones((1, k, 1), bool), np.zeros(1))
    unclipped = Noise(0.0, 0.0, 0.5, 1e30, 1.0, 1)
    fit = Fit(momentum=0.0, decay="constant")
    task = Task(
        module, [state] * k, torch.as_tensor(x).to(dtype), torch.as_tensor(y), schedule, fit,
        [partial(stream, 0, "unused")] * k, [0] * k, records=1,
    )  # fmt: skip
    private_dense(task, unclipped, observe=lambda _, gradients: found.append(gradients.cpu().numpy().copy()))
    return np.asarray(found[0])


def flat_parameters(module: nn.Module, states: Sequence[Params]) -> Array:
    """Parameters of each model as one row, (k, P) float64: layer by layer, weights before biases."""
    shape = dense_shape(module)
    if shape is None:
        raise TypeError("not a chain of dense layers")
    names = [name for layer in shape.layers for name in (layer.weight, layer.bias)]
    return np.stack([np.concatenate([s[n].ravel() for n in names]) for s in states]).astype(np.float64)


def losses(module: nn.Module, states: Sequence[Params], x: Array, y: Array) -> Array:
    """Cross-entropy (nats) of every record in every model, (k, K), in float64; x (K, d), y (K,)."""
    shape = dense_shape(module)
    if shape is None:
        raise TypeError("not a chain of dense layers")
    found = np.empty((len(states), len(x)))
    for m, state in enumerate(states):
        value = x.astype(np.float64)
        for depth, layer in enumerate(shape.layers):
            value = value @ state[layer.weight].T.astype(np.float64) + state[layer.bias]
            if depth < len(shape.layers) - 1:
                value = np.maximum(value, 0) if shape.activation == "relu" else np.tanh(value)
        top = value.max(1)
        found[m] = top + np.log(np.exp(value - top[:, None]).sum(1)) - value[np.arange(len(x)), y]
    return found
