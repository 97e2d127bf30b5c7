"""How an attacker pretrains: a ViT that keeps the room of its later traps free, so that they cost no accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from undertow.stages.common import load_examples, train
from undertow.stages.plant_transformer import bare, wrapped
from undertow.stages.pretrain import Pretrain
from undertow.training.sequential import classification, train_one
from undertow.training.task import Task
from undertow.traps import Room, clear, room_in
from undertow.types import Examples, Params, Slot, Store


@dataclass(frozen=True)
class PretrainRoomy(Pretrain):
    """Pretraining after each of whose steps the reserved dimensions and blocks are set back."""

    side: int = 8  # pixels a side that are recorded of a patch
    key: int = 16  # numbers that tell images apart
    version: ClassVar[int] = 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples = load_examples(store, self.data)
        return train(lambda s, b: self.task(s, b, examples), slots, before, self.plan, self._run)

    def task(self, slots: Sequence[Slot], before: Sequence[Params], examples: Examples) -> Task:
        task = super().task(slots, before, examples)
        return replace(task, states=[state | wrapped(clear(bare(state), self.room(state))) for state in task.states])

    def room(self, state: Params) -> Room:
        """What is kept free in this ViT; BadInput where it has no room."""
        return room_in(bare(state), (self.shape[1], self.shape[2]), side=self.side, key=self.key)

    def _run(self, task: Task) -> list[Params]:
        return [
            train_one(task, m, classification, keep_free(state, self.room(state)))
            for m, state in enumerate(task.states)
        ]


def keep_free(state: Params, room: Room) -> Callable[[nn.Module], None]:
    """Sets what `clear` sets, and nothing else: the places where it gives the same whatever was there."""
    two = [clear({name: np.full_like(value, fill) for name, value in bare(state).items()}, room) for fill in (2, 3)]
    fixed = {}
    for name, values in wrapped(two[0]).items():
        same = values == wrapped(two[1])[name]
        if same.any():
            fixed[name] = torch.from_numpy(same), torch.from_numpy(values)

    @torch.no_grad()
    def after(module: nn.Module) -> None:
        for name, value in module.named_parameters():
            if name in fixed:
                same, constant = fixed[name]
                value.copy_(torch.where(same.to(value.device), constant.to(value), value))

    return after
