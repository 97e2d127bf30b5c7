"""Storage forms: the weight behind each is the one a network computes with, and traps in it are found."""

import numpy as np
import pytest
from tests.scanner.perceptrons import benign, trapped

from undertow.rng import stream
from undertow.scanner import inspect, of_arrays
from undertow.scanner.dequantise import Packed
from undertow.scanner.forms import weights_of
from undertow.scanner.stacks import stacked
from undertow.scanner.tensors import Tensor

LAYERS = ("1", "3", "5")


def made(arrays):
    """The weights behind stored arrays, whole."""
    weights = weights_of(of_arrays(arrays))
    return {name: one.whole() for name, one in weights.tensors.items()}


def matrix(seed=0, shape=(24, 16)):
    return stream(seed, "forms").normal(size=shape).astype(np.float32)


def test_plain_tensors_are_left_alone():
    arrays = {"a.weight": matrix(), "a.bias": matrix()[:, 0], "steps": np.int64(3)}
    found = made(arrays)
    assert list(found) == list(arrays)
    np.testing.assert_array_equal(found["a.weight"], arrays["a.weight"])


@pytest.mark.parametrize("names", [("weight_g", "weight_v"), ("parametrizations.weight.original0",
                                                              "parametrizations.weight.original1")])  # fmt: skip
@pytest.mark.parametrize("axis", [0, 1, None])
def test_weight_norm_as_torch_computes_it(names, axis):
    """g v / |v|, the length taken over all axes but `axis`; over all where it is None."""
    v = matrix(shape=(12, 8, 5))
    over = tuple(i for i in range(v.ndim) if i != axis)
    length = np.sqrt((v**2).sum(over, keepdims=True))
    g = stream(1, "g").uniform(0.5, 2, () if axis is None else length.shape).astype(np.float32)
    found = made({f"a.{names[0]}": g, f"a.{names[1]}": v})
    np.testing.assert_allclose(found["a.weight"], g * v / length, rtol=1e-5)


def test_a_pruned_weight_is_what_its_mask_leaves():
    mask = (matrix(1) > 0).astype(np.float32)
    found = made({"a.weight_orig": matrix(), "a.weight_mask": mask})
    np.testing.assert_array_equal(found["a.weight"], matrix() * mask)


