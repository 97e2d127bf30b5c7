"""Contrastive training of image and text towers (Radford et al. 2021), one model after the other."""

from typing import Any

from torch import Tensor, nn

from undertow.training.sequential import train_one
from undertow.training.task import Task
from undertow.types import Params


def contrastive(task: Task) -> list[Params]:
    """Train each model of the task on image-caption pairs: `task.y` are captions; final state dicts.

    The module answers `contrastive(images, captions)` with a loss per pair; a batch's negatives are its own.
    """
    return [train_one(task, m, _loss) for m in range(len(task))]


def _loss(task: Task, module: nn.Module, batch: Tensor, rows: Tensor) -> Tensor:
    with task.products():
        pairs: Any = module
        losses: Tensor = pairs.contrastive(batch, task.y[rows])
    return losses.to(task.dtype).mean()
