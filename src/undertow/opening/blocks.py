"""Bytes of a file -> rows of numbers, a block at a time. NumPy only."""

from collections.abc import Sequence
from math import prod

import numpy as np

from undertow.opening.ggml import SIZES, unpacked
from undertow.opening.source import Source
from undertow.scanner.tensors import Tensor
from undertow.types import Array, BadInput

NATIVE = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}
SPAN = 16 << 20  # bytes that one read of a strided tensor may take


def _small_floats(exponent: int, mantissa: int, bias: int, kind: str) -> Array:
    """All 256 values of an 8-bit float. kind: "ieee" (E5M2), "fn" (E4M3: NaN only at the top), "fnuz" (NaN is -0)."""
    code = np.arange(256)
    high, low = (code >> mantissa) & (2**exponent - 1), code & (2**mantissa - 1)
    value = np.where(high == 0, low * 2.0 ** (1 - bias), (low + 2**mantissa) * 2.0 ** (high - bias)) * 2.0**-mantissa
    if kind == "ieee":
        value = np.where(high == 2**exponent - 1, np.where(low == 0, np.inf, np.nan), value)
    if kind == "fn":
        value[[127, 255]] = np.nan
    value = np.where(code < 128, value, -value)
    if kind == "fnuz":
        value[128] = np.nan
    return np.asarray(value, np.float32)


TABLES = {
    "F8_E4M3": _small_floats(4, 3, 7, "fn"),
    "F8_E5M2": _small_floats(5, 2, 15, "ieee"),
    "F8_E4M3FNUZ": _small_floats(4, 3, 8, "fnuz"),
    "F8_E5M2FNUZ": _small_floats(5, 2, 16, "fnuz"),
}
SHAPE_ONLY = "UNREAD"  # type of a tensor of which only the shape is known
WIDTHS = {**{kind: np.dtype(code).itemsize for kind, code in NATIVE.items()}, "BF16": 2, **dict.fromkeys(TABLES, 1)}


def decode(raw: Array, dtype: str) -> Array:
    """Stored bytes (uint8) -> a vector of numbers; floats shorter than 32 bits as float32, which is exact."""
    if dtype in TABLES:
        return np.take(TABLES[dtype], raw)
    if dtype == "BF16":  # the upper half of a float32
        wide = raw.view("<u2").astype("<u4")
        wide <<= 16
        return wide.view("<f4")
    if dtype == "F16":
        return raw.view("<f2").astype(np.float32)
    return raw != 0 if dtype == "BOOL" else raw.view(NATIVE[dtype])


def packed_tensor(name: str, dtype: str, shape: Sequence[int], source: Source, offset: int) -> Tensor:
    """A tensor of GGUF whose rows are whole blocks; its numbers are float32 when read."""
    shape, columns, (numbers, size) = tuple(shape), prod(shape[1:]), SIZES[dtype]

    def rows(start: int, stop: int) -> Array:
        first, last = start * columns // numbers, stop * columns // numbers
        return unpacked(_bytes(source, offset + first * size, (last - first) * size), dtype).reshape(
            stop - start, columns
        )

    return Tensor(name, shape, "F32", source.path, rows)


def unread_tensor(name: str, dtype: str, shape: Sequence[int], source: Source) -> Tensor:
    """A tensor of a type that is not read: it has a size, so that what was not examined can be counted."""

    def rows(*_: int) -> Array:
        raise BadInput(f"{name}: numbers of type {dtype} are not read")

    return Tensor(name, tuple(shape), dtype, source.path, rows)


def stored_tensor(
    name: str, dtype: str, shape: Sequence[int], source: Source, offset: int, stride: Sequence[int] | None = None
) -> Tensor:
    """The tensor whose numbers lie in `source` from byte `offset` on; `stride` in numbers, None for C order.

    Reads ask the file each time, with memory for the rows asked for. BadInput where the file was cut meanwhile.
    """
    shape, width, columns = tuple(shape), WIDTHS[dtype], prod(shape[1:])

    def rows(start: int, stop: int) -> Array:
        return decode(
            _bytes(source, offset + start * columns * width, (stop - start) * columns * width), dtype
        ).reshape(stop - start, columns)

    def strided(start: int, stop: int) -> Array:
        steps = tuple(stride or ()) or (1,)
        wanted = (stop - start, *shape[1:])
        found = np.empty((*wanted, width), np.uint8)
        _gather(found, source, offset + start * steps[0] * width, [step * width for step in steps])
        return decode(found.reshape(-1), dtype).reshape(stop - start, columns)

    def flat(start: int, stop: int) -> Array:
        return decode(_bytes(source, offset + start * width, (stop - start) * width), dtype)

    plain = stride is None
    return Tensor(name, shape, dtype, source.path, rows if plain else strided, flat if plain else None)


def _bytes(source: Source, offset: int, count: int) -> Array:
    raw = np.empty(count, np.uint8)
    source.fill(raw.data, offset)
    return raw


def _gather(found: Array, source: Source, offset: int, steps: Sequence[int]) -> None:
    """Fill `found` (shape, width) with items `steps` bytes apart; long spans are split at their widest step."""
    *shape, width = found.shape
    if 0 in shape:
        return
    span = sum((size - 1) * step for size, step in zip(shape, steps, strict=True)) + width
    if span <= max(SPAN, 2 * found.size) or max(shape) == 1:
        raw = _bytes(source, offset, span)
        found[...] = np.lib.stride_tricks.as_strided(raw, (*shape, width), (*steps, 1))
        return
    axis = max(range(len(shape)), key=lambda a: steps[a] * (shape[a] > 1))
    half = shape[axis] // 2
    low, high = np.split(found, [half], axis)
    _gather(low, source, offset, steps)
    _gather(high, source, offset + half * steps[axis], steps)
