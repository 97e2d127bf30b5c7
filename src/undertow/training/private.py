"""DP-SGD on dense layers, many models at once: the gradient norm of one record has a closed form.

Abadi et al. 2016 (arXiv:1607.00133): Poisson sampling, per-example clipping, Gaussian noise on the sum, divided by
the expected batch. Equal to Opacus with the noise off (tests/training/test_private.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from undertow.rng import stream
from undertow.training.opacus_engine import opacus_sgd
from undertow.training.privacy import Noise, poisson_steps
from undertow.training.schedule import Fit, Schedule, step_sizes
from undertow.training.stacked import DenseShape, Slope, dense_shape, stack
from undertow.training.task import Engine, Task
from undertow.types import Array, ConfigError, Params, Slot


@dataclass(frozen=True, eq=False)
class Crafted:
    """Gradients that no record has: `clip` at one coordinate of the flat parameters, where the coin says so."""

    coordinates: Array  # (K,) int, in the order of the layers, weights before biases
    joins: Array  # (S, k, K) bool: gradient j is in step s of model m


def poisson_order(fit: Fit, stage: str, slots: Sequence[Slot], rows: Sequence[Array]) -> Schedule:
    """Every record of a model joins every step by a coin of its own: batches of varying size, as DP-SGD assumes."""
    records = len(rows[0])
    rate, steps = min(1.0, fit.batch / records), poisson_steps(fit, records)
    drawn = [stream(s.seed, stage, s.role, s.index, "poisson").random((steps, records)) < rate for s in slots]
    return pack(drawn, rows, step_sizes(fit, steps))


def pack(drawn: Sequence[Array], rows: Sequence[Array], lr: Array) -> Schedule:
    """The schedule in which model m visits rows[m][drawn[m][s]] at step s; drawn[m] (S, N) bool, lr (S,)."""
    steps = len(lr)
    width = max(1, max(int(d.sum(1).max(initial=0)) for d in drawn))
    visits = np.zeros((steps, len(drawn), width), np.int64)
    keep = np.zeros(visits.shape, bool)
    for m, (chosen, mine) in enumerate(zip(drawn, rows, strict=True)):
        step, which = np.nonzero(chosen)
        sizes = chosen.sum(1)
        place = np.arange(len(step)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        visits[step, m, place], keep[step, m, place] = mine[which], True
    return Schedule(visits, keep, lr)


def private_engine(noise: Noise) -> dict[str, Engine]:
    """The engine that trains to this noise, by its name."""
    if noise.trainer == "opacus":
        return {"opacus": partial(opacus_sgd, noise=noise)}
    return {"private_dense": partial(private_dense, noise=noise)}


@torch.no_grad()
def private_dense(
    task: Task, noise: Noise, crafted: Crafted | None = None, observe: Callable[[int, Tensor], None] | None = None
) -> list[Params]:
    """Train k linear heads or perceptrons by DP-SGD; x is (k, N, D) or shared (N, D), noise drawn per model.

    |gradient of one record|^2 is the sum over layers of |g|^2 (|a|^2 + 1), with a the layer's input and g the gradient
    at its output: no per-example gradient is ever formed. Noise comes from `task.noise`, so a model's bits do not
    depend on who is trained beside it. `observe` is told, at every step, the noisy sums of clipped gradients (k, P):
    what somebody who sees every iterate can compute. ConfigError for a module that is no chain of dense layers.
    """
    shape = dense_shape(task.module)
    if shape is None or not all(p.requires_grad for p in task.module.parameters()):
        raise ConfigError("privacy.trainer = 'closed-form' trains chains of dense layers only; use trainer = 'opacus'")
    names = [name for layer in shape.layers for name in (layer.weight, layer.bias)]
    flat, views = _flatten([stack(task.states, name, task) for name in names])
    slope, gradient = Slope(flat, task.fit), torch.zeros_like(flat)
    values, sums = views(flat), views(gradient)
    batches, source = _Batches(task), _NoiseSource(task, flat.shape[1])
    for s in range(task.schedule.steps):
        _clipped_sums(shape, values, batches, s, noise.clip, sums)
        if crafted is not None:
            joins = torch.as_tensor(crafted.joins[s].copy(), dtype=flat.dtype, device=flat.device)
            gradient[:, torch.as_tensor(crafted.coordinates, device=flat.device)] += noise.clip * joins
        if noise.multiplier:
            gradient.add_(source.draw(), alpha=noise.multiplier * noise.clip)
        if observe is not None:
            observe(s, gradient)
        slope.step(gradient.div_(noise.rate * task.records), float(task.schedule.lr[s]))
    arrays = [value.cpu().numpy() for value in values]
    return [{name: a[m].copy() for name, a in zip(names, arrays, strict=True)} for m in range(len(task))]


def _flatten(parts: Sequence[Tensor]) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """Stacked parameters (k, ...) as one (k, P), and how to see such a tensor as its parts."""
    sizes, shapes = [p[0].numel() for p in parts], [p.shape for p in parts]

    def views(flat: Tensor) -> list[Tensor]:
        return [part.view(shape) for part, shape in zip(flat.split(sizes, 1), shapes, strict=True)]

    return torch.cat([p.flatten(1) for p in parts], 1), views


def _clipped_sums(
    shape: DenseShape, values: Sequence[Tensor], batches: "_Batches", s: int, clip: float, out: Sequence[Tensor]
) -> None:
    """Write into `out` (as `values`, k models each) the sum over the batch of clipped gradients."""
    x, lengths, labels, keep = batches.at(s)
    weights, biases = values[::2], values[1::2]
    inputs, logits = _forward(shape, weights, biases, x)
    errors = [_cross_entropy_slope(logits, labels)]
    derivative = torch.ops.aten.threshold_backward if shape.activation == "relu" else _tanh_backward
    for depth in range(len(weights) - 1, 0, -1):
        errors.insert(0, derivative(torch.bmm(weights[depth].transpose(1, 2), errors[0]), inputs[depth], 0))
    squares = errors[0].square().sum(1).mul_(lengths)
    for error, entered in zip(errors[1:], inputs[1:], strict=True):
        squares += error.square().sum(1).mul_(entered.square().sum(1).add_(1))
    share = ((clip / squares.sqrt_().add_(1e-6)).clamp_(max=1.0) * keep)[:, None]
    for depth, (error, entered) in enumerate(zip(errors, inputs, strict=True)):
        error.mul_(share)
        out[2 * depth].copy_(_outer(error, entered))
        out[2 * depth + 1].copy_(error.sum(2))


def _forward(
    shape: DenseShape, weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Inputs of every layer, (k, width, B) but for x as it is, and logits (k, C, B)."""
    inputs = [x]
    for depth, (w, b) in enumerate(zip(weights, biases, strict=True)):
        entered = inputs[-1]
        if entered.dim() == 2:  # shared by all models: one product for all
            z = torch.addmm(b.reshape(-1, 1), w.reshape(-1, w.shape[2]), entered.T).view(*b.shape, len(entered))
        else:
            z = torch.baddbmm(b[:, :, None], w, entered)
        if depth == len(weights) - 1:
            break
        inputs.append(z.relu_() if shape.activation == "relu" else z.tanh_())
    return inputs, z


