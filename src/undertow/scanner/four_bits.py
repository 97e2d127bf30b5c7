"""Weights of which several lie in one stored number, as quantising libraries write them into safetensors.

Read are the layouts that say all about themselves: bitsandbytes (nf4 and fp4, with what it keeps of its state), GPTQ
and AWQ (qweight, qzeros, scales), compressed-tensors (weight_packed, weight_scale, weight_shape) and MXFP4 (_blocks,
_scales). A layout whose shapes do not fit its own numbers is left alone, and counts as not read.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from undertow.scanner.statistics import FLOATS
from undertow.scanner.tensors import Tensor
from undertow.types import Array

STATES = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])  # AWQ: which of eight columns each nibble holds, the lowest first
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)  # E2M1
LARGEST = 1 << 26  # bytes of a matrix that is turned in memory
GROUP = 32  # numbers that share a scale in MXFP4
Made = tuple[str, tuple[str, ...], Tensor]


def unfolded(tensors: Mapping[str, Tensor]) -> Iterator[Made]:
    """(ordinary name, stored names, weights) of everything in a layout that is read."""
    for name in tensors:
        found: Made | None = None
        if name.endswith(STATES):
            found = _bitsandbytes(name, tensors)
        elif name.endswith("qweight"):
            found = _columns(name.removesuffix("qweight"), tensors)
        elif name.endswith("weight_packed"):
            found = _rows(name.removesuffix("_packed"), tensors)
        elif name.endswith("_blocks"):
            found = _microscaled(name.removesuffix("_blocks"), tensors)
        if found is not None:
            yield found


def _bitsandbytes(state: str, tensors: Mapping[str, Tensor]) -> Made | None:
    """Codes of 16 values, the first of two in the upper half of a byte, times the largest number of a block."""
    name = next(state.removesuffix(end) for end in STATES if state.endswith(end))
    codes, absmax, values = (tensors.get(key) for key in (name, f"{name}.absmax", f"{name}.quant_map"))
    said = _json(tensors[state])
    if codes is None or absmax is None or values is None or values.shape != (16,):
        return None
    if not _is_shape(said.get("shape")) or not _is_size(said.get("blocksize")):
        return None
    shape, block = list(map(int, said["shape"])), int(said["blocksize"])
    count, held = prod(shape), values.read(0, 16).astype(np.float32).ravel()
    nested = (tensors.get(f"{name}.nested_absmax"), tensors.get(f"{name}.nested_quant_map"))
    gains = _absmax(absmax, *nested, said)
    if codes.dtype != "U8" or prod(codes.shape) != -(-count // 2) or prod(absmax.shape) != -(-count // block):
        return None
    if gains is None:
        return None
    scale = gains

    def flat(start: int, stop: int) -> Array:
        raw = codes.numbers(start // 2, -(-stop // 2)).astype(np.uint8)
        both = np.stack([raw >> 4, raw & 15], 1).ravel()[start % 2 :][: stop - start]
        first = start // block
        spread = scale(first, -(-stop // block))[np.arange(start, stop) // block - first]
        found: Array = held[both] * spread
        return found

    parts = (name, absmax.name, values.name, *(one.name for one in nested if one is not None), state)
    return name, parts, _flat(name, tuple(shape), codes.file, flat)


def _absmax(
    absmax: Tensor, nested: Tensor | None, values: Tensor | None, said: Mapping[str, Any]
) -> Callable[[int, int], Array] | None:
    """The largest numbers of the blocks from one to another; they may be quantised themselves."""
    if absmax.dtype in FLOATS:
        return lambda start, stop: absmax.numbers(start, stop).astype(np.float32)
    size, offset = said.get("nested_blocksize"), said.get("nested_offset")
    if absmax.dtype != "U8" or nested is None or values is None or values.shape != (256,) or not _is_size(size):
        return None
    if not isinstance(size, int) or not isinstance(offset, int | float):
        return None
    if prod(nested.shape) != -(-prod(absmax.shape) // size):
        return None
    table, block, shift = values.read(0, 256).astype(np.float32).ravel(), size, np.float32(offset)

    def part(start: int, stop: int) -> Array:
        first = start // block
        wide = nested.numbers(first, -(-stop // block)).astype(np.float32)[np.arange(start, stop) // block - first]
        found: Array = table[absmax.numbers(start, stop).astype(np.uint8)] * wide + shift
        return found

    return part


def _columns(stem: str, tensors: Mapping[str, Tensor]) -> Made | None:
    """GPTQ (numbers of a column under each other in a word) and AWQ (numbers of a row beside each other)."""
    codes, zeros, scales = (tensors.get(f"{stem}{key}") for key in ("qweight", "qzeros", "scales"))
    order = tensors.get(f"{stem}g_idx")
    if codes is None or zeros is None or scales is None or any(len(t.shape) != 2 for t in (codes, zeros, scales)):
        return None
    (groups, units), words = scales.shape, (codes.dtype, zeros.dtype)
    if not set(words) <= {"I32", "U32"} or scales.dtype not in FLOATS or 0 in (groups, units) or zeros.rows != groups:
        return None
    bits = 32 * zeros.shape[1] // units
    if bits not in (2, 4, 8) or 32 * zeros.shape[1] != units * bits:
        return None
    awq = codes.shape[1] == zeros.shape[1] and bits == 4
    inputs = codes.rows if awq else 32 * codes.rows // bits
    if (codes.shape[1] != (zeros.shape[1] if awq else units)) or inputs % groups or 4 * prod(codes.shape) > LARGEST:
        return None
    group = np.arange(inputs) // (inputs // groups)
    if order is not None:
        if order.shape != (inputs,) or order.dtype not in ("I32", "I64"):
            return None
        group = order.numbers(0, inputs).astype(np.int64)
        if not 0 <= group.min() <= group.max() < groups:
            return None
    parts = (codes.name, zeros.name, scales.name, *((order.name,) if order is not None else ()))
    turned = _Turned(codes, zeros, scales, group, bits, awq)
    return f"{stem}weight", parts, Tensor(f"{stem}weight", (units, inputs), "F32", codes.file, turned.rows)


class _Turned:
    """Rows of a matrix whose columns are stored; the stored numbers are held from its first row to its last."""

    def __init__(self, codes: Tensor, zeros: Tensor, scales: Tensor, group: Array, bits: int, awq: bool) -> None:
        self.codes, self.zeros, self.scales, self.group = codes, zeros, scales, group  # group: of each input
        self.bits, self.awq = bits, awq
        self.held: tuple[Array, Array, Array] | None = None

    def rows(self, start: int, stop: int) -> Array:
        held = self._read() if self.held is None else self.held
        self.held = held if stop < self.scales.shape[1] else None
        words, zeros, scales = held
        if self.awq:
            first, last = start // 8, -(-stop // 8)
            whole = self._beside(words[:, first:last])[:, start - 8 * first :][:, : stop - start]
        else:
            whole = (words[:, None, start:stop] >> self._shifts()[None, :, None] & self._mask()).reshape(
                -1, stop - start
            )
        shifted = whole.astype(np.float32) - zeros[self.group, start:stop]
        found: Array = np.ascontiguousarray((shifted * scales[self.group, start:stop]).T)
        return found

    def _read(self) -> tuple[Array, Array, Array]:
        words, zeros, scales = (one.read(0, one.rows) for one in (self.codes, self.zeros, self.scales))
        plain = self._beside(zeros.astype(np.uint32)).astype(np.float32)
        if not self.awq:  # GPTQ keeps zero points less one; its second version does not, which shows where all are 8
            plain += 0 if (plain == 1 << (self.bits - 1)).all() else 1
        return words.astype(np.uint32), plain, scales.astype(np.float32)

    def _beside(self, words: Array) -> Array:
        """(n, w) words -> (n, w * numbers of a word)."""
        found = words[:, :, None] >> self._shifts() & self._mask()
        if self.awq:
            found = found[:, :, np.argsort(ORDER)]
        return found.reshape(len(words), -1)

    def _shifts(self) -> Array:
        return np.arange(0, 32, self.bits, dtype=np.uint32)

    def _mask(self) -> np.uint32:
        return np.uint32((1 << self.bits) - 1)


def _rows(name: str, tensors: Mapping[str, Tensor]) -> Made | None:
    """compressed-tensors: numbers of a row beside each other in a word, half the range above what they stand for."""
    codes, scales, size = (tensors.get(f"{name}{key}") for key in ("_packed", "_scale", "_shape"))
    if codes is None or scales is None or size is None or f"{name}_g_idx" in tensors or prod(size.shape) != 2:
        return None
    units, inputs = (int(n) for n in size.numbers(0, 2))
    if codes.dtype != "I32" or scales.dtype not in FLOATS or len(codes.shape) != 2 or len(scales.shape) != 2:
        return None
    fits = [bits for bits in (4, 8) if codes.shape == (units, -(-inputs * bits // 32))]
    if not fits or scales.rows != units or not scales.shape[1] or inputs % scales.shape[1]:
        return None
    bits, groups, zeros = fits[0], scales.shape[1], tensors.get(f"{name}_zero_point")
    if zeros is not None and not (zeros.dtype == "I32" and zeros.shape == (-(-units * bits // 32), groups)):
        return None
    shifts, mask, each = np.arange(0, 32, bits, dtype=np.uint32), np.uint32((1 << bits) - 1), 32 // bits

    def rows(start: int, stop: int) -> Array:
        words = codes.read(start, stop).astype(np.uint32)
        whole = (words[:, :, None] >> shifts & mask).reshape(stop - start, -1)[:, :inputs].astype(np.float32)
        gain, middle = scales.read(start, stop).astype(np.float32), np.float32(1 << (bits - 1))
        parts = whole.reshape(stop - start, groups, -1)
        if zeros is None:
            parts -= middle
        else:
            first = start // each
            under = zeros.read(first, -(-stop // each)).astype(np.uint32)[:, None, :] >> shifts[:, None] & mask
            parts -= under.reshape(-1, groups)[start - first * each :][: stop - start, :, None]
        return (parts * gain[:, :, None]).reshape(stop - start, inputs)

    used = (codes.name, scales.name, size.name, *((zeros.name,) if zeros is not None else ()))
    return name, used, Tensor(name, (units, inputs), "F32", codes.file, rows)


def _microscaled(name: str, tensors: Mapping[str, Tensor]) -> Made | None:
    """MXFP4: 32 floats of 4 bits, the first of two in the lower half of a byte, and the exponent that they share."""
    codes, scales = tensors.get(f"{name}_blocks"), tensors.get(f"{name}_scales")
    if codes is None or scales is None or {codes.dtype, scales.dtype} != {"U8"} or len(codes.shape) < 3:
        return None
    if codes.shape != (*scales.shape, GROUP // 2):
        return None
    shape = (*scales.shape[:-1], scales.shape[-1] * GROUP)

    def flat(start: int, stop: int) -> Array:
        first, last = start // GROUP, -(-stop // GROUP)
        raw = codes.numbers(first * GROUP // 2, last * GROUP // 2).astype(np.uint8).reshape(-1, GROUP // 2)
        both = np.stack([raw & 15, raw >> 4], 2).reshape(-1, GROUP)
        gain = np.exp2(scales.numbers(first, last).astype(np.float32) - 127)
        found: Array = (FP4[both] * gain[:, None]).ravel()[start - first * GROUP :][: stop - start]
        return found

    return name, (codes.name, scales.name), _flat(name, shape, codes.file, flat)


def _flat(name: str, shape: tuple[int, ...], file: str, flat: Callable[[int, int], Array]) -> Tensor:
    columns = prod(shape[1:])

    def rows(start: int, stop: int) -> Array:
        return flat(start * columns, stop * columns).reshape(stop - start, columns)

    return Tensor(name, shape, "F32", file, rows, flat)


def _json(one: Tensor) -> Mapping[str, Any]:
    """A table of JSON that is kept as bytes in a tensor; empty where it is none."""
    if one.dtype != "U8" or prod(one.shape) > 1 << 16:
        return {}
    try:
        found = json.loads(one.numbers(0, prod(one.shape)).astype(np.uint8).tobytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_shape(shape: object) -> bool:
    return isinstance(shape, list) and 0 < len(shape) <= 8 and all(type(n) is int and 0 < n < 2**40 for n in shape)


def _is_size(block: object) -> bool:
    return type(block) is int and 0 < block <= 1 << 20
