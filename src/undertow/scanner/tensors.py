"""What a scan reads: the tensors of a checkpoint, in blocks of rows, so that memory does not grow with the file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from undertow.types import Array, Params

BLOCK_BYTES = 1 << 20  # of one block as float32; with 4 MiB every block's memory is mapped anew, a third slower


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor; a row is its first axis, the rest is flattened. Scalars and vectors are one column wide."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors writes it: "F32", "BF16", "I64", ...
    file: str  # of which file it is; "" for arrays in memory
    read: Callable[[int, int], Array]  # rows start..stop -> (stop - start, columns); BF16 and F16 as float32
    flat: Callable[[int, int], Array] | None = None  # numbers start..stop in C order, where that needs no whole rows

    @property
    def rows(self) -> int:
        """Length of the first axis; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        """Numbers in one row."""
        return prod(self.shape[1:])

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """(first row, rows of it), about BLOCK_BYTES at a time, in order."""
        step = max(1, BLOCK_BYTES // max(1, 4 * self.columns))
        for start in range(0, self.rows, step):
            yield start, self.read(start, min(start + step, self.rows))

    def numbers(self, start: int, stop: int) -> Array:
        """(stop - start,) numbers in C order; without `flat`, the rows that hold them are read."""
        if self.flat is not None:
            return self.flat(start, stop)
        columns = max(1, self.columns)
        first, last = start // columns, -(-stop // columns)
        return self.read(first, last).reshape(-1)[start - first * columns : stop - first * columns]

    def renamed(self, name: str) -> "Tensor":
        """The same under another name."""
        return replace(self, name=name)

    def whole(self) -> Array:
        """All of it in its own shape; for tensors known to be small."""
        return self.read(0, self.rows).reshape(self.shape)


def of_arrays(params: Params) -> Mapping[str, Tensor]:
    """The tensors of weights that are in memory."""
    return {name: _of_array(name, np.asarray(value)) for name, value in params.items()}


def _of_array(name: str, value: Array) -> Tensor:
    flat = value.reshape(value.shape[0] if value.ndim else 1, prod(value.shape[1:]))
    kind = "BOOL" if value.dtype.kind == "b" else f"{value.dtype.kind.upper()}{8 * value.dtype.itemsize}"
    one = flat.reshape(-1)
    return Tensor(name, value.shape, kind, "", lambda start, stop: flat[start:stop], lambda a, b: one[a:b])
