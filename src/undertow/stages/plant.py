"""The link an attacker adds: write data traps into a checkpoint (Feng & Tramer, ICML 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undertow.models.architecture import Architecture, Mlp, Shape, head_name
from undertow.rng import stream
from undertow.stages.common import load_examples, tensor
from undertow.training.choose import Plan
from undertow.training.task import blocks, load_state, torch_threads
from undertow.traps import MlpTrap, Whisper, mlp_trap, plant
from undertow.types import Array, BadInput, Params, Slot, Store


@dataclass(frozen=True)
class Plant:
    """Traps in a dense layer whose ReLU feeds another one that is not the head: the first such layer, or a deeper one.

    Thresholds are set on the auxiliary records alone. What the layer reads are the records themselves (a perceptron)
    or the features below it (a CNN with dense layers, a deeper layer).
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
    layer: int = 0  # which of the layers that have room
    crafted: bool = False  # the head too, for a victim who keeps it
    name: ClassVar[str] = "plant"
    version: ClassVar[int] = 4
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        return [plant(state, self.trap(slot, state, store)) for slot, state in zip(slots, before, strict=True)]

    def trap(self, slot: Slot, state: Params, store: Store) -> MlpTrap:
        """The key of what is planted in the checkpoint `state`: the same from the same, whenever it is asked for."""
        module = self.architecture.build(self.shape, self.classes)
        layer, following = trapped_layers(module, self.layer)
        below = dense_below(module, layer) if self.stacked else ()
        auxiliary = load_examples(store, self.auxiliary)
        inputs = self.inputs(state, auxiliary.x)
        head = head_above(module, following) if self.crafted else ""
        rng = stream(slot.seed, self.name, slot.role, slot.index, "baits")
        return mlp_trap(
            state, inputs, self.traps, self.share, rng,
            layer=layer, following=following, slope=self.slope, rows=self.rows, nested=self.nested,
            whisper=self.whisper, rate=self.rate, below=below, head=head, labels=auxiliary.y if head else None,
        )  # fmt: skip

    @property
    def stacked(self) -> bool:
        """Whether there is nothing but dense layers below the traps, so that records are read and not features."""
        return isinstance(self.architecture, Mlp)

    def inputs(self, state: Params, x: Array) -> Array:
        """What the traps hold of the records `x` (N, ...) in the checkpoint `state`: (N, D) float64.

        The records themselves, or what the trapped layer reads where other than dense layers are below it.
        """
        if self.stacked:
            return np.asarray(x, np.float64).reshape(len(x), -1)
        module = self.architecture.build(self.shape, self.classes)
        layer = trapped_layers(module, self.layer)[0]
        values = tensor(x, self.plan)
        load_state(module.to(values.device), state, values.dtype)
        with torch_threads(self.plan.threads):
            return layer_inputs(module.eval(), layer, values)


def trapped_layers(module: nn.Module, which: int = 0) -> tuple[str, str]:
    """The names of the layer that gets the traps and of the one that it feeds; BadInput where there is no room.

    `which`: of the layers that have room, in the order of the module.
    """
    head = head_name(module)
    dense = [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and name != head]
    fits = [
        (layer, following)
        for layer, following in pairwise(dense)
        if module.get_submodule(following).in_features == module.get_submodule(layer).out_features
    ]
    if which < len(fits):
        return fits[which]
    raise BadInput(
        f"this architecture has no room for data traps: they need {which + 2} dense layers with ReLU below the head, "
        f"and it has {len(dense)}"
    )


def head_above(module: nn.Module, following: str) -> str:
    """The name of the head, which must be right above the layer `following`; BadInput where it is not."""
    head = head_name(module)
    dense = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    if dense.index(head) != dense.index(following) + 1:
        raise BadInput(f"a head is crafted for traps right below it; {following!r} is not: raise traps.layer")
    return head


def dense_below(module: nn.Module, layer: str) -> tuple[str, ...]:
    """The names of the dense layers before `layer`, in the order of the module."""
    dense = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    return tuple(dense[: dense.index(layer)])


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
