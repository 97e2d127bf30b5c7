"""The first link of a CLIP: train both towers on image-caption pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from undertow.models.architecture import Shape, initial_state
from undertow.models.clip import Clip
from undertow.rng import seed_for
from undertow.stages.common import load_examples, own_task, train
from undertow.training.choose import Plan
from undertow.training.contrastive import contrastive
from undertow.training.schedule import Fit
from undertow.training.task import Task, to_params
from undertow.types import Examples, Params, Slot, Store


@dataclass(frozen=True)
class PretrainClip:
    """Contrastive training on the pairs a slot was dealt (all where it has no secret), labels being captions.

    A model begins from what came before, or, where nothing did, from a random start of its own.
    """

    data: str  # store key of the pairs: x images, y places in the architecture's table of captions
    architecture: Clip
    shape: Shape
    fit: Fit
    plan: Plan  # engine "sequential"
    name: ClassVar[str] = "pretrain-clip"
    version: ClassVar[int] = 1

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples = load_examples(store, self.data)
        return train(lambda s, b: self.task(s, b, examples), slots, before, self.plan, contrastive)

    def task(self, slots: Sequence[Slot], before: Sequence[Params], examples: Examples) -> Task:
        """The training job of these models, starting from `before` ({}: at random)."""
        states = [state or self._start(slot) for slot, state in zip(slots, before, strict=True)]
        module = self.architecture.build(self.shape, self.architecture.classes)
        return own_task(self.name, module, states, slots, examples, self.fit, self.plan)

    def _start(self, slot: Slot) -> Params:
        seed = seed_for(slot.seed, self.name, slot.role, slot.index, "init")
        return to_params(initial_state(self.architecture, self.shape, self.architecture.classes, seed))
