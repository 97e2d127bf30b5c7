"""What a victim may do to a checkpoint before finetuning it, knowing nothing of membership."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from undertow.engine.key import fingerprint
from undertow.rng import stream
from undertow.types import Array, ConfigError, Params, Slot, Store


@dataclass(frozen=True)
class Soften:
    """Blur what a poisoner wrote: `noise` on the weights, or their `average` with a parent that is trusted.

    `noise` adds Gaussian noise of `amount` standard deviations of each matrix or kernel to it (biases and norms stay).
    `average` is (1 - amount) * checkpoint + amount * parent, for every floating tensor. Tensors that hold the same
    values (a tied head) stay the same.
    """

    kind: Literal["noise", "average"]
    amount: float
    reference: str = ""  # average: store key of the parent's state dict
    name: ClassVar[str] = "soften"
    version: ClassVar[int] = 1
    chunk: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.amount < 0 or (self.kind == "average" and self.amount > 1):
            raise ConfigError(f"soften.amount = {self.amount}; noise is not negative, an average's share is 0 to 1")
        if (self.kind == "average") != bool(self.reference):
            raise ConfigError("soften: an average needs a parent (reference), noise has none")

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        if self.kind == "noise":
            return [self._noisy(slot, state) for slot, state in zip(slots, before, strict=True)]
        parent = store.get(self.reference)
        return [self._averaged(state, parent) for state in before]

    def _noisy(self, slot: Slot, state: Params) -> Params:
        first: dict[str, str] = {}  # content -> the name that draws
        out = dict(state)
        for name in _floating(state):
            weight = state[name]
            if weight.ndim < 2:
                continue
            who = first.setdefault(fingerprint(weight), name)
            drawn = stream(slot.seed, self.name, slot.role, slot.index, who).standard_normal(weight.shape)
            out[name] = (weight + self.amount * weight.std(dtype=float) * drawn).astype(weight.dtype)
        return out

    def _averaged(self, state: Params, parent: Params) -> Params:
        if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in parent.items()}:
            raise ConfigError("soften: the trusted parent is another model (names or shapes of its tensors differ)")
        return dict(state) | {name: self._between(state[name], parent[name]) for name in _floating(state)}

    def _between(self, own: Array, parent: Array) -> Array:
        mixed: Array = (1 - self.amount) * own.astype(float) + self.amount * parent.astype(float)
        return mixed.astype(own.dtype)


def _floating(state: Params) -> Iterable[str]:
    return [name for name, value in state.items() if np.issubdtype(value.dtype, np.floating)]
