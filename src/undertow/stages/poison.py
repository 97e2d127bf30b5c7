"""The link an attacker adds: change a checkpoint before it is published (Wen et al. 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from undertow.engine.key import digest, stage_digest
from undertow.models.architecture import Architecture, Shape
from undertow.rng import seed_for, stream
from undertow.stages.common import load_examples, tensor
from undertow.training.choose import Plan
from undertow.training.objective import Objective
from undertow.training.poison import Batches, Diverged, poison, random_labels
from undertow.training.task import torch_threads
from undertow.types import ConfigError, Params, Slot, Store


@dataclass(frozen=True)
class Poison:
    """Train each model on towards the objective; with its direction "none": the benign control, of as many steps.

    The auxiliary batches are the same in all arms. Raises ConfigError where training diverges, naming the store key
    under which the last good weights are kept.
    """

    auxiliary: str  # store key of ordinary examples
    targets: str  # store key of the targeted examples
    architecture: Architecture
    shape: Shape
    classes: int
    objective: Objective
    plan: Plan
    name: ClassVar[str] = "poison"
    version: ClassVar[int] = 1

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        with torch_threads(self.plan.threads):
            return [self._one(slot, state, store) for slot, state in zip(slots, before, strict=True)]

    def _one(self, slot: Slot, state: Params, store: Store) -> Params:
        module = self.architecture.build(self.shape, self.classes).to(self.plan.device)
        seed = seed_for(slot.seed, self.name, slot.role, slot.index, "layers")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                auxiliary, targets = (self._batches(slot, kind, store) for kind in ("auxiliary", "targets"))
                return poison(module, state, auxiliary, targets, self.objective)
            except Diverged as error:
                key = digest([stage_digest(self), seed, "last good"])
                store.put(key, error.good)
                raise ConfigError(
                    f"{error}: the loss or a weight is not finite; the last good weights, of step {error.steps}, are "
                    f"kept in the store as {key[:12]}; lower poison.lr, poison.target_weight or poison.cap"
                ) from error

    def _batches(self, slot: Slot, kind: str, store: Store) -> Batches:
        examples = load_examples(store, self.auxiliary if kind == "auxiliary" else self.targets)
        y = examples.y.astype(np.int64)
        if kind == "targets" and self.objective.direction == "random-label":
            y = random_labels(y, self.classes, stream(slot.seed, self.name, "random labels"))
        rng = stream(slot.seed, self.name, slot.role, slot.index, kind)
        return Batches(tensor(examples.x, self.plan), tensor(y, self.plan), rng)
