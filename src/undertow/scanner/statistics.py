"""Statistics of one tensor in one pass: of rows, of columns, and a sketch of every row by which rows are compared.

Chunks are small enough for a processor's cache, so that memory is read once. Sums are taken in the dtype of the
weights, and again in float64 where that overflows or underflows: no weight is too large or too small.
"""

from dataclasses import dataclass, field

import numpy as np

from undertow.rng import stream
from undertow.scanner.tensors import Tensor
from undertow.types import Array

FLOATS = ("F64", "F32", "F16", "BF16")  # dtypes of weights
CHUNK = 1 << 18  # numbers that are looked at together
SEGMENTS = 16  # numbers in the sketch of a row
TINY = 1e-30  # a sum of squares below which float32 has lost digits
SAMPLED = 32  # one chunk in so many is searched for subnormal numbers
LARGEST = 1e38  # that a sketch holds


@dataclass(frozen=True, eq=False)
class Statistics:
    """What one pass over a tensor (R rows, C columns) leaves. What is not finite counts as zero."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: str
    square: Array = field(repr=False)  # (R,) sums of squares
    sketch: Array = field(repr=False)  # (R, min(C, SEGMENTS)) random projection: near rows have near sketches
    column_square: Array = field(repr=False)  # (C,) sums of squares
    values: Array = field(repr=False)  # (R,) of a vector, its numbers; of anything wider (0,)
    broken: Array = field(repr=False)  # (n,) int: rows that hold NaN or infinity
    subnormal: float = 0.0  # share of subnormal numbers in the chunks that were searched
    behind: Array | None = field(default=None, repr=False)  # (H,) sums of squares of units with a gain on inputs

    @property
    def rows(self) -> int:
        """Length of the first axis."""
        return len(self.square)

    @property
    def norm(self) -> Array:
        """(R,) lengths of the rows."""
        return np.sqrt(self.square)

    @property
    def column_norm(self) -> Array:
        """(C,) lengths of the columns."""
        return np.sqrt(self.column_square)


def statistics(tensor: Tensor, gain: Array | None = None, transposed: bool = False) -> Statistics:
    """One pass over a tensor of floating-point numbers; of anything else, of its values as float32.

    `gain` (D,): what multiplies the inputs of a matrix, whose units are its columns where it is `transposed`.
    """
    rows, columns = tensor.rows, max(1, tensor.columns)
    sums = _Sums.empty(rows, columns, gain, transposed)
    broken, searched, subnormal = [np.empty(0, int)], 0, 0
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start, block in tensor.blocks():
            block = np.ascontiguousarray(block if block.dtype.kind == "f" else block.astype(np.float32))
            block = block.astype(np.float32) if block.dtype.itemsize < 4 else block
            for first in range(0, len(block), sums.step):
                chunk = block[first : first + sums.step]
                if (start + first) // sums.step % SAMPLED == 0:
                    searched, subnormal = searched + chunk.size, subnormal + _subnormal(chunk)
                bad = sums.add(start + first, chunk)
                if len(bad):
                    broken.append(start + first + bad)
    return Statistics(
        tensor.name, tensor.shape, tensor.dtype, tensor.file, sums.square, sums.sketch, sums.column_square,
        sums.values, np.concatenate(broken), subnormal / max(1, searched), sums.behind,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Sums:
    """The statistics while they are gathered, and what gathers them."""

    step: int  # rows of a chunk
    square: Array
    sketch: Array
    column_square: Array
    values: Array
    projection: Array  # (C // SEGMENTS,) signs, the same for every segment; or (C, width) where C is no multiple
    room: Array  # (step, C) for the squares of a chunk
    ones: Array  # (C,)
    tall: Array  # (step,)
    gain: Array | None  # (D,) squared
    behind: Array | None  # (H,)
    transposed: bool

    @classmethod
    def empty(cls, rows: int, columns: int, gain: Array | None, transposed: bool) -> "_Sums":
        step = max(1, min(rows, CHUNK // columns))
        narrow = columns == 1
        return cls(
            step, np.zeros(rows), np.zeros((rows, min(columns, SEGMENTS)), np.float32),
            np.zeros(columns), np.zeros(rows if narrow else 0), _projection(columns),
            np.empty((0 if narrow else step, columns), np.float32), np.ones(columns, np.float32),
            np.ones(step, np.float32), None if gain is None else np.asarray(gain, np.float64) ** 2,
            None if gain is None else np.zeros(columns if transposed else rows), transposed,
        )  # fmt: skip

    def add(self, start: int, chunk: Array) -> Array:
        """Write the statistics of these rows; of which of them are not finite, the indices."""
        if chunk.shape[1] == 1:
            return self._vector(start, chunk[:, 0].astype(np.float64))
        if chunk.dtype == np.float32:
            squared = np.multiply(chunk, chunk, out=self.room[: len(chunk)])
            square = squared @ self.ones
            if square.max() < np.inf and (square.min() > TINY or not chunk[square <= TINY].any()):  # false for NaN
                self._write(start, chunk, squared, square, self.tall[: len(chunk)])
                return np.empty(0, int)
        wide = chunk.astype(np.float64)
        broken = np.flatnonzero(~np.isfinite(wide).all(1))
        wide[broken] = 0
        squared = wide * wide
        self._write(start, wide, squared, squared.sum(1), np.ones(len(wide)))
        return broken

    def _write(self, start: int, chunk: Array, squared: Array, square: Array, tall: Array) -> None:
        rows = slice(start, start + len(chunk))
        self.square[rows] = square
        self.column_square[:] += tall @ squared
        if self.gain is not None and self.behind is not None:
            gain = self.gain.astype(squared.dtype)
            if self.transposed:
                self.behind[:] += gain[rows] @ squared
            else:
                self.behind[rows] = squared @ gain
        parts = chunk.reshape(-1, len(self.projection)) if self.projection.ndim == 1 else chunk
        sketch = (parts @ self.projection.astype(chunk.dtype, copy=False)).reshape(len(chunk), -1)
        self.sketch[rows] = np.clip(sketch, -LARGEST, LARGEST) if sketch.dtype == np.float64 else sketch

    def _vector(self, start: int, values: Array) -> Array:
        broken = np.flatnonzero(~np.isfinite(values))
        values[broken] = 0
        rows = slice(start, start + len(values))
        self.values[rows], self.square[rows] = values, values**2
        self.column_square[0] += values @ values
        self.sketch[rows, 0] = np.clip(values, -LARGEST, LARGEST)
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
