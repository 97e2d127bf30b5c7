"""The last link for language models: how likely a pretrained model finds the challenge texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy

from undertow.models.architecture import Architecture, Shape
from undertow.stages.common import tensor
from undertow.texts import next_tokens
from undertow.training.choose import Plan
from undertow.training.task import blocks, load_state, number_type, torch_threads
from undertow.types import IGNORED, Array, Params, Slot, Store


@dataclass(frozen=True)
class Likelihood:
    """Mean log-probability (nats per token) of the same views of every challenge text under each model.

    Result: `values` (Q, A) float32, higher = member; minus the loss the model was trained to make small. The first
    token of a text is not predicted.
    """

    views: str  # store key of {"x": (Q, A, L)} token ids
    architecture: Architecture  # of the objective "next-token"
    shape: Shape
    plan: Plan
    name: ClassVar[str] = "query"
    version: ClassVar[int] = 1
    classes: ClassVar[int] = 1  # numbers it answers for a view

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        views = store.get(self.views)["x"]
        with torch_threads(self.plan.threads):
            return [{"values": self._ask(state, views)} for state in before]

    @torch.no_grad()
    def _ask(self, state: Params, views: Array) -> Array:
        ids = tensor(views.reshape(-1, views.shape[-1]), self.plan)
        following = tensor(next_tokens(views).reshape(ids.shape), self.plan)
        module = self.architecture.build(self.shape, self.classes).to(ids.device)
        load_state(module, state, number_type(ids))
        module.eval()
        parts = [log_likelihood(module(x), y) for x, y in zip(blocks(ids), blocks(following), strict=True)]
        values: Array = torch.cat(parts).cpu().numpy().reshape(views.shape[:2])
        return values


def log_likelihood(logits: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Mean log-probability (B,) of the `following` tokens (B, L) under logits (B, V, L), IGNORED left out."""
    loss = cross_entropy(logits.float(), following, ignore_index=IGNORED, reduction="none")
    return -loss.sum(1) / (following != IGNORED).sum(1).clamp(min=1)
