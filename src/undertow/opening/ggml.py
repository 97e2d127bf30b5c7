"""Numbers in blocks, as ggml (llama.cpp) keeps them: bytes of whole blocks -> float32. NumPy only.

Layouts: ggml/src/ggml-common.h; what they stand for: ggml/src/ggml-quants.c (dequantize_row_*). A block of the plain
types has 32 numbers and a scale; one of the K types has 256, with scales (and least numbers) of parts of it, which are
whole numbers themselves. Formats that look their numbers up in a grid (IQ1 to IQ3) are not read.
"""

from collections.abc import Callable

import numpy as np

from undertow.types import Array

SIZES = {  # numbers of a block, and its bytes
    **{"Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34)},
    **{"Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210)},
    **{"IQ4_NL": (32, 18), "IQ4_XS": (256, 136), "MXFP4": (32, 17)},
    **{"TQ1_0": (256, 54), "TQ2_0": (256, 66)},
}
CURVE = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)  # IQ4
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)  # E2M1


def unpacked(raw: Array, dtype: str) -> Array:
    """The numbers of whole blocks of a type, in their order. `raw`: (n * bytes of a block,) uint8."""
    if not raw.size:
        return np.empty(0, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # scales that are no numbers are said to be so by the scan
        numbers = READERS[dtype](raw.reshape(-1, SIZES[dtype][1]))
    flat: Array = np.ascontiguousarray(numbers, np.float32).reshape(-1)
    return flat


def _half(part: Array) -> Array:
    """(n, 2) bytes -> (n, 1) float32."""
    wide: Array = np.ascontiguousarray(part).view("<f2").astype(np.float32)
    return wide


def _nibbles(part: Array, width: int) -> Array:
    """Groups of `width` bytes: their lower halves, then their upper ones. (n, b) -> (n, 2 b)."""
    groups = part.reshape(len(part), -1, width)
    both: Array = np.concatenate([groups & 15, groups >> 4], 2).reshape(len(part), -1)
    return both


def _plain(rows: Array, bits: int, least: bool) -> Array:
    """Q4_0, Q4_1, Q5_0, Q5_1: a scale, a least number (_1), fifth bits (Q5), lower and upper halves of 16 bytes."""
    whole = _nibbles(rows[:, -16:], 16).astype(np.float32)
    at = 4 if least else 2
    if bits == 5:
        whole += 16 * np.unpackbits(rows[:, at : at + 4], axis=1, bitorder="little").astype(np.float32)
    found: Array = (whole - (0 if least else 16 if bits == 5 else 8)) * _half(rows[:, :2])
    return found + _half(rows[:, 2:4]) if least else found


def _q8_0(rows: Array) -> Array:
    found: Array = rows[:, 2:].view(np.int8).astype(np.float32) * _half(rows[:, :2])
    return found


def _q2_k(rows: Array) -> Array:
    """Scales and least numbers of 16 numbers each in 4 bits; numbers in 2 bits, 32 apart."""
    scales, numbers = rows[:, :16], rows[:, 16:80].reshape(-1, 2, 1, 32)
    whole = (numbers >> _shifts(0, 2, 4, 6) & 3).reshape(-1, 16, 16).astype(np.float32)
    gain, least = _half(rows[:, 80:82]) * (scales & 15), _half(rows[:, 82:84]) * (scales >> 4)
    found: Array = whole * gain[:, :, None] - least[:, :, None]
    return found


def _q3_k(rows: Array) -> Array:
    """A third bit for each number, numbers in 2 bits, 16 scales in 6 bits."""
    low = (rows[:, 32:96].reshape(-1, 2, 1, 32) >> _shifts(0, 2, 4, 6) & 3).reshape(-1, 16, 16)
    high = (rows[:, None, :32] >> np.arange(8, dtype=np.uint8)[:, None] & 1).reshape(-1, 16, 16)
    scales = _nibbles(rows[:, 96:104], 8) | ((rows[:, None, 104:108] >> _shifts(0, 2, 4, 6)[0] & 3) << 4).reshape(
        -1, 16
    )
    gain = _half(rows[:, 108:110]) * (scales.astype(np.float32) - 32)
    found: Array = (low.astype(np.float32) + 4 * high.astype(np.float32) - 4) * gain[:, :, None]
    return found


def _k_scales(packed: Array) -> tuple[Array, Array]:
    """(n, 12) bytes -> 8 scales and 8 least numbers of 6 bits (get_scale_min_k4)."""
    low, mid, top = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([low & 63, (top & 15) | (low >> 6) << 4], 1)
    least = np.concatenate([mid & 63, (top >> 4) | (mid >> 6) << 4], 1)
    return scales.astype(np.float32), least.astype(np.float32)


def _q45_k(rows: Array, bits: int) -> Array:
    """Q4_K and Q5_K: scale of scales, scale of least numbers, both packed, fifth bits (Q5), halves of 32 bytes."""
    scales, least = _k_scales(rows[:, 4:16])
    whole = _nibbles(rows[:, -128:], 32).reshape(-1, 8, 32).astype(np.float32)
    if bits == 5:
        whole += 16 * (rows[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1).astype(np.float32)
    gain, shift = _half(rows[:, :2]) * scales, _half(rows[:, 2:4]) * least
    found: Array = whole * gain[:, :, None] - shift[:, :, None]
    return found


def _q6_k(rows: Array) -> Array:
    """Lower 4 bits, upper 2 bits, 16 scales of 8 bits."""
    low = _nibbles(rows[:, :128], 64).reshape(-1, 2, 4, 32)
    high = (rows[:, 128:192].reshape(-1, 2, 1, 32) >> _shifts(0, 2, 4, 6) & 3) << 4
    whole = ((low | high).astype(np.float32) - 32).reshape(-1, 16, 16)
    gain = _half(rows[:, 208:210]) * rows[:, 192:208].view(np.int8).astype(np.float32)
    found: Array = whole * gain[:, :, None]
    return found


def _iq4_nl(rows: Array) -> Array:
    found: Array = CURVE[_nibbles(rows[:, 2:], 16)] * _half(rows[:, :2])
    return found


def _iq4_xs(rows: Array) -> Array:
    """Scales of 32 numbers in 6 bits: 4 in bytes 4 to 7, 2 in bytes 2 and 3."""
    high = np.ascontiguousarray(rows[:, 2:4]).view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    scales = _nibbles(rows[:, 4:8], 1).astype(np.float32) + 16 * high.astype(np.float32)
    gain = _half(rows[:, :2]) * (scales - 32)
    found: Array = CURVE[_nibbles(rows[:, 8:], 16)].reshape(-1, 8, 32) * gain[:, :, None]
    return found


def _mxfp4(rows: Array) -> Array:
    """A power of two, and 4-bit floats."""
    found: Array = FP4[_nibbles(rows[:, 1:], 16)] * np.exp2(rows[:, :1].astype(np.float32) - 127)
    return found


def _tq1_0(rows: Array) -> Array:
    """Numbers of -1, 0 and 1: five in a byte (48 bytes), four in a byte (4 bytes)."""
    powers = np.array([1, 3, 9, 27, 81], np.uint8)[:, None]
    first = (rows[:, None, :32] * powers).reshape(-1, 160)
    second = (rows[:, None, 32:48] * powers).reshape(-1, 80)
    third = (rows[:, None, 48:52] * powers[:4]).reshape(-1, 16)
    whole = np.concatenate([first, second, third], 1).astype(np.uint16) * 3 >> 8
    found: Array = (whole.astype(np.float32) - 1) * _half(rows[:, 52:54])
    return found


def _tq2_0(rows: Array) -> Array:
    whole = (rows[:, :64].reshape(-1, 2, 1, 32) >> _shifts(0, 2, 4, 6) & 3).reshape(-1, 256)
    found: Array = (whole.astype(np.float32) - 1) * _half(rows[:, 64:66])
    return found


def _shifts(*bits: int) -> Array:
    return np.array(bits, np.uint8)[None, :, None]


READERS: dict[str, Callable[[Array], Array]] = {
    "Q4_0": lambda rows: _plain(rows, 4, False),
    "Q4_1": lambda rows: _plain(rows, 4, True),
    "Q5_0": lambda rows: _plain(rows, 5, False),
    "Q5_1": lambda rows: _plain(rows, 5, True),
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": lambda rows: _q45_k(rows, 4),
    "Q5_K": lambda rows: _q45_k(rows, 5),
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
}
