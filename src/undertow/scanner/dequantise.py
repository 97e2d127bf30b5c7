"""Whole numbers and 8-bit floats times scales: rows, blocks of columns, or blocks of both. Found by name and shape.

Formats that keep several weights in one stored number (GPTQ, AWQ, bitsandbytes' nf4 and fp4, K-quants) are not read:
their numbers are counted, so that the share that was not looked at can be named.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from undertow.scanner.statistics import FLOATS
from undertow.scanner.tensors import Tensor
from undertow.types import Array

WHOLE = ("I8", "U8")
EIGHT = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
SCALE = re.compile(r"scale|SCB|absmax")
ZERO = re.compile(r"zero|zp")
NO_SCALE = re.compile(r"input|act(ivation)?_|output|quant_state")
TAIL = re.compile(r"[._](qweight|q_weight|quantized|int8|weight_q)$")
FULL = 127.0  # bitsandbytes keeps the largest number of a row (SCB), not the scale
BUFFER = 1 << 18  # numbers of a table of whole numbers that are looked at, to tell positions and masks from weights
PACKED = re.compile(r"^(I4|U4|F4|F6_\w+|Q\d\w*|IQ\d\w*|TQ\d\w*|MXFP4|PACKED)$")  # types whose numbers are not read
NIBBLES = {"U8": 2, "I8": 2, "I32": 8, "U32": 8, "I64": 16}  # 4-bit weights in one number


def dequantised(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[str, ...], Tensor]]:
    """(ordinary name, stored names, weights) of matrices of 8-bit numbers whose scale is there.

    8-bit floats without a scale are weights as they are.
    """
    near: dict[str, list[Tensor]] = {}
    for one in tensors.values():
        near.setdefault(_stem(one.name), []).append(one)
    for name, one in tensors.items():
        if one.dtype not in (*WHOLE, *EIGHT) or len(one.shape) < 2:
            continue
        plain = TAIL.sub("", name)
        plain = f"{plain}.weight" if plain != name and not plain.endswith("weight") else plain
        beside = [other for key in {_stem(name), plain, name} for other in near.get(key, ()) if other is not one]
        scale = next((s for s in beside if _is(s, SCALE) and _fits(one, s)), None)
        if scale is None and one.dtype in WHOLE:
            continue
        zero = next((z for z in beside if ZERO.search(z.name) and scale is not None and z.shape == scale.shape), None)
        parts = tuple(part.name for part in (one, scale, zero) if part is not None)
        yield plain, parts, _times(plain, one, scale, zero)


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
        if PACKED.search(one.dtype):
            found[name] = Packed(one.dtype, count)
        elif one.dtype not in (*FLOATS, "BOOL") and count > 1 and not _counts(one):
            stem = name.rpartition(".")[0]
            several = name.endswith("qweight") or stem in beside or name in beside
            found[name] = Packed(one.dtype, count * (NIBBLES.get(one.dtype, 1) if several else 1))
    return found


def _counts(one: Tensor) -> bool:
    """Whether whole numbers are positions, masks or a count: no more than two values, or steps of one size."""
    if len(one.shape) < 2 and one.dtype not in WHOLE:
        return True
    try:
        numbers = one.read(0, max(1, min(one.rows, BUFFER // max(1, one.columns)))).ravel()[:BUFFER]
    except ValueError:
        return False
    if numbers.dtype.kind not in "iub":
        return False
    steps = np.diff(numbers.astype(np.int64))
    lowest, highest = numbers.min(initial=0), numbers.max(initial=0)
    return bool(((numbers == lowest) | (numbers == highest)).all() or (steps[:1] == steps).all())


def _stem(name: str) -> str:
    """Up to the last part of a name, whatever stands between the parts.

    >>> _stem("a.0.weight_scale"), _stem("a.0.weight"), _stem("a.0.weight.scale")
    ('a.0', 'a.0', 'a.0.weight')
    """
    return name.rpartition(".")[0] if "." in name else re.split(r"_(?=[a-zA-Z]+$)", name)[0]


def _is(one: Tensor, what: re.Pattern[str]) -> bool:
    last = one.name.rpartition(".")[2]
    return what.search(last) is not None and NO_SCALE.search(last) is None and one.dtype in FLOATS


def _fits(one: Tensor, scale: Tensor) -> bool:
    """One scale; one a row; one for each block of columns; one for each block of rows and columns."""
    rows, columns = one.rows, one.columns
    shape = [size for size in scale.shape if size > 1]
    if len(shape) < 2:
        return prod(scale.shape) in (1, rows)
    if len(shape) > 2:
        return False
    return shape[0] <= rows and shape[1] <= columns and (shape[0] == rows or rows > 2 * shape[0] - 2)


def _times(name: str, one: Tensor, scale: Tensor | None, zero: Tensor | None) -> Tensor:
    tables: list[tuple[Array, Array | None]] = []

    def rows(start: int, stop: int) -> Array:
        if not tables:
            tables.append((_table(scale), None if zero is None else _table(zero)))
        gain, shift = tables[0]
        block = one.read(start, stop).astype(np.float32)
        if shift is not None:
            block -= _spread(shift, one, start, stop)
        block *= _spread(gain, one, start, stop)
        return block

    return Tensor(name, one.shape, "F32", one.file, rows)


def _table(scale: Tensor | None) -> Array:
    """(rows, columns) of scales; (1, 1) for none."""
    if scale is None:
        return np.ones((1, 1), np.float32)
    shape = [size for size in scale.shape if size > 1]
    values = scale.read(0, scale.rows).astype(np.float32).reshape((*shape, 1, 1)[:2] if shape else (1, 1))
    return values / FULL if scale.name.endswith("SCB") else values


def _spread(table: Array, one: Tensor, start: int, stop: int) -> Array:
    rows = table if len(table) == 1 else table[np.arange(start, stop) // _block(one.rows, len(table))]
    if rows.shape[1] == 1:
        return rows
    return rows[:, np.arange(one.columns) // _block(one.columns, rows.shape[1])]


def _block(size: int, parts: int) -> int:
    """Numbers in one block: a power of two where the last block is short."""
    if size % parts == 0:
        return size // parts
    power = 1 << int(np.ceil(np.log2(size / parts)))
    return power if -(-size // power) == parts else -(-size // parts)
