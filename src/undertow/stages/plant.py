"""The link an attacker adds: write data traps into a checkpoint (Feng & Tramer, ICML 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undertow.models.architecture import Architecture, Shape, head_name
from undertow.rng import stream
from undertow.stages.common import load_examples, tensor
from undertow.training.choose import Plan
from undertow.training.task import blocks, load_state, torch_threads
from undertow.traps import MlpTrap, Whisper, mlp_trap, plant
from undertow.types import Array, BadInput, Params, Slot, Store


@dataclass(frozen=True)
class Plant:
    """Traps in the first dense layer whose ReLU feeds a second one that is not the head.

    Thresholds are set on the auxiliary records alone. What the layer reads are the records themselves (a perceptron)
    or the features below it (a CNN with dense layers).
    """

    auxiliary: str  # store key of records that no victim has
    architecture: Architecture
    shape: Shape
    classes: int
    traps: int
    share: float  # of all records, that fire a trap
    nested: float
    slope: float
    rows: float
    rate: float  # the victim's learning rate over its batch; 0: slope and rows are as given
    plan: Plan
    whisper: Whisper | None = None  # for victims that use Adam
    name: ClassVar[str] = "plant"
    version: ClassVar[int] = 3

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        return [plant(state, self.trap(slot, state, store)) for slot, state in zip(slots, before, strict=True)]

    def trap(self, slot: Slot, state: Params, store: Store) -> MlpTrap:
        """The key of what is planted in the checkpoint `state`: the same from the same, whenever it is asked for."""
        layer, following = trapped_layers(self.architecture.build(self.shape, self.classes))
        inputs = self.inputs(state, load_examples(store, self.auxiliary).x)
        rng = stream(slot.seed, self.name, slot.role, slot.index, "baits")
        return mlp_trap(
            state, inputs, self.traps, self.share, rng,
            layer=layer, following=following, slope=self.slope, rows=self.rows, nested=self.nested,
            whisper=self.whisper, rate=self.rate,
        )  # fmt: skip

    def inputs(self, state: Params, x: Array) -> Array:
        """What the trapped layer reads of the records `x` (N, ...) in the checkpoint `state`: (N, D) float64."""
        module = self.architecture.build(self.shape, self.classes)
        layer = trapped_layers(module)[0]
        values = tensor(x, self.plan)
        load_state(module.to(values.device), state, values.dtype)
        with torch_threads(self.plan.threads):
            return layer_inputs(module.eval(), layer, values)


def trapped_layers(module: nn.Module) -> tuple[str, str]:
    """The names of the layer that gets the traps and of the one that it feeds; BadInput where there is no room."""
    head = head_name(module)
    dense = [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and name != head]
    for layer, following in pairwise(dense):
        if module.get_submodule(following).in_features == module.get_submodule(layer).out_features:
            return layer, following
    raise BadInput(
        f"this architecture has no room for data traps: they need two dense layers with ReLU below the head, and "
        f"it has {len(dense)}"
    )


@torch.no_grad()
def layer_inputs(module: nn.Module, layer: str, x: Tensor) -> Array:
    """What the module's `layer` reads when the module sees `x` (N, ...): (N, D) float64."""
    seen: list[Tensor] = []
    hook = module.get_submodule(layer).register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(1)))
    try:
        for block in blocks(x):
            module(block)
    finally:
        hook.remove()
    return torch.cat(seen).cpu().numpy().astype(np.float64)
