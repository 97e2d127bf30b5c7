"""One model after the other: any `nn.Module`, data resident, no loader. The reference for every engine."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from undertow.models.architecture import head_name
from undertow.training.schedule import Fit
from undertow.training.task import Task, load_state, to_params
from undertow.types import Params

Loss = Callable[[Task, nn.Module, Tensor, Tensor], Tensor]  # of a batch and the rows of the task it was made of


def sequential(task: Task) -> list[Params]:
    """Train each model of the task by its schedule; final state dicts (parameters and buffers)."""
    return [train_one(task, m, classification) for m in range(len(task))]


def classification(task: Task, module: nn.Module, batch: Tensor, rows: Tensor) -> Tensor:
    with task.products():
        logits = module(batch)
    return cross_entropy(logits.to(task.dtype), task.y[rows])


def train_one(task: Task, m: int, loss: Loss, after: Callable[[nn.Module], None] | None = None) -> Params:
    """Train model m of the task to make `loss` small; its final state dict. `after` is called after every step."""
    module = task.module.to(device=task.device, dtype=task.dtype)
    innermost = channels_last(task)
    if innermost:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    load_state(module, task.states[m], task.dtype)
    x = task.x[m] if task.own_x else task.x
    schedule, augment = task.schedule, task.augmentation(m)
    optimizer = make_optimizer(module.parameters(), task.fit)
    rates = _rates(optimizer, module, task.head_rate)
    train_mode(module)
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        torch.manual_seed(task.torch_seeds[m])
        for (rows, kept), lr in zip(_batches(task, m), schedule.lr.tolist(), strict=True):
            batch = augment(x[rows], kept) if task.fit.augmented else x[rows]
            if innermost:
                batch = batch.contiguous(memory_format=torch.channels_last)
            for group, rate in rates:
                group["lr"] = lr * rate
            optimizer.zero_grad(set_to_none=True)
            if len(rows):
                loss(task, module, batch, rows).backward()
            if task.clip:
                nn.utils.clip_grad_norm_(module.parameters(), task.clip)
            optimizer.step()
            if after is not None:
                after(module)
    return to_params(module.state_dict())


def _rates(optimizer: torch.optim.Optimizer, module: nn.Module, head_rate: float) -> list[tuple[dict[str, Any], float]]:
    """The optimiser's groups, and their step sizes in times the schedule's; the head becomes a group of its own."""
    rest = optimizer.param_groups[0]
    if head_rate == 1:
        return [(rest, 1.0)]
    head = {id(p) for p in module.get_submodule(head_name(module)).parameters()}
    own = [p for p in rest["params"] if id(p) in head]
    rest["params"] = [p for p in rest["params"] if id(p) not in head]
    optimizer.add_param_group({"params": own})
    return [(rest, 1.0), (optimizer.param_groups[1], head_rate)]


def channels_last(task: Task) -> bool:
    """Whether the channels of images lie innermost in memory.

    So float32 convolutions and max-pools are quick on a CPU, but not the backward pass of group norm
    (benchmarks/engines.py): without pools it costs more than the convolutions gain. With them innermost, torch 2.13
    crashes (a null pointer) where a trained group norm reads what needs no gradient, as above frozen layers.
    """
    kinds = {type(part) for part in task.module.modules()}
    if task.bfloat16 or nn.Conv2d not in kinds or task.x.dim() != 4 or _norm_above_frozen(task.module):
        return False
    return nn.MaxPool2d in kinds or nn.GroupNorm not in kinds


def _norm_above_frozen(module: nn.Module) -> bool:
    """Whether a group norm is trained while some layer is not."""
    norms = [p for part in module.modules() if isinstance(part, nn.GroupNorm) for p in part.parameters()]
    frozen = any(not p.requires_grad for p in module.parameters())
    return frozen and any(p.requires_grad for p in norms)


def train_mode(module: nn.Module) -> None:
    """Training mode, but for frozen layers: a frozen batch norm must not move its statistics either."""
    module.train()
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            part.training = False  # not eval(): its children decide for themselves


def _batches(task: Task, m: int) -> list[tuple[Tensor, Tensor | None]]:
    """Rows of each step of model m, and which places of the batch they are (None: all of them)."""
    order = 0 if task.schedule.rows.shape[1] == 1 else m
    kept = torch.as_tensor(task.schedule.keep[:, m].copy(), device=task.device)
    rows = task.rows[:, order]
    if bool(kept.all()):
        return [(r, None) for r in rows.unbind()]
    return [(r[k], k) for r, k in zip(rows.unbind(), kept.unbind(), strict=True)]


def make_optimizer(parameters: Iterable[Tensor], fit: Fit, *, fused: bool = True) -> torch.optim.Optimizer:
    """The optimiser of `fit`, over those parameters that ask for a gradient.

    `fused`: one kernel a step, 12 to 24 % faster on small models. On a CPU torch's fused kernels read a gradient in the
    memory order of its parameter, and are silently wrong where the two differ. Autograd keeps them equal; whoever sets
    gradients by hand, as Opacus does, takes False.
    """
    trained = [p for p in parameters if p.requires_grad]
    plain = not fused or not all(p.is_floating_point() for p in trained)
    how: dict[str, bool] = {"foreach": True} if plain else {"fused": True}
    if fit.optimizer == "adamw":
        return torch.optim.AdamW(trained, fit.lr, (fit.momentum, 0.999), weight_decay=fit.weight_decay, **how)
    return torch.optim.SGD(trained, fit.lr, momentum=fit.momentum, weight_decay=fit.weight_decay, **how)
