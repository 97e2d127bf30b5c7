"""DP-SGD on linear heads, many at once: the per-example gradient norms of a linear layer have a closed form.

Abadi et al. 2016 (arXiv:1607.00133): Poisson sampling, per-example clipping, Gaussian noise on the sum, divided by
the expected batch. Equal to Opacus with the noise off (tests/training/test_private.py).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from undertow.rng import stream
from undertow.training.opacus_engine import opacus_sgd
from undertow.training.privacy import Noise, poisson_steps
from undertow.training.schedule import Fit, Schedule, step_sizes
from undertow.training.stacked import Slope, stack
from undertow.training.task import Engine, Task
from undertow.types import Array, Params, Slot


def poisson_order(fit: Fit, stage: str, slots: Sequence[Slot], rows: Sequence[Array]) -> Schedule:
    """Every record of a model joins every step by a coin of its own: batches of varying size, as DP-SGD assumes."""
    records = len(rows[0])
    rate, steps = min(1.0, fit.batch / records), poisson_steps(fit, records)
    drawn = [stream(s.seed, stage, s.role, s.index, "poisson").random((steps, records)) < rate for s in slots]
    width = max(1, max(int(d.sum(1).max(initial=0)) for d in drawn))
    visits = np.zeros((steps, len(slots), width), np.int64)
    keep = np.zeros(visits.shape, bool)
    for m, (chosen, mine) in enumerate(zip(drawn, rows, strict=True)):
        for s in range(steps):
            batch = mine[chosen[s]]
            visits[s, m, : len(batch)], keep[s, m, : len(batch)] = batch, True
    return Schedule(visits, keep, step_sizes(fit, steps))


def private_engine(noise: Noise) -> dict[str, Engine]:
    """The engine that trains to this noise, by its name."""
    if noise.trainer == "opacus":
        return {"opacus": partial(opacus_sgd, noise=noise)}
    return {"private_heads": partial(private_heads, noise=noise)}


@torch.no_grad()
def private_heads(task: Task, noise: Noise) -> list[Params]:
    """Train k linear heads by DP-SGD; x is (k, N, D) or shared (N, D), noise drawn per model from `task.noise`.

    |gradient of one record| = |g| sqrt(|x|^2 + 1) with g the gradient at its logits: no per-example gradient is
    ever formed.
    """
    weight, bias = (
        Slope(stack(task.states, "weight", task), task.fit),
        Slope(stack(task.states, "bias", task), task.fit),
    )
    keep = torch.as_tensor(np.ascontiguousarray(task.schedule.keep), device=task.device)
    models = torch.arange(len(task), device=task.device)[:, None]
    draws = [make() for make in task.noise]
    expected = noise.rate * task.records
    for s in range(task.schedule.steps):
        rows = task.rows[s].expand(len(task), -1)
        x = task.x[models, rows] if task.own_x else task.x[rows]
        logits = torch.baddbmm(bias.value[:, None], x, weight.value.transpose(1, 2))
        error = torch.softmax(logits, -1)
        error.scatter_add_(-1, task.y[rows][..., None], error.new_full((1, 1, 1), -1.0).expand(*rows.shape, 1))
        norm = error.norm(dim=-1) * (x.square().sum(-1) + 1).sqrt()
        share = (noise.clip / (norm + 1e-6)).clamp(max=1.0) * keep[s]
        error.mul_(share[..., None])
        slope_w, slope_b = torch.bmm(error.transpose(1, 2), x), error.sum(1)
        if noise.multiplier:
            _add_noise(draws, slope_w, slope_b, noise.multiplier * noise.clip)
        lr = float(task.schedule.lr[s])
        weight.step(slope_w.div_(expected), lr)
        bias.step(slope_b.div_(expected), lr)
    w, b = weight.value.cpu().numpy(), bias.value.cpu().numpy()
    return [{"weight": w[m].copy(), "bias": b[m].copy()} for m in range(len(task))]


def _add_noise(draws: Sequence[np.random.Generator], weight: Tensor, bias: Tensor, deviation: float) -> None:
    """Each model's noise from its own generator, in float64 whatever the dtype."""
    for m, rng in enumerate(draws):
        for part in (weight[m], bias[m]):
            drawn = torch.as_tensor(rng.standard_normal(tuple(part.shape)), device=part.device)
            part.add_(drawn.to(part.dtype), alpha=deviation)
