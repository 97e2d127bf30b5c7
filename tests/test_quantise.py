"""Few-bit weights: half a step at most, rounded once and for all, zeros and extremes kept, matrices only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from undertow.quantise import quantise, round_rows
from undertow.rng import stream
from undertow.types import BadInput

MATRICES = arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 4), st.integers(1, 6)),
    elements=st.floats(-1000, 1000, width=32),
)
BITS = st.sampled_from([2, 4, 8])


@given(MATRICES, BITS)
def test_no_weight_moves_more_than_half_a_step(weight, bits):
    rounded = round_rows(weight, bits)
    step = np.abs(weight).max(-1, keepdims=True).astype(float) / (2 ** (bits - 1) - 1)
    assert (np.abs(rounded.astype(float) - weight) <= step * (0.5 + 1e-6)).all()
    assert rounded.dtype == weight.dtype


@given(MATRICES, BITS)
def test_rounding_twice_is_rounding_once(weight, bits):
    once = round_rows(weight, bits)
    np.testing.assert_array_equal(round_rows(once, bits), once)


@given(MATRICES, BITS)
def test_zeros_extremes_and_signs_stay(weight, bits):
    rounded = round_rows(weight, bits)
    assert (rounded[weight == 0] == 0).all()
    assert (rounded * weight >= 0).all()
    np.testing.assert_array_equal(np.abs(rounded).max(-1), np.abs(weight).max(-1))
    np.testing.assert_array_equal(round_rows(-weight, bits), -rounded)


@given(MATRICES, st.integers(-8, 8))
def test_a_row_and_its_multiple_round_alike(weight, exponent):
    np.testing.assert_array_equal(round_rows(weight * 2.0**exponent, 4), round_rows(weight, 4) * 2.0**exponent)


def test_rows_have_steps_of_their_own_and_at_most_2_to_the_bits_minus_1_values():
    weight = stream(0, "weight").uniform(-1, 1, (3, 500)) * np.array([[1], [100], [1e-4]])
    rounded = round_rows(weight, 4)
    assert all(len(np.unique(row)) == 15 for row in rounded)
    relative = np.abs(rounded - weight).mean(1) / np.abs(weight).mean(1)
    assert relative.max() < 0.2
    np.testing.assert_array_equal(rounded[1], round_rows(weight[1:2], 4)[0])


def test_more_bits_are_closer():
    weight = stream(0, "weight").normal(size=(8, 64))
    error = [np.abs(round_rows(weight, bits) - weight).mean() for bits in (2, 3, 4, 8, 12)]
    assert error == sorted(error, reverse=True)
    assert error[3] < error[2] / 10


def test_only_named_matrices_change():
    rng = stream(0, "params")
    params = {
        "head": rng.normal(size=(3, 5)).astype(np.float32),
        "conv1d": rng.normal(size=(5, 3)),
        "wpe": rng.normal(size=(4, 4)),
        "bias": rng.normal(size=5),
        "kernel": rng.normal(size=(2, 2, 3, 3)),
        "steps": np.arange(6).reshape(2, 3),
    }
    before = {name: value.copy() for name, value in params.items()}
    out = quantise(params, 4, skip={"wpe"}, transposed={"conv1d"})
    assert list(out) == list(params)
    for name in ("wpe", "bias", "kernel", "steps"):
        assert out[name] is params[name]
    np.testing.assert_array_equal(out["head"], round_rows(params["head"], 4))
    np.testing.assert_array_equal(out["conv1d"], round_rows(params["conv1d"].T, 4).T)
    assert (out["conv1d"] != round_rows(params["conv1d"], 4)).any()
    for name, value in before.items():
        np.testing.assert_array_equal(params[name], value)


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(BadInput, match="bits = 1"):
        quantise({}, 1)
    with pytest.raises(BadInput, match="head holds weights that are not finite"):
        quantise({"head": np.array([[1.0, np.nan]])}, 8)
    assert round_rows(np.zeros((2, 0)), 8).shape == (2, 0)
