"""From a CLIP to a classifier: its zero-shot logits as an image tower with a linear head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from undertow.models.architecture import Shape
from undertow.models.clip import PREFIX, Clip
from undertow.training.choose import Plan
from undertow.training.task import load_state, to_params, torch_threads
from undertow.types import Params, Slot, Store


@dataclass(frozen=True)
class ZeroShot:
    """Parameters of a `Clip` -> those of its `classifier()`, with the same logits.

    The head's weight is the scale times the embedded prompts, (K, D); its bias is zero. What finetuning does to it
    no longer concerns the text tower.
    """

    architecture: Clip
    shape: Shape
    plan: Plan
    name: ClassVar[str] = "zero-shot"
    version: ClassVar[int] = 1

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        with torch_threads(self.plan.threads):
            return [self._convert(state) for state in before]

    @torch.no_grad()
    def _convert(self, state: Params) -> Params:
        module = self.architecture.build(self.shape, self.architecture.classes)
        dtype = torch.float64 if self.plan.dtype == "float64" else torch.float32
        load_state(module.to(dtype), state, dtype)
        module.eval()
        weight = module.scale() * module.prompts()
        head = to_params({"head.weight": weight, "head.bias": torch.zeros_like(weight[:, 0])})
        towers = {name.removeprefix(PREFIX): value for name, value in state.items()}
        return {n: v for n, v in towers.items() if n.startswith(("vision_model.", "visual_projection."))} | head
