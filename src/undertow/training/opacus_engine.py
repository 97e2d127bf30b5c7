"""DP-SGD on any module, one model after the other, through Opacus (Yousefpour et al. 2021, arXiv:2109.12298).

Per-record gradients by hooks; clipping, noise and the division by the expected batch are Opacus's own.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from undertow.training.privacy import Noise
from undertow.training.sequential import make_optimizer, train_mode
from undertow.training.task import Task, load_state, to_params
from undertow.types import IGNORED, ConfigError, MissingExtra, Params


def opacus_sgd(task: Task, noise: Noise) -> list[Params]:
    """Train each model of the task by DP-SGD over its schedule (Poisson batches); final state dicts.

    Noise is drawn per model from a generator seeded by `task.noise`; an empty batch takes a step of noise alone.
    Raises ConfigError for a module whose records do not stay apart, MissingExtra without Opacus.
    """
    return [_train_one(task, m, noise) for m in range(len(task))]


def _train_one(task: Task, m: int, noise: Noise) -> Params:
    module = copy.deepcopy(task.module).to(device=task.device, dtype=task.dtype)  # Opacus leaves hooks behind
    load_state(module, task.states[m], task.dtype)
    x = task.x[m] if task.own_x else task.x
    with _quiet_hooks(), torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        model, optimizer = _private(module, task, noise, int(task.noise[m]().integers(2**63)))
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        torch.manual_seed(task.torch_seeds[m])
        for rows, lr in zip(_batches(task, m), task.schedule.lr.tolist(), strict=True):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.zero_grad(set_to_none=True)
            if len(rows):
                sum_of_records(model(x[rows]), task.y[rows]).backward()
                _check_apart(trained, len(rows))
            else:
                for _, parameter in trained:
                    parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
            optimizer.step()
    return to_params(module.state_dict())


def sum_of_records(logits: Tensor, y: Tensor) -> Tensor:
    """The sum over records of the loss of each: of texts, the mean over the tokens that are predicted.

    So each gradient that is clipped belongs to one record, whatever its length.
    """
    if y.dim() == 1:
        return cross_entropy(logits, y, reduction="sum")
    losses = cross_entropy(logits, y, ignore_index=IGNORED, reduction="none").sum(1)
    return (losses / (y != IGNORED).sum(1).clamp(min=1)).sum()


def _private(module: nn.Module, task: Task, noise: Noise, seed: int) -> tuple[nn.Module, Any]:
    """`module` recording per-record gradients, and its optimiser that clips them and adds noise drawn from `seed`."""
    try:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer
        from opacus.validators import ModuleValidator
    except ImportError as error:
        raise MissingExtra("opacus", "dp") from error
    problems = [*ModuleValidator.validate(module.train()), *GradSampleModule.validate(module)]
    train_mode(module)
    if any(isinstance(part, _BatchNorm) and part.training for part in module.modules()):
        raise ConfigError(
            "DP-SGD cannot train batch norm, which mixes the records of a batch: use group norm "
            "(model.norm = 'group'), or strategy = 'linear' or 'lora', which leave it as it is"
        )
    if problems:
        raise ConfigError(f"Opacus cannot train this model: {str(problems[0]).splitlines()[0]}")
    model = GradSampleModule(module, loss_reduction="sum")  # of the loss; the optimiser divides
    optimizer = DPOptimizer(
        make_optimizer(module.parameters(), task.fit, fused=False),
        noise_multiplier=noise.multiplier,
        max_grad_norm=noise.clip,
        expected_batch_size=noise.rate * task.records,
        generator=torch.Generator(task.device).manual_seed(seed),
    )
    return model, optimizer


def _check_apart(trained: Iterable[tuple[str, nn.Parameter]], records: int) -> None:
    """Every trained parameter has one gradient per record; else clipping would not bound what one record does."""
    for name, parameter in trained:
        sample = parameter.grad_sample  # type: ignore[attr-defined]
        if sample is None:
            raise ConfigError(f"DP-SGD: {name} takes no part in the model's output; remove it from the model")
        if len(sample) != records:
            raise ConfigError(
                f"DP-SGD: {name} has {len(sample)} gradients for {records} records; give its layer inputs with a "
                "batch axis (transformers: explicit position_ids of shape (batch, length)), or use strategy = 'lora'"
            )


def _batches(task: Task, m: int) -> Iterator[Tensor]:
    """Rows of each step of model m; some may be empty."""
    order = 0 if task.schedule.rows.shape[1] == 1 else m
    kept = torch.as_tensor(task.schedule.keep[:, m].copy(), device=task.device)
    for rows, here in zip(task.rows[:, order].unbind(), kept.unbind(), strict=True):
        yield rows[here]


@contextmanager
def _quiet_hooks() -> Iterator[None]:
    """Opacus hooks fire where the inputs need no gradient, as they should; torch warns of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*backward hook.*", category=UserWarning)
        yield
