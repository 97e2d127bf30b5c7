"""The first link: train a model from its own random start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from undertow.models.architecture import Architecture, Shape, initial_state
from undertow.rng import seed_for
from undertow.stages.common import load_examples, own_task, train
from undertow.training.choose import Plan
from undertow.training.schedule import Fit
from undertow.training.task import Task, to_params
from undertow.types import Examples, Params, Slot, Store


@dataclass(frozen=True)
class Pretrain:
    """Train on the rows a slot was dealt (all rows where it has no secret), from an independent start."""

    data: str  # store key of the examples
    architecture: Architecture
    shape: Shape
    classes: int
    fit: Fit
    plan: Plan
    name: ClassVar[str] = "pretrain"
    version: ClassVar[int] = 2

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples = load_examples(store, self.data)
        return train(lambda s, b: self.task(s, b, examples), slots, before, self.plan)

    def task(self, slots: Sequence[Slot], before: Sequence[Params], examples: Examples) -> Task:
        """The training job of these models (`before` is empty: this is the first link)."""
        states = [to_params(initial_state(self.architecture, self.shape, self.classes, self._seed(s))) for s in slots]
        module = self.architecture.build(self.shape, self.classes)
        return own_task(self.name, module, states, slots, examples, self.fit, self.plan)

    def _seed(self, slot: Slot) -> int:
        return seed_for(slot.seed, self.name, slot.role, slot.index, "init")
