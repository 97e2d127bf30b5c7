"""Whole numbers and 8-bit floats times scales: rows, blocks of columns, or blocks of both. Found by name and shape.

Formats that keep several weights in one stored number are read by `four_bits` where their layout is known. Of the rest
the numbers are counted, so that the share that was not looked at can be named.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from undertow.scanner.statistics import FLOATS
from undertow.scanner.tensors import Tensor
from undertow.types import Array, BadInput

WHOLE = ("I8", "U8")
BIAS = ("I32", "I16")  # in which biases of quantised layers are kept
NUMBERS = ("BOOL", *(f"{kind}{size}" for kind in "IU" for size in (8, 16, 32, 64)))
EIGHT = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
SCALE = re.compile(r"scale|SCB|absmax")
ZERO = re.compile(r"zero|zp")
NO_SCALE = re.compile(r"input|act(ivation)?_|output|quant_state")
TAIL = re.compile(r"[._](qweight|q_weight|quantized|int8|weight_q)$")
FULL = 127.0  # bitsandbytes keeps the largest number of a row (SCB), not the scale
INDICES = 4096  # whole numbers in a vector that are taken for indices
BESIDE = 16  # scales before and behind a tensor in the order of names that are looked at
GENERATOR = re.compile(r"rng|rand|generator|(^|[._])(gen|torch|cuda)(\W|_|$)", re.IGNORECASE)
GENERATORS = (16, 816, 5048, 5056)  # bytes of the state of a generator of torch, on a GPU or a CPU
LEAST = 16  # weights that share a scale in a flat list of blocks
KEPT = 1 << 22  # numbers of a scale that are held
NIBBLES = {"U8": 2, "I8": 2, "I32": 8, "U32": 8, "I64": 16}  # 4-bit weights in one number


def dequantised(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[str, ...], Tensor]]:
    """(ordinary name, stored names, weights) of matrices of 8-bit numbers whose scale is there, and of such biases.

    8-bit floats without a scale are weights as they are.
    """
    near = _helpers(tensors)
    for name, one in tensors.items():
        if not _quantised(one):
            continue
        plain = TAIL.sub("", name)
        plain = f"{plain}.weight" if plain != name and not plain.endswith("weight") else plain
        beside = _beside(one, plain, near)
        scale = next((s for s in beside if SCALE.search(_last(s.name)) and fits(one, s)), None)
        if scale is None and one.dtype not in EIGHT:
            continue
        named = scale is not None and scale.name.startswith(name)
        if len(one.shape) < 2 and one.dtype not in EIGHT and not named:
            continue  # whole numbers in a vector are a bias only where the scale is named after it
        zero = next((z for z in beside if ZERO.search(_last(z.name)) and scale is not None and _alike(z, scale)), None)
        parts = tuple(part.name for part in (one, scale, zero) if part is not None)
        yield plain, parts, _times(plain, one, scale, zero)


def _quantised(one: Tensor) -> bool:
    """Whether it may be weights, or a bias, in whole numbers or 8-bit floats."""
    if len(one.shape) < 2:
        return one.dtype in (*BIAS, *WHOLE, *EIGHT) and len(one.shape) == 1 and ZERO.search(_last(one.name)) is None
    return one.dtype in (*WHOLE, *EIGHT) and ZERO.search(_last(one.name)) is None


def _helpers(tensors: Mapping[str, Tensor]) -> dict[str, list[tuple[str, Tensor]]]:
    """Scales and zero points by the stem of their name, sorted."""
    near: dict[str, list[tuple[str, Tensor]]] = {}
    for one in tensors.values():
        last = _last(one.name)
        scale = SCALE.search(last) is not None and one.dtype in FLOATS
        zero = ZERO.search(last) is not None and one.dtype in (*FLOATS, *NUMBERS)
        if (scale or zero) and NO_SCALE.search(last) is None:
            near.setdefault(_stem(one.name), []).append((one.name, one))
    return {stem: sorted(several, key=lambda item: item[0]) for stem, several in near.items()}


def _beside(one: Tensor, plain: str, near: Mapping[str, list[tuple[str, Tensor]]]) -> list[Tensor]:
    """Scales and zero points that may be those of `one`, those whose name has most in common with its own first."""
    found: list[Tensor] = []
    for key in dict.fromkeys((one.name, plain, _stem(one.name))):
        several = near.get(key, [])
        at = bisect_left(several, one.name, key=lambda item: item[0])
        found += [other for _, other in several[max(0, at - BESIDE) : at + BESIDE] if other is not one]
    return sorted(found, key=lambda other: (-_shared(other.name, one.name), len(other.name)))


def _shared(first: str, second: str) -> int:
    """Letters that two names begin with alike.

    >>> _shared("fc1.weight_scale", "fc1.weight")
    10
    """
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


@dataclass(frozen=True)
class Packed:
    """A stored tensor whose numbers are not read."""

    dtype: str
    count: int  # of weights in it, as far as its name says how many share a number


def packed_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Packed]:
    """Stored tensors whose weights are not read, and how many there are; positions and masks are no weights."""
    beside = {name.rpartition(".")[0] for name in tensors if re.search(r"quant_map|quant_state|qzeros|g_idx", name)}
    found = {}
    for name, one in tensors.items():
        count = prod(one.shape)
        if one.dtype not in (*FLOATS, *NUMBERS, *EIGHT):
            found[name] = Packed(one.dtype, count)
        elif one.dtype not in (*FLOATS, *EIGHT, "BOOL") and count > 1 and not _counts(one):
            stem = name.rpartition(".")[0]
            several = name.endswith("qweight") or stem in beside or name in beside
            found[name] = Packed(one.dtype, count * (NIBBLES.get(one.dtype, 1) if several else 1))
    return found


def _counts(one: Tensor) -> bool:
    """Whether whole numbers are positions, masks or a count: no more than two values, or steps of one size.

    Short vectors of long integers are indices; longer ones may be weights. States of generators are none, by their
    length and name.
    """
    if one.dtype == "U8" and one.shape in [(size,) for size in GENERATORS] and GENERATOR.search(one.name):
        return True
    if len(one.shape) < 2 and one.dtype not in WHOLE and one.rows <= INDICES:
        return True
    try:
        return _two_values(one) or _steps(one)
    except BadInput:
        return False


def _two_values(one: Tensor) -> bool:
    low = high = None
    for _, block in one.blocks():
        if not block.size:
            continue
        least, most = block.min(), block.max()
        low, high = least if low is None else min(low, least), most if high is None else max(high, most)
        if not ((block == low) | (block == high)).all():
            return False
    return True


def _steps(one: Tensor) -> bool:
    """Whether every number is as much larger than the one before; rows of a matrix may begin anew."""
    step, last = None, None
    for _, block in one.blocks():
        numbers = block.astype(np.float64)
        parts = [np.diff(numbers, axis=1).ravel()] if one.columns > 1 else [np.diff(numbers[:, 0])]
        parts += [numbers[0] - last] if last is not None and one.columns == 1 else []
        steps = np.concatenate(parts)
        step = steps[0] if step is None and len(steps) else step
        if len(steps) and (steps != step).any():
            return False
        last = numbers[-1]
    return True


def _stem(name: str) -> str:
    """Up to the last part of a name, whatever stands between the parts.

    >>> _stem("a.0.weight_scale"), _stem("a.0.weight"), _stem("a.0.weight.scale"), _stem("dense/x_zero_point")
    ('a.0', 'a.0', 'a.0.weight', 'dense/x')
    """
    return name.rpartition(".")[0] if "." in name else re.split(r"_zero_point$|_(?=[a-zA-Z]+$)", name)[0]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _alike(zero: Tensor, scale: Tensor) -> bool:
    return prod(zero.shape) == prod(scale.shape)


def fits(one: Tensor, scale: Tensor) -> bool:
    """Whether numbers can be spread over a tensor: one; along an axis; for blocks of columns, or of rows and columns.

    >>> from undertow.scanner.tensors import Tensor
    >>> kernel = Tensor("a", (64, 3, 3, 32), "I8", "", lambda start, stop: None)
    >>> [fits(kernel, Tensor("s", shape, "F32", "", kernel.read)) for shape in ((), (64,), (1, 1, 1, 32), (7,))]
    [True, True, True, False]
    """
    return _axes(one, scale) is not None or _blocks(one, scale)


def _axes(one: Tensor, scale: Tensor) -> tuple[int, ...] | None:
    """The shape in which numbers of a scale spread over the axes of a tensor; None where they do not."""
    wide, rank = [size for size in scale.shape if size > 1], len(one.shape)
    if not wide:
        return (1,) * rank
    if len(scale.shape) == rank and all(a in (1, b) for a, b in zip(scale.shape, one.shape, strict=True)):
        return tuple(scale.shape)
    if len(wide) == 1 and wide[0] in one.shape:  # rows before the last axis, and that before the others
        places = [0, rank - 1, *range(1, rank - 1)]
        axis = next(place for place in places if one.shape[place] == wide[0])
        return tuple(wide[0] if i == axis else 1 for i in range(rank))
    return None


def _blocks(one: Tensor, scale: Tensor) -> bool:
    """Whether a scale has a number for each block of columns, or of rows and columns."""
    shape = [size for size in scale.shape if size > 1]
    if len(shape) == 1:
        count = one.rows * one.columns
        return count % shape[0] == 0 and count // shape[0] >= LEAST and (one.columns * shape[0]) % count == 0
    if len(shape) != 2:
        return False
    rows, columns = one.rows, one.columns
    return shape[0] <= rows and shape[1] <= columns and (shape[0] == rows or rows > 2 * shape[0] - 2)


def _times(name: str, one: Tensor, scale: Tensor | None, zero: Tensor | None) -> Tensor:
    gain = None if scale is None else _Spread.over(one, scale)
    shift = None if zero is None else _Spread.over(one, zero)
    factor = np.float32(1 / FULL if scale is not None and scale.name.endswith("SCB") else 1)

    def rows(start: int, stop: int) -> Array:
        block = one.read(start, stop).astype(np.float32)
        if shift is not None:
            block -= shift.rows(start, stop)
        if gain is not None:
            block *= gain.rows(start, stop) * factor
        return block

    return Tensor(name, one.shape, "F32", one.file, rows)


@dataclass
class _Spread:
    """Numbers of a scale, as many as the weights that they belong to. Those of a small scale are kept."""

    one: Tensor
    scale: Tensor
    axes: tuple[int, ...] | None
    held: Array | None = None

    @classmethod
    def over(cls, one: Tensor, scale: Tensor) -> "_Spread":
        return cls(one, scale, _axes(one, scale))

    def rows(self, start: int, stop: int) -> Array:
        """(stop - start or 1, columns or 1) of them."""
        if self.axes is None:
            return self._blocks(start, stop)
        if self.axes[0] > 1:
            part = self._read(start, stop).reshape(stop - start, *self.axes[1:])
        else:
            part = self._whole().reshape(self.axes)
        flat = all(size == 1 for size in self.axes[1:])
        return part.reshape(-1, 1) if flat else np.broadcast_to(part, (len(part), *self.one.shape[1:])).reshape(
            len(part), self.one.columns
        )  # fmt: skip

    def _read(self, start: int, stop: int) -> Array:
        if prod(self.scale.shape) <= KEPT or self.scale.rows != self.one.rows:
            wide: Array = self._whole().reshape(self.one.rows, -1)
            return wide[start:stop]
        return self.scale.read(start, stop).astype(np.float32)

    def _whole(self) -> Array:
        if self.held is None:
            self.held = self.scale.read(0, self.scale.rows).astype(np.float32)
        return self.held

    def _blocks(self, start: int, stop: int) -> Array:
        shape = [size for size in self.scale.shape if size > 1]
        parts = shape if len(shape) == 2 else [self.one.rows, shape[0] // self.one.rows]
        table = self._whole().reshape(parts)
        rows = table[np.arange(start, stop) // _block(self.one.rows, len(table))]
        return rows[:, np.arange(self.one.columns) // _block(self.one.columns, rows.shape[1])]


def _block(size: int, parts: int) -> int:
    """Numbers in one block: a power of two where the last block is short."""
    if size % parts == 0:
        return size // parts
    power = 1 << int(np.ceil(np.log2(size / parts)))
    return power if -(-size // power) == parts else -(-size // parts)
