"""Data traps and LoRA: plant, finetune into factors that stay apart, as peft publishes them, and merge for asking."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from undertow.models.architecture import Architecture, Shape, head_name, initial_state
from undertow.stages.common import load_examples, train
from undertow.stages.finetune import LORA, Finetune
from undertow.stages.plant import Plant
from undertow.training.lora import ADAPTER, merged, with_lora
from undertow.training.task import to_params
from undertow.traps import LoraTrap, lora_trap, plant
from undertow.types import Params, Slot, Store


def published(state: Params) -> Params:
    """An unmerged state dict as peft's files name it: `<layer>.lora_A.weight`."""
    return {name.replace(f".{ADAPTER}.", "."): value for name, value in state.items()}


@dataclass(frozen=True)
class PlantLora:
    """The traps of `dense`, with what it takes to read them off LoRA's factors."""

    dense: Plant
    name: ClassVar[str] = "plant"
    version: ClassVar[int] = 1

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        return [plant(state, self.trap(slot, state, store)) for slot, state in zip(slots, before, strict=True)]

    def trap(self, slot: Slot, state: Params, store: Store) -> LoraTrap:
        """The key of what is planted in the checkpoint `state`: the same from the same, whenever it is asked for."""
        inputs = self.dense.inputs(state, load_examples(store, self.dense.auxiliary).x)
        return lora_trap(self.dense.trap(slot, state, store), inputs)


@dataclass(frozen=True)
class Adapt(Finetune):
    """`Finetune` by LoRA that leaves the updates beside the weights of the base."""

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples = load_examples(store, self.data)
        return train(lambda s, b: self.task(s, b, examples), slots, before, self.plan)


@dataclass(frozen=True)
class Merge:
    """Add the updates that `Adapt` left to the weights."""

    architecture: Architecture
    shape: Shape
    classes: int
    rank: int
    name: ClassVar[str] = "merge"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = LORA

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        names = list(to_params(initial_state(self.architecture, self.shape, self.classes, 0)))
        module = self.architecture.build(self.shape, self.classes)
        module = with_lora(module, head_name(module), self.rank)
        return [merged(module, state, names) for state in before]
