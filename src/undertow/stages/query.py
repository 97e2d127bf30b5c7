"""The last link: ask a model about the challenge points; and links joined into one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.special import log_softmax

from undertow.models.architecture import Architecture, Shape
from undertow.stages.common import tensor
from undertow.training.choose import Plan
from undertow.training.task import blocks, load_state, number_type, torch_threads
from undertow.types import Array, Params, Slot, Stage, Store


@dataclass(frozen=True)
class Query:
    """Outputs of each model on the same views of every challenge point, and its accuracy on test records.

    Result: `logits` (Q, A, C) float32; with test records also their `accuracy` () and `heldout_loss` () (mean, nats).
    """

    views: str  # store key of {"x": (Q, A, ...)}
    test: str  # store key of test examples; "" for none
    architecture: Architecture
    shape: Shape
    classes: int
    plan: Plan
    name: ClassVar[str] = "query"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        views = store.get(self.views)["x"]
        test = store.get(self.test) if self.test else None
        with torch_threads(self.plan.threads):
            return [self._ask(state, views, test) for state in before]

    def _ask(self, state: Params, views: Array, test: Params | None) -> Params:
        points, count = views.shape[:2]
        flat = views.reshape(points * count, *views.shape[2:])
        logits = self._logits(state, flat).reshape(points, count, -1).astype(np.float32)
        if test is None:
            return {"logits": logits}
        seen, y = self._logits(state, test["x"]), test["y"]
        loss = -log_softmax(seen.astype(float), -1)[np.arange(len(y)), y].mean()
        return {"logits": logits, "accuracy": np.asarray((seen.argmax(-1) == y).mean()), "heldout_loss": loss}

    @torch.no_grad()
    def _logits(self, state: Params, x: Array) -> Array:
        values = tensor(x, self.plan)
        module = self.architecture.build(self.shape, self.classes).to(values.device, number_type(values))
        load_state(module, state, number_type(values))
        module.eval()
        result: Array = torch.cat([module(block).float() for block in blocks(values)]).cpu().numpy()
        return result


@dataclass(frozen=True)
class Then:
    """Two links as one: only what comes out of the second is kept (logits rather than models)."""

    first: Stage
    second: Stage

    @property
    def name(self) -> str:
        return self.first.name

    @property
    def version(self) -> int:
        return self.first.version * 1000 + self.second.version

    @property
    def chunk(self) -> int:
        return self.first.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        return self.second(slots, self.first(slots, before, store), store)
