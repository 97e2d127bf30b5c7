"""Blocks of GGUF: the numbers as the format defines them, and what is said of blocks that are not read."""

import struct

import numpy as np
import pytest

from undertow.opening import open_checkpoint
from undertow.opening.ggml import CURVE, FP4, SIZES, unpacked
from undertow.opening.inside.gguf import BLOCKS
from undertow.rng import stream
from undertow.workflows.scan import scan_checkpoint

TYPES = {name: code for code, (name, _, _) in BLOCKS.items()}
IQ2_S = 22


def half(raw, at):
    return struct.unpack_from("<e", raw, at)[0]


def plainly(raw, kind):
    """One block of 32 numbers, number by number, as ggml-quants.c dequantises it."""
    scale = half(raw, 0)
    if kind == "Q8_0":
        return [scale * b for b in struct.unpack("<32b", raw[2:])]
    nibbles = [raw[-16 + i] & 15 if i < 16 else raw[-32 + i] >> 4 for i in range(32)]
    if kind == "IQ4_NL":
        return [scale * float(CURVE[nibble]) for nibble in nibbles]
    if kind == "MXFP4":
        return [2.0 ** (raw[0] - 127) * float(FP4[nibble]) for nibble in nibbles]
    least = half(raw, 2) if kind.endswith("1") else None
    at = 2 if least is None else 4
    high = struct.unpack("<I", raw[at : at + 4])[0] if kind[1] == "5" else 0
    whole = [nibble | (high >> i & 1) << 4 for i, nibble in enumerate(nibbles)]
    middle = 16 if kind[1] == "5" else 8
    return [scale * (one - middle) if least is None else scale * one + least for one in whole]


def k_scale(j, q):
    """get_scale_min_k4."""
    if j < 4:
        return q[j] & 63, q[j + 4] & 63
    return (q[j + 4] & 15) | (q[j - 4] >> 6) << 4, (q[j + 4] >> 4) | (q[j] >> 6) << 4


def signed(byte):
    return byte - 256 if byte > 127 else byte


