"""Several small convolutional networks at once: one grouped convolution per layer, channels innermost in memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy

from undertow.training.group_norm import group_norm
from undertow.training.sequential import make_optimizer
from undertow.training.stacked import stack
from undertow.training.task import Task
from undertow.types import Params

CACHE_BYTES = 9 << 20  # of one map of all models of a group: there are several maps, and they live for a while
ALIKE = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)  # treat every channel alike


def can_group(task: Task) -> bool:
    """Whether the models are trained chains: convolutions, group norms and pools, then one linear layer."""
    module = task.module
    if type(module) is not nn.Sequential or len(module) < 3 or task.own_x or task.x.dim() != 4:
        return False
    *body, flatten, head = module
    return (
        isinstance(body[0], nn.Conv2d)
        and all(_groupable(part) for part in body)
        and type(flatten) is nn.Flatten
        and (flatten.start_dim, flatten.end_dim) == (1, -1)
        and type(head) is nn.Linear
        and head.bias is not None
        and all(p.requires_grad for p in module.parameters())
    )


def _groupable(part: nn.Module) -> bool:
    if type(part) is nn.Conv2d:
        return part.groups == 1 and part.padding_mode == "zeros" and part.bias is not None
    return type(part) in ALIKE or (type(part) is nn.GroupNorm and part.affine)


def grouped_conv(task: Task, together: int = 0) -> list[Params]:
    """Train the models of the task, so many at once (0: what fits); equal to `sequential` up to rounding."""
    size = together or _fitting(task)
    groups = [task.only(range(start, min(start + size, len(task)))) for start in range(0, len(task), size)]
    return [state for group in groups for state in _train(group)]


def _fitting(task: Task) -> int:
    """How many models' largest maps stay in the last-level cache; on a GPU all of them."""
    if task.device.type != "cpu":
        return len(task)
    with torch.no_grad():
        layers: Any = task.module
        one = int(layers[0].to(task.dtype)(task.x[:1]).numel())
    fit = CACHE_BYTES // (one * task.rows.shape[-1] * (2 if task.bfloat16 else task.dtype.itemsize))
    return 1 << max(0, min(4, fit.bit_length() - 1))


def _train(task: Task) -> list[Params]:
    parts = dict(task.module.named_children())
    stacked = {name: stack(task.states, name, task).requires_grad_() for name in task.states[0]}
    optimizer = make_optimizer(list(stacked.values()), task.fit)
    batches = _Batches(task)
    for s, lr in enumerate(task.schedule.lr.tolist()):
        x, y = batches.at(s)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        with task.products():
            logits = _forward(parts, stacked, x)
        losses = cross_entropy(logits.flatten(0, 1).to(task.dtype), y.flatten(), reduction="none")
        (losses * task.weights[s].flatten()).sum().backward()
        optimizer.step()
    return [{name: v[m].detach().cpu().numpy().copy() for name, v in stacked.items()} for m in range(len(task))]


def _forward(parts: dict[str, nn.Module], stacked: dict[str, Tensor], x: Tensor) -> Tensor:
    """(B, k * C, H, W), the channels of one model side by side -> logits (k, B, classes)."""
    count = 1
    for name, part in parts.items():
        weight, bias = stacked.get(f"{name}.weight"), stacked.get(f"{name}.bias")
        if weight is None or bias is None:
            x = x.unflatten(1, (count, -1)).flatten(2) if isinstance(part, nn.Flatten) else part(x)
        elif isinstance(part, nn.Conv2d):
            count = len(weight)
            kernels = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            x = conv2d(x, kernels, bias.flatten(), part.stride, part.padding, part.dilation, count)
        elif isinstance(part, nn.GroupNorm):
            x = group_norm(x, count * part.num_groups, weight.flatten(), bias.flatten(), part.eps)
        else:
            x = torch.baddbmm(bias[:, None], x.transpose(0, 1), weight.transpose(1, 2))
    return x


class _Batches:
    """Step s of every model as one channels-last tensor (B, k * C, H, W) and labels (k, B)."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rows = task.rows.expand(-1, len(task), -1)
        self.augment = [task.augmentation(m) for m in range(len(task))] if task.fit.augmented else []

    def at(self, s: int) -> tuple[Tensor, Tensor]:
        task, rows = self.task, self.rows[s]
        images: Sequence[Tensor] = task.x[rows].unbind()
        if self.augment:
            images = [augment(x) for augment, x in zip(self.augment, images, strict=True)]
        x = torch.cat([image.contiguous(memory_format=torch.channels_last) for image in images], 1)
        return x.contiguous(memory_format=torch.channels_last), task.y[rows]
