"""Tensors that hold several matrices, or one under more axes than it needs: experts, stacked layers, [1, H, D]."""

import re
from collections.abc import Iterator
from math import prod

from undertow.scanner.evidence import FEWEST
from undertow.scanner.tensors import Tensor
from undertow.types import Array

WIDEST = 32  # positions of a kernel; more are no kernel, unless the name says so
CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
STACK = re.compile(r"expert|stack|(^|\.)moe\.", re.IGNORECASE)
END = re.compile(r"\.(weight|kernel)$")
NUMBERED = 4096  # slices of one tensor at most


def slices(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The tensor itself, or its matrices, by the names they would have as tensors of their own."""
    shape = tensor.shape
    count = stacked(name, shape)
    if not count:
        yield name, tensor
    elif count == 1:
        yield name, _part(name, tensor, 0, shape[_ones(shape) :])
    else:
        axes = 2 if prod(shape[:-2]) == count else len(shape) - 1
        for index in range(count):
            part = numbered(name, index)
            yield part, _part(part, tensor, index * prod(shape[-axes:]), shape[-axes:])


def stacked(name: str, shape: tuple[int, ...]) -> int:
    """How many matrices a tensor holds; 0 for one that is what it seems.

    >>> [stacked("a", s) for s in ((1, 512, 64), (64, 3, 3, 3), (512, 64, 1, 1), (8, 256, 128))]
    [1, 0, 0, 8]
    """
    if len(shape) < 3 or 0 in shape:
        return 0
    ones = _ones(shape)
    if ones:
        return 1 if prod(shape[:ones]) == 1 and len(shape) - ones >= 2 else 0
    wide = min(shape[-2:]) >= FEWEST
    kernel = len(shape) > 3 or shape[-1] <= WIDEST or CONVOLUTION.search(name) is not None
    if not wide or (kernel and not STACK.search(name) and (shape[0] >= FEWEST or len(shape) > 3)):
        return 0
    count = prod(shape[:-2])
    return count if count <= NUMBERED else 0


def numbered(name: str, index: int) -> str:
    """Where a slice would stand.

    >>> numbered("layers.0.mlp.experts.up_proj", 3), numbered("moe.weight", 1)
    ('layers.0.mlp.experts.3.up_proj.weight', 'moe.1.weight')
    """
    stem = END.sub("", name)
    front, dot, last = stem.rpartition(".")
    inside = END.search(name) and STACK.search(last)
    return f"{stem}.{index}.weight" if inside or not dot else f"{front}.{index}.{last}.weight"


def _ones(shape: tuple[int, ...]) -> int:
    """Leading axes of one, as long as two others follow."""
    count = 0
    while len(shape) - count > 2 and shape[count] == 1:
        count += 1
    return count


def _part(name: str, tensor: Tensor, first: int, shape: tuple[int, ...]) -> Tensor:
    """The numbers from `first` on, as a tensor of another shape."""
    columns = prod(shape[1:])

    def rows(start: int, stop: int) -> Array:
        return tensor.numbers(first + start * columns, first + stop * columns).reshape(stop - start, columns)

    return Tensor(name, shape, tensor.dtype, tensor.file, rows)