def number(raw, kind, i):
    """Number `i` of a block of 256, by where its parts lie."""
    part, low = divmod(i, 128)
    group, at = divmod(low, 32)  # groups of 32 in a half
    if kind == "Q2_K":
        scale = raw[8 * part + 2 * group + at // 16]
        return half(raw, 80) * (scale & 15) * (raw[16 + 32 * part + at] >> 2 * group & 3) - half(raw, 82) * (scale >> 4)
    if kind == "Q3_K":
        j = 8 * part + 2 * group + at // 16
        scale = (raw[96 + j] & 15 if j < 8 else raw[88 + j] >> 4) | (raw[104 + j % 4] >> 2 * (j // 4) & 3) << 4
        whole = (raw[32 + 32 * part + at] >> 2 * group & 3) - (0 if raw[at] >> (4 * part + group) & 1 else 4)
        return half(raw, 108) * (scale - 32) * whole
    if kind in ("Q4_K", "Q5_K"):
        j = i // 32
        scale, least = k_scale(j, raw[4:16])
        byte = raw[-128 + 32 * (j // 2) + at]
        whole = (byte >> 4 if j % 2 else byte & 15) + 16 * (raw[16 + at] >> j & 1 if kind == "Q5_K" else 0)
        return half(raw, 0) * scale * whole - half(raw, 2) * least
    if kind == "Q6_K":
        byte = raw[64 * part + 32 * (group % 2) + at]
        whole = (byte >> 4 if group > 1 else byte & 15) | (raw[128 + 32 * part + at] >> 2 * group & 3) << 4
        return half(raw, 208) * signed(raw[192 + 8 * part + 2 * group + at // 16]) * (whole - 32)
    if kind == "IQ4_XS":
        j = i // 32
        high = struct.unpack_from("<H", raw, 2)[0] >> 2 * j & 3
        scale = (raw[4 + j // 2] >> 4 * (j % 2) & 15) | high << 4
        byte = raw[8 + 16 * j + at % 16]
        return half(raw, 0) * (scale - 32) * float(CURVE[byte >> 4 if at > 15 else byte & 15])
    if kind == "TQ2_0":
        return half(raw, 64) * ((raw[32 * part + at] >> 2 * group & 3) - 1)
    place, power = (
        (i % 32, i // 32) if i < 160 else (32 + i % 16, (i - 160) // 16) if i < 240 else (48 + i % 4, i // 4 - 60)
    )
    return half(raw, 52) * ((raw[place] * 3**power % 256 * 3 >> 8) - 1)


def slowly(raw, kind):
    return plainly(raw, kind) if SIZES[kind][0] == 32 else [number(raw, kind, i) for i in range(256)]


HALVES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "TQ1_0": (52,), "TQ2_0": (64,), "MXFP4": ()}


def blocks(kind, count):
    rng = stream(0, "gguf", kind)
    raw = rng.integers(0, 256, (count, SIZES[kind][1]), dtype=np.uint8)
    for at in HALVES.get(kind, (0, 2) if kind[-1] in "1K" else (0,)):  # scales that are finite
        raw[:, at : at + 2] = rng.normal(size=(count, 1)).astype("<f2").view(np.uint8)
    return raw


def test_both_processes_know_the_same_blocks():
    assert {name: (numbers, size) for name, numbers, size in BLOCKS.values()} == SIZES


@pytest.mark.parametrize("kind", TYPES)
def test_blocks_are_what_the_format_says(kind):
    raw = blocks(kind, 3)
    expected = np.concatenate([slowly(row.tobytes(), kind) for row in raw])
    np.testing.assert_allclose(unpacked(raw.ravel(), kind), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", TYPES)
def test_blocks_are_what_the_package_of_the_format_reads(kind):
    quants = pytest.importorskip("gguf.quants")
    raw = blocks(kind, 50)
    expected = quants.dequantize(raw, quants.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(unpacked(raw.ravel(), kind), expected.ravel())


def gguf(path, kind, shape, raw):
    name = b"blk.0.ffn_up.weight"
    head = struct.pack("<4sIQQQ", b"GGUF", 3, 1, 0, len(name)) + name + struct.pack("<I", len(shape))
    head += b"".join(struct.pack("<Q", size) for size in shape[::-1]) + struct.pack("<IQ", kind, 0)
    path.write_bytes(head + bytes(-len(head) % 32) + raw)
    return path


@pytest.mark.parametrize("kind", TYPES)
def test_rows_of_a_file_are_read_by_the_block(tmp_path, kind):
    numbers = SIZES[kind][0]
    raw = blocks(kind, 24)
    path = gguf(tmp_path / "model.gguf", TYPES[kind], (12, 2 * numbers), raw.tobytes())
    with open_checkpoint(path) as opened:
        (one,) = opened.tensors.values()
        np.testing.assert_array_equal(one.read(5, 7), unpacked(raw[10:14].ravel(), kind).reshape(2, 2 * numbers))
        assert opened.files[0].complete


@pytest.mark.parametrize(("shape", "size"), [((12, 60), 24 * 34), ((12, 64), 23 * 34), ((2**40, 64), 24 * 34)])
def test_blocks_that_do_not_fit_are_malformed(tmp_path, shape, size):
    path = gguf(tmp_path / "model.gguf", TYPES["Q8_0"], shape, bytes(size))
    with open_checkpoint(path) as opened:
        assert {one.kind for one in opened.findings} == {"malformed"}
        assert not opened.tensors


def test_blocks_that_are_not_read_are_unknown_and_counted(tmp_path):
    path = gguf(tmp_path / "model.gguf", IQ2_S, (16, 256), bytes(16 * 82))
    result = scan_checkpoint(path)
    assert result.verdict == "unknown"
    assert result.coverage.kinds == {"packed, not read": (0, 16 * 256)}
    assert any("0 %" in one.explanation for one in result.findings if one.kind == "not-examined")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [(2, 0), (0, 256), (0,)])
def test_tensors_without_numbers_hold_none(tmp_path, kind, shape):
    path = gguf(tmp_path / "model.gguf", TYPES[kind], shape, b"")
    with open_checkpoint(path) as opened:
        assert [tensor.whole().shape for tensor in opened.tensors.values()] == [shape]
    assert scan_checkpoint(path).verdict == "unknown"
