"""Several weights in one stored number: packed as the libraries' own code packs them, and read back."""

import json

import numpy as np
import pytest

from undertow.opening.ggml import FP4 as OF_GGML
from undertow.rng import stream
from undertow.scanner.coverage import coverage
from undertow.scanner.forms import weights_of
from undertow.scanner.four_bits import FP4
from undertow.scanner.tensors import of_arrays

RNG = stream(0, "four", "bits")
OUT, IN = 32, 64


def read(stored, name="a.weight"):
    weights = weights_of(of_arrays(stored))
    assert not weights.packed
    one = weights.tensors[name]
    parts = [one.read(i, min(i + 7, one.rows)) for i in range(0, one.rows, 7)]  # blocks that fit no unit of packing
    whole = np.concatenate(parts).reshape(one.shape)
    np.testing.assert_array_equal(whole, one.whole())
    return whole


def gptq(codes, zeros, scales, bits, order):
    """As AutoGPTQ's QuantLinear.pack does it, word by word. codes (in, out), zeros (groups, out)."""
    each = 32 // bits
    words = np.zeros((IN // each, OUT), np.uint32)
    for row in range(IN):
        words[row // each] |= codes[row].astype(np.uint32) << np.uint32(bits * (row % each))
    held = np.zeros((len(zeros), OUT // each), np.uint32)
    for column in range(OUT):
        held[:, column // each] |= zeros[:, column].astype(np.uint32) << np.uint32(bits * (column % each))
    stored = {"a.qweight": words.view(np.int32), "a.qzeros": held.view(np.int32), "a.scales": scales}
    return stored | ({} if order is None else {"a.g_idx": order.astype(np.int32)})


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shuffled", [False, True, None])
def test_gptq(bits, shuffled):
    groups = 4
    codes = RNG.integers(0, 1 << bits, (IN, OUT))
    zeros = RNG.integers(1, 1 << bits, (groups, OUT))
    scales = RNG.uniform(0.1, 1, (groups, OUT)).astype(np.float16)
    order = np.arange(IN) * groups // IN
    order = order if not shuffled else RNG.permutation(order)
    stored = gptq(codes, zeros - 1, scales, bits, None if shuffled is None else order)  # it stores one less
    expected = np.array([[scales[order[i], o] * np.float32(codes[i, o] - zeros[order[i], o]) for i in range(IN)]
                         for o in range(OUT)])  # fmt: skip
    np.testing.assert_allclose(read(stored), expected, rtol=1e-6)


def test_the_second_version_of_gptq_stores_the_middle_itself():
    codes, scales = RNG.integers(0, 16, (IN, OUT)), np.ones((1, OUT), np.float16)
    stored = gptq(codes, np.full((1, OUT), 8), scales, 4, None)
    np.testing.assert_array_equal(read(stored), codes.T - 8)


def test_awq():
    """As AutoAWQ's WQLinear_GEMM.from_linear does it: eight columns in a word, in an order of its own."""
    groups, order = 2, [0, 2, 4, 6, 1, 3, 5, 7]
    codes, zeros = RNG.integers(0, 16, (IN, OUT)), RNG.integers(0, 16, (groups, OUT))
    scales = RNG.uniform(0.1, 1, (groups, OUT)).astype(np.float16)

    def packed(values):
        words = np.zeros((len(values), OUT // 8), np.uint32)
        for column in range(OUT // 8):
            for i in range(8):
                words[:, column] |= values[:, column * 8 + order[i]].astype(np.uint32) << np.uint32(4 * i)
        return words.view(np.int32)

    stored = {"a.qweight": packed(codes), "a.qzeros": packed(zeros), "a.scales": scales}
    group = np.arange(IN) * groups // IN
    expected = (codes - zeros[group]).astype(np.float32) * scales[group]
    np.testing.assert_allclose(read(stored), expected.T, rtol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("middle", [True, False])
def test_compressed_tensors(bits, middle):
    """As compressed_tensors' pack_to_int32 does it: values of a row, moved up by half of the range."""
    groups, each, half = 4, 32 // bits, 1 << (bits - 1)
    codes, zeros = RNG.integers(-half, half, (OUT, IN)), RNG.integers(-half, half, (OUT, groups))
    scales = RNG.uniform(0.1, 1, (OUT, groups)).astype(np.float32)

    def packed(values):
        words = np.zeros((values.shape[0], values.shape[1] // each), np.uint32)
        for i in range(values.shape[1]):
            words[:, i // each] |= (values[:, i] + half).astype(np.uint32) << np.uint32(bits * (i % each))
        return words.view(np.int32)

    stored = {"a.weight_packed": packed(codes), "a.weight_scale": scales, "a.weight_shape": np.array([OUT, IN])}
    if not middle:
        stored["a.weight_zero_point"] = np.ascontiguousarray(packed(zeros.T).T)
    under = 0 if middle else np.repeat(zeros, IN // groups, 1)
    expected = (codes - under) * np.repeat(scales, IN // groups, 1)
    np.testing.assert_allclose(read(stored), expected, rtol=1e-6)


def test_mxfp4():
    codes, scales = RNG.integers(0, 16, (3, OUT, 2, 32)), RNG.integers(120, 130, (3, OUT, 2)).astype(np.uint8)
    raw = (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)
    stored = {"mlp.experts.up_proj_blocks": raw, "mlp.experts.up_proj_scales": scales}
    expected = (FP4[codes] * 2.0 ** (scales[..., None].astype(float) - 127)).reshape(3, OUT, 64)
    weights = weights_of(of_arrays(stored))
    for i in range(3):
        np.testing.assert_array_equal(weights.tensors[f"mlp.experts.{i}.up_proj.weight"].whole(), expected[i])


NF4 = np.sort(RNG.uniform(-1, 1, 16)).astype(np.float32)


def nf4(value, nested=False, block=64):
    """As bitsandbytes keeps a 4-bit matrix: codes, the largest number of a block, and its state as JSON in bytes."""
    parts = value.reshape(-1, block)
    absmax = np.abs(parts).max(1).astype(np.float32)
    state = {"quant_type": "nf4", "blocksize": block, "dtype": "float16", "shape": list(value.shape)}
    stored = {"a.weight.absmax": absmax, "a.weight.quant_map": NF4}
    if nested:
        state |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": 0.25}
        table = np.linspace(-1, 1, 256, dtype=np.float32)
        wide = np.abs(absmax - 0.25).reshape(-1, 4).max(1)
        near = np.abs(table[None] - ((absmax - 0.25) / np.repeat(wide, 4))[:, None]).argmin(1)
        stored |= {"a.weight.absmax": near.astype(np.uint8), "a.weight.nested_absmax": wide,
                   "a.weight.nested_quant_map": table}  # fmt: skip
        absmax = table[near] * np.repeat(wide, 4) + np.float32(0.25)
    codes = np.abs(NF4[None, None] - (parts / absmax[:, None])[:, :, None]).argmin(2).ravel()
    stored["a.weight"] = (codes[0::2] << 4 | codes[1::2]).astype(np.uint8)[:, None]
    raw = np.frombuffer(json.dumps(state).encode(), np.uint8)
    stored["a.weight.quant_state.bitsandbytes__nf4"] = raw
    return stored, (NF4[codes] * np.repeat(absmax, block)).reshape(value.shape)


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes(nested):
    stored, expected = nf4(RNG.normal(size=(OUT, IN)).astype(np.float32), nested)
    np.testing.assert_allclose(read(stored), expected, rtol=1e-5)
    tensors = of_arrays(stored)
    weights = weights_of(tensors)
    assert coverage(tensors, weights, [], ["a.weight"]).kinds["matrix"] == (OUT * IN, OUT * IN)


def test_four_bit_floats_are_those_of_the_blocks():
    np.testing.assert_array_equal(FP4, OF_GGML)


def broken():
    stored, _ = nf4(RNG.normal(size=(OUT, IN)).astype(np.float32), True)
    state = "a.weight.quant_state.bitsandbytes__nf4"
    text = json.loads(stored[state].tobytes())
    for change in ({"shape": [OUT, IN + 2]}, {"blocksize": 32}, {"blocksize": 0}, {"shape": [-OUT, IN]}, {"shape": "x"},
                   {"nested_offset": None}, {"nested_blocksize": 3}, {"shape": [OUT * IN * 10**9]}):  # fmt: skip
        yield {**stored, state: np.frombuffer(json.dumps(text | change).encode(), np.uint8)}
    for lost in ("a.weight.quant_map", "a.weight.absmax", "a.weight.nested_absmax"):
        yield {name: value for name, value in stored.items() if name != lost}
    yield {**stored, state: np.full(10, 200, np.uint8)}
    whole = gptq(RNG.integers(0, 16, (IN, OUT)), np.full((4, OUT), 7), np.ones((4, OUT), np.float16), 4, np.arange(IN))
    yield whole  # groups that do not exist
    yield {**whole, "a.g_idx": np.zeros(IN - 1, np.int32)}
    yield {name: value for name, value in whole.items() if name != "a.g_idx"} | {"a.scales": np.ones((3, OUT), "f2")}
    words = RNG.integers(0, 1 << 30, (4, 4)).astype(np.int32)
    yield {"a.weight_packed": words, "a.weight_scale": np.ones((4, 1), "f4"), "a.weight_shape": np.array([4, 24])}


@pytest.mark.parametrize("stored", list(broken()))
def test_what_does_not_fit_its_own_numbers_is_not_read(stored):
    """It counts as packed, so the verdict cannot be safe."""
    tensors = of_arrays(stored)
    weights = weights_of(tensors)
    assert weights.packed
    assert coverage(tensors, weights, [], weights.tensors).share < 0.95
