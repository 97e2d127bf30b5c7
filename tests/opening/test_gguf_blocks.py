"""Blocks of GGUF: the numbers as the format defines them, and what is said of blocks that are not read."""

import struct

import numpy as np
import pytest

from undertow.opening import open_checkpoint
from undertow.opening.blocks import PACKED, unpacked
from undertow.rng import stream
from undertow.workflows.scan import scan_checkpoint

TYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8}
Q4_K = 12


def slowly(raw, kind):
    """One block, number by number, as ggml-quants.c dequantises it."""
    (scale,) = struct.unpack("<e", raw[:2])
    if kind == "Q8_0":
        return [scale * b for b in struct.unpack("<32b", raw[2:])]
    least = struct.unpack("<e", raw[2:4])[0] if kind.endswith("1") else None
    at = 2 if least is None else 4
    high = struct.unpack("<I", raw[at : at + 4])[0] if kind[1] == "5" else 0
    nibbles, numbers = raw[-16:], []
    for i in range(32):
        low = nibbles[i] & 15 if i < 16 else nibbles[i - 16] >> 4
        whole = low | (high >> i & 1) << 4
        middle = 16 if kind[1] == "5" else 8
        numbers.append(scale * (whole - middle) if least is None else scale * whole + least)
    return numbers


def blocks(kind, count):
    rng = stream(0, "gguf", kind)
    raw = rng.integers(0, 256, (count, PACKED[kind]), dtype=np.uint8)
    raw[:, :4] = np.array([0.5, -0.25], "<f2").view(np.uint8)  # scales that are finite
    return raw


@pytest.mark.parametrize("kind", TYPES)
def test_blocks_are_what_the_format_says(kind):
    raw = blocks(kind, 3)
    expected = np.concatenate([slowly(row.tobytes(), kind) for row in raw])
    np.testing.assert_allclose(unpacked(raw.ravel(), kind), expected, rtol=1e-6)


def gguf(path, kind, shape, raw):
    name = b"blk.0.ffn_up.weight"
    head = struct.pack("<4sIQQQ", b"GGUF", 3, 1, 0, len(name)) + name + struct.pack("<I", len(shape))
    head += b"".join(struct.pack("<Q", size) for size in shape[::-1]) + struct.pack("<IQ", kind, 0)
    path.write_bytes(head + bytes(-len(head) % 32) + raw)
    return path


@pytest.mark.parametrize("kind", TYPES)
def test_rows_of_a_file_are_read_by_the_block(tmp_path, kind):
    raw = blocks(kind, 24)
    path = gguf(tmp_path / "model.gguf", TYPES[kind], (12, 64), raw.tobytes())
    with open_checkpoint(path) as opened:
        (one,) = opened.tensors.values()
        np.testing.assert_array_equal(one.read(5, 7), unpacked(raw[10:14].ravel(), kind).reshape(2, 64))
        assert opened.files[0].complete


@pytest.mark.parametrize(("shape", "size"), [((12, 60), 24 * 34), ((12, 64), 23 * 34), ((2**40, 64), 24 * 34)])
def test_blocks_that_do_not_fit_are_malformed(tmp_path, shape, size):
    path = gguf(tmp_path / "model.gguf", TYPES["Q8_0"], shape, bytes(size))
    with open_checkpoint(path) as opened:
        assert {one.kind for one in opened.findings} == {"malformed"}
        assert not opened.tensors


def test_blocks_that_are_not_read_are_unknown_and_counted(tmp_path):
    path = gguf(tmp_path / "model.gguf", Q4_K, (16, 256), bytes(16 * 144))
    result = scan_checkpoint(path)
    assert result.verdict == "unknown"
    assert result.coverage.kinds == {"packed, not read": (0, 16 * 256)}
    assert any("0 %" in one.explanation for one in result.findings if one.kind == "not-examined")