def _outer(error: Tensor, entered: Tensor) -> Tensor:
    """Sum over the batch of error x input: error (k, out, B), input (k, in, B) or shared (B, in); (k, out, in)."""
    if entered.dim() == 2:
        return (error.flatten(0, 1) @ entered).view(*error.shape[:2], -1)
    return torch.bmm(error, entered.transpose(1, 2))


def _cross_entropy_slope(logits: Tensor, labels: Tensor) -> Tensor:
    """d(loss of each record)/d(its logits), (k, C, B); labels (k, B) or (B,)."""
    error = torch.softmax(logits, 1)
    k, _, batch = error.shape
    index = labels.expand(k, batch)[:, None]
    return error.scatter_add_(1, index, error.new_full((1, 1, 1), -1.0).expand(k, 1, batch))


def _tanh_backward(gradient: Tensor, value: Tensor, _: int) -> Tensor:
    return gradient.addcmul_(gradient * value, value, value=-1)


class _Batches:
    """Step s of every model: x (B, D) where all visit the same rows, else (k, D, B); what else a step needs."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.table = task.x.flatten(2) if task.own_x else task.x.flatten(1)
        self.lengths = self.table.square().sum(-1).add_(1)  # |x|^2 + 1 of every record
        self.models = torch.arange(len(task), device=task.device)[:, None]
        self.keep = torch.as_tensor(np.ascontiguousarray(task.schedule.keep), device=task.device)

    def at(self, s: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Records, their |x|^2 + 1, labels, and which of them count (k, B)."""
        task, rows = self.task, self.task.rows[s]
        if task.own_x:
            rows = rows.expand(len(task), -1)
            x, lengths = self.table[self.models, rows].transpose(1, 2), self.lengths[self.models, rows]
        elif len(rows) == 1:
            x, lengths = self.table[rows[0]], self.lengths[rows[0]]
        else:
            x, lengths = self.table[rows].transpose(1, 2), self.lengths[rows]
        return x, lengths, task.y[rows], self.keep[s]


class _NoiseSource:
    """Standard normals (k, P), each model's from a generator of its own.

    float64: NumPy's. float32: torch's, three times as fast; they end at 5.8 deviations, once in 10^8 draws.
    """

    def __init__(self, task: Task, parameters: int) -> None:
        self.draws = [make() for make in task.noise]
        self.drawn = torch.empty((len(task), parameters), dtype=task.dtype, device=task.device)
        self.fast = [] if task.dtype == torch.float64 else [_torch_generator(rng, task.device) for rng in self.draws]

    def draw(self) -> Tensor:
        if self.fast:
            for generator, row in zip(self.fast, self.drawn, strict=True):
                row.normal_(generator=generator)
        else:
            for rng, row in zip(self.draws, self.drawn, strict=True):
                row.copy_(torch.as_tensor(rng.standard_normal(len(row))))
        return self.drawn


def _torch_generator(rng: np.random.Generator, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(rng.integers(2**63)))
