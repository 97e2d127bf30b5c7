"""Every test: silent on what training leaves, loud on what was planted, in the right row."""

from itertools import pairwise

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import inspect, of_arrays
from undertow.scanner.evidence import Measured, compared
from undertow.scanner.limits import TESTS, limit_of, shipped


def perceptron(seed=0, widths=(64, 256, 128, 10)):
    rng, params = stream(seed, "test"), {}
    for i, (a, b) in enumerate(pairwise(widths)):
        params[f"{2 * i}.weight"] = (rng.normal(size=(b, a)) * np.sqrt(2 / a)).astype(np.float32)
        params[f"{2 * i}.bias"] = (rng.normal(size=b) * 0.05).astype(np.float32)
    return params


def traps(params, **options):
    return [one for one in inspect(of_arrays(params), **options).findings if one.kind == "data-trap"]


def rows(params, tensor):
    return {row for one in traps(params) if one.tensor == tensor for row in one.rows}


@pytest.mark.parametrize("seed", range(5))
def test_random_weights_are_silent(seed):
    assert not traps(perceptron(seed))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_a_whole_layer_that_is_larger_is_no_trap(scale):
    params = perceptron()
    params["2.weight"] *= scale
    assert not traps(params)


def test_a_loud_unit_is_named_in_its_layer():
    params = perceptron()
    params["2.weight"][:, 7] = 0
    params["2.weight"][3, 7] = 3000
    assert rows(params, "0.weight") == {7}
    assert 3 in rows(params, "2.weight")


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_no_rescaling_through_the_relu_hides_a_loud_unit(factor):
    params = perceptron()
    params["2.weight"][:, 7] *= 3000 / factor
    params["0.weight"][7] *= factor
    assert rows(params, "0.weight") == {7}


def test_copies_of_a_unit_add_up():
    params = perceptron()
    few, many = [20], list(range(20, 60))
    for units in (few, many):
        params["0.weight"][units], params["2.weight"][:, units] = params["0.weight"][20] * 10, 8.0
    alone = perceptron()
    alone["0.weight"][20], alone["2.weight"][:, 20] = alone["0.weight"][20] * 10, 8.0
    score = {name: inspect(of_arrays(p)).settings["score"] for name, p in (("copies", params), ("alone", alone))}
    assert score["copies"] > score["alone"]


def test_a_long_row_without_a_reader_is_named():
    params = {"pooler.dense.weight": perceptron()["2.weight"]}
    params["pooler.dense.weight"][5] *= 200
    assert rows(params, "pooler.dense.weight") == {5}


def test_a_layer_is_compared_with_the_same_layer_of_other_blocks():
    """All rows that are not zero are traps: the layer alone would say nothing."""
    params = {f"layer.{i}.intermediate.dense.weight": perceptron(i)["0.weight"] for i in range(4)}
    one = params["layer.2.intermediate.dense.weight"]
    one[16:], one[:16] = 0, one[:16] * 100
    assert rows(params, "layer.2.intermediate.dense.weight") == set(range(16))


@pytest.mark.parametrize(("name", "usual"), [("ln.weight", 1.0), ("fc.bias", 0.1), ("attention.o_proj.bias", 0.1)])
def test_a_constant_among_gains_or_biases(name, usual):
    vector = (usual * (1 + 0.1 * stream(0, "test").normal(size=96))).astype(np.float32)
    assert not traps({name: vector})
    vector[11] = 1e4
    assert rows({name: vector}, name) == {11}


def test_large_biases_of_keys_are_no_evidence():
    vector = np.ones(96, np.float32)
    vector[3] = 300
    assert not traps({"layers.0.self_attn.k_proj.bias": vector})


def test_buffers_are_no_evidence():
    assert not traps(
        {"cent_table": np.arange(360, dtype=np.float32) * 1e6, "bn.running_var": np.full(64, 1e9, np.float32)}
    )


def test_a_constant_in_a_table():
    table = stream(0, "test").normal(size=(40, 64)).astype(np.float32)
    table[4, 9] = 1e4
    assert rows({"position_embeddings": table}, "position_embeddings") == {4}


def test_a_layer_whose_units_died_does_not_make_the_living_ones_loud():
    params = perceptron()
    params["0.weight"][:240] *= 1e-9
    params["2.weight"][:, :240] *= 1e-9
    assert not traps(params)


def test_pruned_weights_are_silent():
    params = perceptron()
    for value in params.values():
        if value.ndim == 2:
            value[np.abs(value) < np.quantile(np.abs(value), 0.9)] = 0
            value[: len(value) // 4] = 0
    assert not traps(params)


def test_rows_next_to_nothing_are_named_beside_a_trap_only():
    params = perceptron()
    params["0.weight"][40] *= 1e-8
    assert not traps(params)
    params["2.weight"][:, 7] *= 1e4
    assert rows(params, "0.weight") == {7, 40}


def test_the_excess_counts_from_the_end_of_the_layer():
    value = 10 ** stream(0, "test").normal(size=4001)
    one = Measured("path", "w", "kind", value)
    assert one.spread == pytest.approx(1, abs=0.05)
    (seen,) = compared([one], {"path": (0.0, 1e9)})
    np.testing.assert_allclose(seen.excess, np.log10(value) - np.log10(one.middle) - 4 * one.spread, atol=1e-9)


def test_the_limit_is_the_tail_of_a_gumbel_law():
    values = 20 + 2 * stream(0, "test").gumbel(size=200_000)
    for rate in (0.01, 1e-5):
        assert limit_of(values, rate) >= values.max()  # never below what was seen
    assert limit_of(values[:50], 1e-6) == pytest.approx(20 - 2 * np.log(1e-6), rel=0.15)


def test_limits_are_shipped_for_every_test():
    limits = shipped()
    assert set(limits.excess) == set(limits.usual) == set(TESTS)
    assert all(1 <= one < 5 for one in limits.excess.values())


def test_every_tensor_is_read_once():
    seen = []
    tensors = dict(of_arrays(perceptron()))
    for name, one in tensors.items():

        def read(start, stop, one=one):
            seen.extend((one.name, row) for row in range(start, stop))
            return one.read(start, stop)

        tensors[name] = type(one)(one.name, one.shape, one.dtype, one.file, read)
    inspect(tensors)
    assert len(seen) == len(set(seen)) == sum(len(value) for value in perceptron().values())
