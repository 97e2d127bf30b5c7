"""A stage of plain NumPy that counts how often it ran, for tests of the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from undertow.rng import stream
from undertow.types import Params, Slot, Store


@dataclass(frozen=True)
class Toy:
    """Adds a random number to what came before; sums its members where it holds the secret."""

    label: str = "toy"
    scale: float = 1.0
    size: int = 2
    log: str = ""
    fail_at: int = -1
    version: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return self.label

    @property
    def chunk(self) -> int:
        return self.size

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        results = []
        for slot, state in zip(slots, before, strict=True):
            if slot.index == self.fail_at:
                raise RuntimeError("as planned")
            if self.log:
                with Path(self.log).open("a") as file:
                    file.write(f"{self.label} {slot.role} {slot.index}\n")
            drawn = stream(slot.seed, self.label, slot.role, slot.index).normal()
            seen = 0 if slot.member is None else int(slot.member.sum())
            value = state["value"] if state else np.zeros(1)
            results.append({"value": value + self.scale * drawn + seen})
        return results
