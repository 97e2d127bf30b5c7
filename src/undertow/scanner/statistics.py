"""Statistics of one tensor in one pass: of rows, of columns, and a sketch of every row by which rows are compared.

Chunks are small enough for a processor's cache, so that memory is read once. Sums are taken in the dtype of the
weights, and again in float64 where that overflows or underflows: no weight is too large or too small.
"""

from dataclasses import dataclass, field

import numpy as np

from undertow.rng import stream
from undertow.scanner.tensors import Tensor
from undertow.types import Array

CHUNK = 1 << 16  # numbers that are looked at together
SEGMENTS = 16  # numbers in the sketch of a row
TINY = 1e-30  # a sum of squares below which float32 has lost digits
SAMPLED = 16  # one chunk in so many is searched for subnormal numbers


@dataclass(frozen=True, eq=False)
class Statistics:
    """What one pass over a tensor (R rows, C columns) leaves. What is not finite counts as zero."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: str
    total: Array = field(repr=False)  # (R,) sums
    square: Array = field(repr=False)  # (R,) sums of squares
    peak: Array = field(repr=False)  # (R,) largest absolute values
    sketch: Array = field(repr=False)  # (R, min(C, SEGMENTS)) random projection: near rows have near sketches
    column_square: Array = field(repr=False)  # (C,) sums of squares
    broken: Array = field(repr=False)  # (n,) int: rows that hold NaN or infinity
    subnormal: float = 0.0  # share of subnormal numbers in the chunks that were searched

    @property
    def rows(self) -> int:
        """Length of the first axis."""
        return len(self.total)

    @property
    def norm(self) -> Array:
        """(R,) lengths of the rows."""
        return np.sqrt(self.square)

    @property
    def column_norm(self) -> Array:
        """(C,) lengths of the columns."""
        return np.sqrt(self.column_square)

    @property
    def values(self) -> Array:
        """(R,) the numbers of a vector: a row of one number is its own sum."""
        return self.total


def statistics(tensor: Tensor) -> Statistics:
    """One pass over a tensor of floating-point numbers; of anything else, of its values as float32."""
    rows, columns = tensor.rows, max(1, tensor.columns)
    sums = _Sums.empty(rows, columns)
    broken, searched, subnormal, step = [np.empty(0, int)], 0, 0, max(1, CHUNK // columns)
    for start, block in tensor.blocks():
        block = np.ascontiguousarray(block if block.dtype.kind == "f" else block.astype(np.float32))
        block = block.astype(np.float32) if block.dtype.itemsize < 4 else block
        for first in range(0, len(block), step):
            chunk = block[first : first + step]
            if (start + first) // step % SAMPLED == 0:
                searched, subnormal = searched + chunk.size, subnormal + _subnormal(chunk)
            broken.append(start + first + sums.add(start + first, chunk))
    return Statistics(
        tensor.name, tensor.shape, tensor.dtype, tensor.file, sums.total, sums.square, sums.peak, sums.sketch,
        sums.column_square, np.concatenate(broken), subnormal / max(1, searched),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Sums:
    """The statistics while they are gathered."""

    total: Array
    square: Array
    peak: Array
    sketch: Array
    column_square: Array
    projection: Array  # (C // SEGMENTS,) signs, the same for every segment; or (C, width) where C is no multiple

    @classmethod
    def empty(cls, rows: int, columns: int) -> "_Sums":
        sketch = np.zeros((rows, min(columns, SEGMENTS)), np.float32)
        per_row = [np.zeros(rows) for _ in range(3)]
        return cls(per_row[0], per_row[1], per_row[2], sketch, np.zeros(columns), _projection(columns))

    def add(self, start: int, chunk: Array) -> Array:
        """Write the statistics of these rows; of which of them are not finite, the indices."""
        if chunk.shape[1] == 1:
            return self._vector(start, chunk[:, 0].astype(np.float64))
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            squared = chunk * chunk
            square = squared @ np.ones(chunk.shape[1], chunk.dtype)
        if np.isfinite(square).all() and square.min() > TINY:
            return self._finite(start, chunk, squared, square)
        broken = np.flatnonzero(~np.isfinite(chunk).all(1))
        wide = chunk.astype(np.float64)
        wide[broken] = 0
        with np.errstate(over="ignore", under="ignore"):
            squared = wide * wide
            self._finite(start, wide, squared, squared.sum(1))
        return broken

    def _finite(self, start: int, chunk: Array, squared: Array, square: Array) -> Array:
        rows = slice(start, start + len(chunk))
        projection = self.projection.astype(chunk.dtype, copy=False)
        self.square[rows], self.total[rows] = square, chunk @ np.ones(chunk.shape[1], chunk.dtype)
        self.peak[rows] = np.sqrt(squared.max(1))
        parts = chunk.reshape(-1, len(projection)) if projection.ndim == 1 else chunk
        self.sketch[rows] = (parts @ projection).reshape(len(chunk), -1)
        self.column_square[:] += np.ones(len(chunk), chunk.dtype) @ squared
        return np.empty(0, int)

    def _vector(self, start: int, values: Array) -> Array:
        broken = np.flatnonzero(~np.isfinite(values))
        values[broken] = 0
        rows = slice(start, start + len(values))
        with np.errstate(over="ignore", under="ignore"):
            self.total[rows], self.square[rows], self.peak[rows] = values, values**2, np.abs(values)
            self.sketch[rows, 0] = np.clip(values, -3e38, 3e38)
            self.column_square[0] += values @ values
        return broken


def _projection(columns: int) -> Array:
    if columns <= SEGMENTS:
        return np.eye(columns, dtype=np.float32)
    size = (columns, SEGMENTS) if columns % SEGMENTS else (columns // SEGMENTS,)
    signs: Array = stream(0, "scanner", "sketch").integers(0, 2, size).astype(np.float32) * 2 - 1
    return signs


def _subnormal(chunk: Array) -> int:
    """How many numbers are not zero, yet below the smallest normal number."""
    size = np.abs(chunk)
    return int(((size > 0) & (size < np.finfo(chunk.dtype).tiny)).sum())
