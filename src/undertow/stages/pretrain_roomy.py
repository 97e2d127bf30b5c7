"""How an attacker pretrains: a ViT that keeps the room of its later traps free, so that they cost no accuracy."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from undertow.models.architecture import head_name
from undertow.stages.common import load_examples, train
from undertow.stages.plant_transformer import bare, wrapped
from undertow.stages.pretrain import Pretrain
from undertow.stages.strategies import features
from undertow.training.sequential import classification, train_one
from undertow.training.task import Task
from undertow.traps import Room, clear, room_in, scaled
from undertow.types import Examples, Params, Slot, Store

SPREAD = 1.0  # standard deviation of the features that the head reads, as a usual last norm leaves it
TRAINED = 0.1  # the last norm's gain while it is trained
MEASURED = 1000  # records that it is measured on, at most
BLOCK = re.compile(r"vit\.layers\.(\d+)\.(.*)")


@dataclass(frozen=True)
class PretrainRoomy(Pretrain):
    """Pretraining after each of whose steps the reserved dimensions are set back, without the blocks that are given up.

    The last norm of a model with room is linear, so that nothing bounds its features; at the end they are brought to
    `SPREAD`, so that a head learns at usual step sizes, and the benign part of the trap's channel stays small.
    """

    side: int = 8  # pixels a side that are recorded of a patch
    key: int = 16  # numbers that tell images apart
    version: ClassVar[int] = 3

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples = load_examples(store, self.data)
        short = train(lambda s, b: self.task(s, b, examples), slots, before, self.plan, self._run)
        x = torch.from_numpy(examples.x[:MEASURED])
        room = replace(self.room, gain=Room.gain)
        return [self._standard(wrapped(complete(bare(state), room)), room, x) for state in short]

    @property
    def room(self) -> Room:
        """What is kept free in this ViT while it is trained; BadInput where it has no room."""
        module = self.architecture.build(self.shape, self.classes)
        state = {name: value.numpy() for name, value in module.state_dict().items()}
        return room_in(bare(state), (self.shape[1], self.shape[2]), side=self.side, key=self.key, gain=TRAINED)

    def task(self, slots: Sequence[Slot], before: Sequence[Params], examples: Examples) -> Task:
        task, room = super().task(slots, before, examples), self.room
        states = [wrapped(benign(clear_all(bare(state), room), room)) for state in task.states]
        module = deepcopy(task.module)
        vit = module.get_submodule("model.vit")
        vit.layers = vit.layers[2 : room.blocks - 1]  # type: ignore[index]
        return replace(task, module=module, states=states)

    def _run(self, task: Task) -> list[Params]:
        return [train_one(task, m, classification, keep_free(state, self.room)) for m, state in enumerate(task.states)]

    def _standard(self, state: Params, room: Room, x: torch.Tensor) -> Params:
        """The same function, with features of the usual size."""
        module = self.architecture.build(self.shape, self.classes)
        head = head_name(module)
        seen = features(module, state, head, x).numpy()[:, room.features]
        factor = SPREAD / float(seen.std(0).mean())
        state = {**state, **wrapped(scaled(bare(state), room, factor))}
        return {**state, f"{head}.weight": (state[f"{head}.weight"] / factor).astype(np.float32)}


def clear_all(params: Params, room: Room) -> Params:
    """All tensors, with the room kept free."""
    return {**params, **clear(params, room)}


def benign(params: Params, room: Room) -> Params:
    """A cleared ViT without the blocks that are given up: the same features, and nothing on the channel."""
    kept = {}
    for name, value in params.items():
        found = BLOCK.match(name)
        if found is None:
            kept[name] = value
        elif 2 <= int(found[1]) < room.blocks - 1:
            kept[f"vit.layers.{int(found[1]) - 2}.{found[2]}"] = value
    last = f"vit.layers.{room.blocks - 4}.mlp.fc2.bias"
    kept[last] = kept[last].copy()
    kept[last][room.right] = room.end
    for name in ("vit.layernorm.weight", "vit.layernorm.bias"):
        kept[name] = kept[name].copy()
        kept[name][room.channel] = 0
    return kept


def complete(params: Params, room: Room) -> Params:
    """What `benign` made shorter, at full length."""
    full = {}
    for name, value in params.items():
        found = BLOCK.match(name)
        full[f"vit.layers.{int(found[1]) + 2}.{found[2]}" if found else name] = value
        if found and found[1] == "0":
            full |= {f"vit.layers.{i}.{found[2]}": np.zeros_like(value) for i in (0, 1, room.blocks - 1)}
    return clear_all(full, room)


def keep_free(state: Params, room: Room) -> Callable[[nn.Module], None]:
    """Sets what `clear` sets, and nothing else: the places where it gives the same whatever was there."""
    full = complete(bare(state), room)
    two = [
        wrapped(benign(clear_all({name: np.full_like(value, fill) for name, value in full.items()}, room), room))
        for fill in (2, 3)
    ]
    fixed = {}
    for name, values in two[0].items():
        same = values == two[1][name]
        if same.any():
            fixed[name] = torch.from_numpy(same), torch.from_numpy(values)

    @torch.no_grad()
    def after(module: nn.Module) -> None:
        for name, value in module.named_parameters():
            if name in fixed:
                same, constant = fixed[name]
                value.copy_(torch.where(same.to(value.device), constant.to(value), value))

    return after
