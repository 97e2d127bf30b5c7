"""One model after the other: any `nn.Module`, data resident, no loader. The reference for every engine."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from undertow.training.schedule import Fit
from undertow.training.task import Task, load_state, to_params
from undertow.types import Params


def sequential(task: Task) -> list[Params]:
    """Train each model of the task by its schedule; final state dicts (parameters and buffers)."""
    return [_train_one(task, m) for m in range(len(task))]


def _train_one(task: Task, m: int) -> Params:
    module = task.module
    module.to(device=task.device, dtype=task.dtype)
    load_state(module, task.states[m], task.dtype)
    x = task.x[m] if task.own_x else task.x
    schedule, rng = task.schedule, task.noise[m]()
    order = 0 if schedule.rows.shape[1] == 1 else m
    kept = schedule.keep[:, m]
    whole = bool(kept.all())
    optimizer = make_optimizer(module, task.fit)
    module.train()
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        torch.manual_seed(task.torch_seeds[m])
        for s in range(schedule.steps):
            rows = task.rows[s, order]
            batch = x[rows]
            if task.fit.jitter:
                batch = batch + task.draw_jitter(rng, batch.shape)
            labels = task.y[rows]
            if not whole:
                chosen = torch.as_tensor(kept[s].nonzero()[0], device=task.device)
                batch, labels = batch[chosen], labels[chosen]
            for group in optimizer.param_groups:
                group["lr"] = float(schedule.lr[s])
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(module(batch), labels, reduction="sum") / max(len(labels), 1)
            loss.backward()
            optimizer.step()
    return to_params(module.state_dict())


def make_optimizer(module: nn.Module, fit: Fit) -> torch.optim.Optimizer:
    """The optimiser of `fit`, over the parameters that ask for a gradient."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if fit.optimizer == "adamw":
        betas = (fit.momentum, 0.999)
        return torch.optim.AdamW(trained, fit.lr, betas=betas, weight_decay=fit.weight_decay, fused=True)
    return torch.optim.SGD(
        trained, fit.lr, momentum=fit.momentum, weight_decay=fit.weight_decay, foreach=True
    )