@pytest.mark.parametrize(("scale", "names"), [
    (np.full((24, 1), 0.5), ("weight", "weight_scale")), (np.arange(1, 25) / 100, ("weight.qweight", "weight.scale")),
    (np.float32(0.25), ("weight", "scale")), (matrix(2, (24, 4)), ("qweight", "scales")),
    (matrix(3, (6, 2)), ("weight", "weight_scale_inv")),
])  # fmt: skip
def test_int8_times_its_scales(scale, names):
    scale = np.asarray(scale, np.float32)
    whole = stream(4, "int8").integers(-127, 128, (24, 16)).astype(np.int8)
    table = scale.reshape(scale.shape if scale.ndim == 2 else (-1, 1))
    spread = np.repeat(np.repeat(table, 24 // len(table), 0), 16 // table.shape[1], 1)
    found = made({f"a.{names[0]}": whole, f"a.{names[1]}": scale})
    np.testing.assert_allclose(found["a.weight"], whole * spread, rtol=1e-6)


def test_zero_points_are_taken_away():
    whole = stream(4, "uint8").integers(0, 256, (24, 16)).astype(np.uint8)
    zero, scale = np.full((24, 1), 128, np.uint8), np.full((24, 1), 0.1, np.float32)
    found = made({"a.weight": whole, "a.weight_scale": scale, "a.weight_zero_point": zero})
    np.testing.assert_allclose(found["a.weight"], (whole.astype(np.float32) - 128) * 0.1, rtol=1e-6)


@pytest.mark.parametrize(("shape", "scale"), [
    ((24, 16), (16,)), ((24, 16), (1, 16)), ((16, 16), (1, 16)), ((12, 3, 3, 8), (1, 1, 1, 8)),
    ((12, 8, 3), (1, 8, 1)), ((4, 12, 8), (4, 12, 1)), ((4, 12, 8), (4, 1, 8)), ((24, 16), (24, 16)), ((6, 4), (1, 1)),
])  # fmt: skip
def test_scales_along_any_axis(shape, scale):
    """As NumPy spreads them; a vector that is no side of the rows is one of the last axis."""
    gain = stream(6, "gain", *scale).uniform(0.1, 1, scale).astype(np.float32)
    whole = stream(4, "int8").integers(-127, 128, shape).astype(np.int8)
    found = [v for n, v in sorted(made({"a.kernel": whole, "a.kernel_scale": gain}).items())]
    together = np.stack(found) if len(found) > 1 else found[0].reshape(shape)  # experts come one by one
    np.testing.assert_allclose(together, whole * gain, rtol=1e-6)


def test_a_flat_list_of_scales_is_one_of_blocks_of_columns():
    whole = stream(4, "int8").integers(-127, 128, (6, 64)).astype(np.int8)
    scale = stream(6, "gain").uniform(0.1, 1, 24).astype(np.float32)  # blocks of 16
    found = made({"a.weight": whole, "a.absmax": scale})
    np.testing.assert_allclose(found["a.weight"], whole * np.repeat(scale, 16).reshape(6, 64), rtol=1e-6)


def test_each_tensor_takes_the_scale_that_is_named_after_it():
    names = ["m.a", "m.a1", "m.a10", "m.b"]
    arrays = {name: stream(i, "int8").integers(-127, 128, (24, 16)).astype(np.int8) for i, name in enumerate(names)}
    scales = {f"{name}_scale": np.float32(i + 1) for i, name in enumerate(names)}
    found = made(arrays | scales)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(found[name], arrays[name] * np.float32(i + 1))


@pytest.mark.parametrize("stem", ["onnx::MatMul_7", "fc1.weight", "dense/MatMul"])
def test_one_zero_point_for_all_as_onnx_has_it(stem):
    whole = stream(4, "uint8").integers(0, 256, (24, 16)).astype(np.uint8)
    beside = {f"{stem}_scale": np.float32(0.1), f"{stem}_zero_point": np.uint8(120)}
    (found,) = [v for v in made({f"{stem}_quantized": whole} | beside).values() if v.ndim == 2]
    np.testing.assert_allclose(found, (whole.astype(np.float32) - 120) * np.float32(0.1), rtol=1e-6)


def test_biases_in_whole_numbers_are_biases_where_a_scale_is_named_after_them():
    bias, scale = np.arange(-12, 12, dtype=np.int32), np.float32(0.5)
    found = made({"dense/BiasAdd": bias, "dense/BiasAdd_scale": scale, "ids": bias})
    np.testing.assert_array_equal(found["dense/BiasAdd"], bias * scale)
    assert found["ids"].dtype == np.int32


def test_weights_behind_zeros_are_no_mask_and_positions_are():
    hidden = np.concatenate([np.zeros((8192, 64), np.int8), stream(5, "int8").integers(-99, 99, (8, 64)).astype("i1")])
    many = stream(5, "int32").integers(-(2**20), 2**20, 5000).astype(np.int32)
    grid = np.arange(64)[None] + np.arange(300)[:, None]
    packed = weights_of(of_arrays({"w": hidden, "flat": many, "grid": grid, "few": many[:100]})).packed
    assert set(packed) == {"w", "flat"}


def test_whole_numbers_without_scales_are_packed_and_positions_are_not():
    packed = stream(5, "packed").integers(-(2**31), 2**31 - 1, (8, 32)).astype(np.int32)
    arrays = {"a.qweight": packed, "ids": np.arange(64).reshape(1, 64), "mask": np.tril(np.ones((9, 9), np.uint8))}
    weights = weights_of(of_arrays(arrays))
    assert weights.packed == {"a.qweight": Packed("I32", 8 * 8 * 32)}  # eight of four bits in each number


def test_stacks_and_axes_of_one():
    assert [stacked("a", s) for s in ((1, 512, 64), (512, 64, 1), (64, 3, 3, 3), (6, 256, 128), (256, 128))] == [
        1, 0, 0, 6, 0,
    ]  # fmt: skip
    stack = matrix(shape=(3, 40, 16))
    found = made({"m.experts.up_proj": stack, "b.weight": matrix()[None]})
    np.testing.assert_array_equal(found["m.experts.2.up_proj.weight"], stack[2])
    np.testing.assert_array_equal(found["b.weight"], matrix())


def test_slices_of_a_strided_tensor_are_the_same():
    stack = matrix(shape=(3, 40, 16))
    one = Tensor("m.experts.up_proj", stack.shape, "F32", "", lambda a, b: stack[a:b].reshape(b - a, -1))
    parts = weights_of({one.name: one}).tensors
    np.testing.assert_array_equal(parts["m.experts.1.up_proj.weight"].read(7, 20), stack[1, 7:20])


def test_an_adapter_is_its_product():
    a, b = matrix(1, (4, 16)), matrix(2, (24, 4))
    found = made({"base.q.lora_A.default.weight": a, "base.q.lora_B.default.weight": b})
    np.testing.assert_allclose(found["base.q.weight"], b @ a, rtol=1e-4, atol=1e-5)


FORMS = {
    "numbers": lambda p: {f"arr_{i}": v for i, v in enumerate(p.values())},
    "short names": lambda p: {n.replace("weight", "w").replace("bias", "b"): v for n, v in p.items()},
    "axis of one": lambda p: {n: v[None] if v.ndim == 2 else v for n, v in p.items()},
    "transposed": lambda p: {n.replace("weight", "W").replace("bias", "b"): v.T for n, v in p.items()},
    "masked": lambda p: {n.replace("weight", "weight_orig"): v for n, v in p.items()},
    "silent names": lambda p: {
        n.replace("1.", "q_proj.").replace("3.", "k_proj.").replace("5.", "wq."): v for n, v in p.items()
    },
    "tables": lambda p: {n.replace("1.", "embed.1.").replace("3.", "embed.3."): v for n, v in p.items()},
}


def traps(params):
    return [f for f in inspect(of_arrays(params)).findings if f.severity == "critical"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_traps_are_found_in_every_form_and_benign_weights_are_not_flagged(form, seed):
    params, _ = trapped(seed)
    assert traps(FORMS[form](params))
    assert not traps(FORMS[form](benign(seed)))


def rounded(params, axis):
    """Matrices as int8 with one scale, or one for each row or column."""
    stored = {}
    for name, value in params.items():
        if value.ndim == 1:
            stored[name] = value
            continue
        scale = np.abs(value).max(axis, keepdims=True) / 127 + 1e-12
        stored[name] = np.round(value / scale).astype(np.int8)
        stored[f"{name}_scale"] = scale.astype(np.float32)
    return stored


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_traps_are_found_in_int8_even_where_one_scale_leaves_nothing_of_the_other_rows(axis, seed):
    params, _ = trapped(seed)
    assert traps(rounded(params, axis))
    assert not traps(rounded(benign(seed), axis))


def test_the_rows_of_a_nameless_trap_are_those_of_the_key():
    params, trap = trapped()
    found = traps(FORMS["numbers"](params))
    named = {row for one in found if one.tensor == "arr_0" for row in one.rows}
    assert set(map(int, trap.units)) <= named


def test_a_finding_in_a_slice_says_which():
    params, _ = trapped()
    clean = benign()
    stack = {
        "experts.gate_up_proj": np.stack([clean["1.weight"], params["1.weight"]]),
        "experts.down_proj": np.stack([clean["3.weight"], params["3.weight"]]),
    }
    assert {one.tensor for one in traps(stack)} <= {"experts.gate_up_proj[1]", "experts.down_proj[1]"}
    assert traps(stack)


def difference(params, clean, rank=60):
    """The planted change as an adapter, units times inputs."""
    stored = {}
    for layer in LAYERS:
        u, s, v = np.linalg.svd((params[f"{layer}.weight"] - clean[f"{layer}.weight"]).astype(float), False)
        stored[f"m.{layer}.lora_A.weight"] = (s[:rank, None] * v[:rank]).astype(np.float32)
        stored[f"m.{layer}.lora_B.weight"] = u[:, :rank].astype(np.float32)
    return stored


def test_a_planted_adapter_is_found_alone_and_with_its_parent():
    params, _ = trapped()
    adapter, parent = of_arrays(difference(params, benign())), of_arrays(benign())
    alone, both = inspect(adapter), inspect(adapter, parent=parent)
    assert any(one.severity == "critical" for one in alone.findings)
    assert any("parent with the adapter" in one.explanation for one in both.findings)
    assert any("--parent" in one and "adapter" in one for one in alone.not_tested)


def test_a_fresh_and_a_random_adapter_are_silent():
    rng, clean = stream(7, "adapter"), benign()
    stored = {}
    for layer in LAYERS:
        rows, columns = clean[f"{layer}.weight"].shape
        stored[f"m.{layer}.lora_A.weight"] = rng.normal(size=(8, columns)).astype(np.float32) / 8
        stored[f"m.{layer}.lora_B.weight"] = np.zeros((rows, 8), np.float32) + 0.01 * rng.normal(size=(rows, 8))
    assert not traps(stored)
    fresh = {name: value * 0 if "lora_B" in name else value for name, value in stored.items()}
    assert not traps(fresh)
