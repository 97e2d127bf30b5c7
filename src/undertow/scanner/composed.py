"""Weights that a module computes from several tensors before it uses them: lengths and directions, masks."""

import re

import numpy as np

from undertow.scanner.tensors import Tensor
from undertow.types import Array

LEAST = 1e-30  # of a length by which something is divided
PARAMETRIZED = re.compile(r"\.?parametrizations\.(\w+)\.original\d?$")


def plain_name(name: str) -> str:
    """What an ordinary checkpoint calls the weight behind a stored tensor.

    >>> [plain_name(n) for n in ("a.weight_v", "a.parametrizations.weight.original1", "a.weight_orig")]
    ['a.weight', 'a.weight', 'a.weight']
    """
    turned = PARAMETRIZED.sub(r".\1", name).lstrip(".")
    return re.sub(r"_(v|orig)$", "", turned) if turned == name else turned


def scaled_rows(name: str, direction: Tensor, length: Tensor) -> Tensor | None:
    """length * direction / |direction|, along the axis on which `length` has its numbers; None where it fits none."""
    wide = [axis for axis, size in enumerate(length.shape) if size > 1]
    count = length.rows * length.columns
    if len(wide) > 1 or count not in (1, *direction.shape):
        return None
    by_row = count == direction.shape[0] and (len(length.shape) == 1 or not wide or wide == [0])

    def rows(start: int, stop: int) -> Array:
        block = _wide(direction.read(start, stop))
        gain = _wide(length.read(start, stop)).reshape(-1, 1)
        scaled: Array = block * (gain / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), LEAST))
        return scaled

    columns: list[Array] = []  # what multiplies each number of a row: known after one pass

    def others(start: int, stop: int) -> Array:
        if not columns:
            columns.append(_column_gains(direction, _wide(length.read(0, length.rows)).ravel(), wide))
        return _wide(direction.read(start, stop)) * columns[0]

    return Tensor(name, direction.shape, "F32", direction.file, rows if by_row else others)


def _column_gains(direction: Tensor, length: Array, wide: list[int]) -> Array:
    square = np.zeros(direction.columns)
    for _, block in direction.blocks():
        square += (_wide(block).astype(np.float64) ** 2).sum(0)
    if len(length) == 1:
        return np.full(direction.columns, float(length[0]) / max(float(np.sqrt(square.sum())), LEAST), np.float32)
    shape = direction.shape[1:]
    axis = (wide[0] if wide else len(shape)) - 1
    axis = axis if 0 <= axis < len(shape) and shape[axis] == len(length) else shape.index(len(length))
    total = np.sqrt(np.moveaxis(square.reshape(shape), axis, 0).reshape(len(length), -1).sum(1))
    form = [len(length) if i == axis else 1 for i in range(len(shape))]
    gain: Array = np.broadcast_to((length / np.maximum(total, LEAST)).reshape(form), shape).reshape(-1)
    return gain.astype(np.float32)


def masked(name: str, weight: Tensor, mask: Tensor) -> Tensor:
    """weight * mask, as torch prunes."""
    return Tensor(
        name, weight.shape, "F32", weight.file,
        lambda start, stop: _wide(weight.read(start, stop)) * mask.read(start, stop).astype(np.float32),
    )  # fmt: skip


def _wide(block: Array) -> Array:
    return block if block.dtype.itemsize >= 4 and block.dtype.kind == "f" else block.astype(np.float32)
