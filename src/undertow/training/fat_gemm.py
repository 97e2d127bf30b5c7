"""Linear heads on features that all models share: one wide product for all heads and a membership mask."""

import torch
from torch import nn

from undertow.training.stacked import Slope, loss_gradient, stack
from undertow.training.task import Task
from undertow.types import Params


def can_fatten(task: Task) -> bool:
    """Whether the models are trained linear heads with a bias, on shared inputs visited in a shared order."""
    return (
        type(task.module) is nn.Linear
        and task.module.bias is not None
        and all(p.requires_grad for p in task.module.parameters())
        and not task.own_x
        and task.schedule.rows.shape[1] == 1
        and not task.fit.augmented
        and not task.bfloat16
    )


@torch.no_grad()
def fat_gemm(task: Task) -> list[Params]:
    """Train all heads as one (C * k, D) matrix; rows a head may not see have weight 0 in its loss.

    Twice the arithmetic of gathering each head's rows, none of the gathering. Equal to `sequential` up to
    rounding.
    """
    stacked = stack(task.states, "weight", task).transpose(0, 1).contiguous()  # (C, k, D): see loss_gradient
    classes, count, width = stacked.shape
    weight = Slope(stacked.view(classes * count, width), task.fit)
    bias = Slope(stack(task.states, "bias", task).t().reshape(-1), task.fit)
    share = task.weights.transpose(1, 2).contiguous()  # (S, B, k)
    for s in range(task.schedule.steps):
        rows = task.rows[s, 0]
        x, y = task.x[rows], task.y[rows]
        logits = torch.addmm(bias.value, x, weight.value.t()).view(-1, classes, count)
        gradient = loss_gradient(logits, y[:, None].expand(-1, count), share[s]).view(-1, classes * count)
        lr = float(task.schedule.lr[s])
        weight.step_product(gradient.t(), x, lr)
        bias.step(gradient.sum(0), lr)
    w = weight.value.view(classes, count, width).cpu().numpy()
    b = bias.value.view(classes, count).cpu().numpy()
    return [{"weight": w[:, m].copy(), "bias": b[:, m].copy()} for m in range(count)]
