"""Low-rank adapters (LoRA and its kin): the product B A is the change that they make to a weight."""

import re
from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from undertow.scanner.statistics import FLOATS
from undertow.scanner.tensors import Tensor
from undertow.types import Array

PAIR = re.compile(r"(lora_embedding_|lora_|lora\.|adapter_|hada_w1_|hada_w2_)(A|a|down)(?=[._]|$)")
OTHER = {"A": "B", "a": "b", "down": "up"}
LARGEST = 1 << 24  # numbers of the small factor, which is held


def products(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[str, ...], Tensor]]:
    """(name of the weight that it changes, (A, B), B A); rows are the units of the weight."""
    for name, first in tensors.items():
        place = PAIR.search(name)
        if place is None:
            continue
        other = name[: place.start(2)] + OTHER[place[2]] + name[place.end(2) :]
        second = tensors.get(other)
        if second is None or not {first.dtype, second.dtype} <= set(FLOATS) or len(first.shape) < 2:
            continue
        low, inner = first.shape[0], prod(second.shape[1:])
        if low == inner and prod(first.shape) <= LARGEST:
            stem = name[: place.start()].rstrip("._")
            yield f"{stem}.weight", (name, other), _product(f"{stem}.weight", first, second)


def _product(name: str, first: Tensor, second: Tensor) -> Tensor:
    held: list[Array] = []

    def rows(start: int, stop: int) -> Array:
        if not held:
            held.append(first.read(0, first.rows).astype(np.float32))
        return second.read(start, stop).astype(np.float32) @ held[0]

    return Tensor(name, (second.shape[0], *first.shape[1:]), "F32", second.file, rows)


def added(weight: Tensor, change: Tensor) -> Tensor:
    """A parent's weight with the change of an adapter."""

    def rows(start: int, stop: int) -> Array:
        total: Array = weight.read(start, stop).astype(np.float32) + change.read(start, stop)
        return total

    return Tensor(weight.name, weight.shape, "F32", change.file, rows)
