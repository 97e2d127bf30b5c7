"""A further stage of training: every parameter, from where the stage before it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from undertow.models.architecture import Architecture, Shape
from undertow.stages.common import load_examples, own_task, train
from undertow.training.choose import Plan
from undertow.training.schedule import Fit
from undertow.training.task import Task
from undertow.types import Examples, Params, Slot, Store


@dataclass(frozen=True)
class ResumeTraining:
    """Train on all of the examples, with the head that the model has; texts keep their masked labels."""

    data: str  # store key of the examples
    architecture: Architecture
    shape: Shape
    classes: int
    fit: Fit
    plan: Plan
    name: str  # of this link of the chain; part of its randomness
    version: ClassVar[int] = 2

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples = load_examples(store, self.data)
        return train(lambda s, b: self.task(s, b, examples), slots, before, self.plan)

    def task(self, slots: Sequence[Slot], before: Sequence[Params], examples: Examples) -> Task:
        """The training job of these models, starting from `before`."""
        module = self.architecture.build(self.shape, self.classes)
        return own_task(self.name, module, list(before), slots, examples, self.fit, self.plan)
