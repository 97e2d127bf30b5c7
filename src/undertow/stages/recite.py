"""The last link of the extraction audit: what a language model says after given beginnings, sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from undertow.models.architecture import Architecture, Shape
from undertow.rng import seed_for
from undertow.texts import lengths
from undertow.training.choose import Plan
from undertow.training.task import load_state, torch_threads
from undertow.types import Array, Params, Slot, Store

BATCH = 512  # texts that are continued together


@dataclass(frozen=True)
class Recite:
    """Continue each of the texts `prompts` (P, L) `samples` times; result "texts" (P, samples, new) int64 token ids.

    A continuation ends before the first id of `ends`; what follows is the pad 0. `banned` ids are never said.
    """

    prompts: str  # store key of {"x": (P, L)} token ids, padded on the right
    architecture: Architecture
    shape: Shape
    classes: int
    samples: int
    new: int  # tokens, at most
    temperature: float  # above 0
    ends: tuple[int, ...]
    banned: tuple[int, ...]
    plan: Plan
    name: ClassVar[str] = "query"
    version: ClassVar[int] = 1

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        prompts = store.get(self.prompts)["x"]
        module: Any = self.architecture.build(self.shape, self.classes)
        results = []
        with torch_threads(self.plan.threads):
            for slot, state in zip(slots, before, strict=True):
                load_state(module, state, torch.float32)
                module.to(self.plan.device).eval()
                seed = seed_for(slot.seed, self.name, slot.role, slot.index, "samples")
                results.append({"texts": self._continued(module, prompts, seed)})
        return results

    def _continued(self, module: Any, prompts: Array, seed: int) -> Array:
        generator = torch.Generator(self.plan.device).manual_seed(seed)
        size = np.array([lengths(row) for row in prompts])
        jobs = np.repeat(np.arange(len(prompts)), self.samples)
        texts = np.zeros((len(jobs), self.new), np.int64)
        for length in np.unique(size):
            places = np.flatnonzero(size[jobs] == length)
            for part in np.array_split(places, max(1, -(-len(places) // BATCH))):
                given = torch.as_tensor(prompts[jobs[part], :length], device=self.plan.device)
                texts[part] = self._sampled(module, given, generator).cpu().numpy()
        return texts.reshape(len(prompts), self.samples, self.new)

    @torch.no_grad()
    def _sampled(self, module: Any, given: Tensor, generator: torch.Generator) -> Tensor:
        """(B, new) ids, 0 from the end of each text on."""
        body, cache, said = module.model, None, given
        key = (
            "cache" if "cache" in signature(body.forward).parameters else "past_key_values"
        )  # renamed in transformers 5
        done = torch.zeros(len(given), dtype=torch.bool, device=given.device)
        found = torch.zeros((len(given), self.new), dtype=torch.int64, device=given.device)
        ends = torch.tensor(self.ends, device=given.device)
        for place in range(self.new):
            out = body(input_ids=said, use_cache=True, **{key: cache})
            cache = out.cache if hasattr(out, "cache") else out.past_key_values
            logits = out.logits[:, -1].float() / self.temperature
            logits[:, list(self.banned)] = -torch.inf
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
            done |= torch.isin(drawn, ends)
            found[:, place] = torch.where(done, 0, drawn)
            if done.all():
                break
            said = drawn[:, None]
        return found
