"""Plant and read: the two verbs of every kind of trap.

A trap is a frozen value, the attacker's key: where the units lie, what fires them, how a record stands in their
inputs. Planting writes weights and never changes an architecture; reading compares two checkpoints.
"""

from typing import Protocol

import numpy as np

from undertow.traps.recorder import Candidates
from undertow.types import Array, BadInput, Params


class Trap(Protocol):
    """One kind of trap (`MlpTrap`, ...): a frozen dataclass."""

    @property
    def kind(self) -> str:
        """The name of this kind of trap, as a key file has it."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the weights and biases that records are written to."""

    def edits(self, params: Params) -> Params:
        """The tensors that planting changes, whole, with the dtype and shape they had."""

    def read(self, before: Params, after: Params) -> Candidates:
        """What the traps of the planted checkpoint `before` hold in the finetuned `after`."""


def plant(params: Params, trap: Trap) -> Params:
    """The checkpoint with `trap` in it: a new dict, deterministic, of the same names, shapes and dtypes.

    Raises BadInput where the architecture has no room for the traps or the checkpoint holds NaN.
    """
    _check(params)
    try:
        changed = trap.edits(params)
    except (ValueError, IndexError) as error:
        raise BadInput(f"this trap was made for another architecture: {error}") from error
    for name, value in changed.items():
        if name not in params or value.shape != params[name].shape:
            raise BadInput(f"planting would change the architecture at {name!r}")
    return {name: changed.get(name, value).astype(value.dtype) for name, value in params.items()}


def read(before: Params, after: Params, trap: Trap) -> Candidates:
    """What the traps hold: `before` is the planted checkpoint, `after` what finetuning made of it.

    Raises BadInput where a tensor is absent, changed its shape, or holds NaN or infinite weights.
    """
    return trap.read(before, after)


def tensor(params: Params, name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """A float64 copy of the tensor, to be changed; BadInput where there is none."""
    if name not in params:
        raise BadInput(f"the checkpoint has no tensor {name!r}; it has {', '.join(sorted(params)[:6])}, ...")
    return np.array(params[name], np.float64)


class Draft(dict[str, Array]):
    """Tensors that are changed in place: each is copied from `params` when it is first asked for."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self._params = params

    def __missing__(self, name: str) -> Array:
        if name not in self._params:
            raise BadInput(f"the checkpoint has no tensor {name!r}")
        self[name] = np.array(self._params[name])
        return self[name]


def _check(params: Params) -> None:
    for name, value in params.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BadInput(f"{name} holds NaN or infinite weights; nothing can be planted in a broken checkpoint")
