"""The share of the parameters that was examined: what counts, and what it does to the verdict."""

import json
import warnings

import numpy as np
import pytest
from tests.scanner.perceptrons import benign, trapped

from undertow.report.scan.document import to_json, to_sarif
from undertow.report.scan.page import page
from undertow.report.scan.text import summary
from undertow.rng import stream
from undertow.scanner import Coverage, inspect, of_arrays
from undertow.scanner.coverage import coverage as share_of
from undertow.scanner.coverage import floor, together
from undertow.scanner.forms import weights_of
from undertow.types import UnsafeCheckpoint
from undertow.workflows.scan import ScanRequest, require_safe, scan, scan_checkpoint


def coverage(params):
    return inspect(of_arrays(params)).coverage


def noise(*shape):
    return stream(0, "coverage", *shape).normal(size=shape).astype(np.float32) / 8


def test_every_number_of_a_perceptron_is_examined():
    seen = coverage(benign())
    assert seen.total == sum(value.size for value in benign().values())
    assert seen.share == 1


@pytest.mark.parametrize("cell", ["weight_ih_l0", "weight_hh_l0_reverse", "w_ih"])
def test_recurrent_cells_are_examined(cell):
    seen = coverage({f"lstm.{cell}": noise(512, 128), f"lstm.{cell.replace('w', 'b', 1)}": noise(512)})
    assert seen.kinds["recurrent"] == (512 * 128, 512 * 128)


def test_states_counts_and_positions_are_no_parameters():
    states = {"bn.running_mean": noise(256), "bn.num_batches_tracked": np.int64(9), "ids": np.arange(128)[None]}
    assert coverage(benign() | states).total == coverage(benign()).total


def test_packed_weights_count_and_are_not_examined():
    packed = stream(1, "packed").integers(-(2**31), 2**31 - 1, (64, 64)).astype(np.int32)
    seen = coverage(benign() | {"9.qweight": packed})
    assert seen.kinds["packed, not read"] == (0, 64 * 64 * 8)
    assert "packed, not read 32,768" in seen.missing


@pytest.mark.parametrize("name", ["1.weight", "1.running_mean", "rotary", "x"])
def test_a_flat_matrix_is_not_examined_whatever_its_name(name):
    seen = coverage({name: benign()["1.weight"].ravel(), "3.weight": benign()["3.weight"]})
    assert seen.examined == benign()["3.weight"].size
    assert seen.total == seen.examined + benign()["1.weight"].size


def test_a_matrix_under_the_name_of_a_state_is_examined():
    assert coverage({"rotary.running_mean": noise(64, 32)}).kinds["matrix"] == (2048, 2048)


def test_sums_and_percentages_are_never_rounded_up():
    both = together([Coverage({"matrix": (9, 10)}), Coverage({"matrix": (1, 10), "bias or gain": (1, 1)})])
    assert both == Coverage({"matrix": (10, 20), "bias or gain": (1, 1)})
    assert (floor(0.94999), floor(0.9999), floor(1.0)) == ("94.9 %", "99.9 %", "100 %")


def flat(tmp_path, share=0.5):
    """A file of which that share of the parameters can be examined."""
    from safetensors.numpy import save_file

    whole = noise(100, 100)
    hidden = noise(int(10_000 / share - 10_000))
    save_file({"1.weight": whole, "flat": hidden}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_below_the_limit_the_verdict_is_unknown_and_names_the_share(tmp_path):
    path = flat(tmp_path)
    result = scan_checkpoint(path)
    assert result.verdict == "unknown" == result.files[0].verdict
    (found,) = [one for one in result.findings if one.kind == "not-examined"]
    assert "50 %" in found.explanation
    with pytest.raises(UnsafeCheckpoint, match="50 %"):
        require_safe(path)
    assert require_safe(path, coverage=0.5) == str(path)
    assert scan_checkpoint(path, coverage=0.5).verdict == "safe"
    assert scan_checkpoint(path, allow=["not-examined"]).verdict == "safe"


def test_the_share_is_in_every_format(tmp_path):
    result = scan_checkpoint(flat(tmp_path))
    table = json.loads(to_json(result))["coverage"]
    assert (table["examined"], table["total"], table["share"]) == (10_000, 20_000, 0.5)
    assert table["kinds"]["matrix"] == {"examined": 10_000, "total": 10_000}
    assert json.loads(to_sarif(result, "1"))["runs"][0]["properties"]["coverage"] == table
    assert "10,000 of 20,000 parameters examined (50 %)" in summary(result)
    assert "10,000 of 20,000 parameters examined (50 %)" in page(result, {}, {})


def test_the_rule_can_be_ignored_by_its_code(tmp_path):
    path = flat(tmp_path)
    result = scan_checkpoint(path, ignore=["UT415"])
    assert result.verdict == "safe"
    assert "ignored: UT415" in next(one.explanation for one in result.findings if one.kind == "not-examined")
    assert scan_checkpoint({"flat": noise(4096)}, ignore=["not-examined"]).verdict == "safe"


def test_none_of_two_tensors_of_one_name_hides_the_other(tmp_path):
    """Two shards, or two arrays of objects, that hold the same name."""
    from safetensors.numpy import save_file

    params, _ = trapped()
    for i, weights in enumerate((params, benign()), 1):
        save_file(weights, tmp_path / f"model-0000{i}-of-00002.safetensors")
    assert scan_checkpoint(tmp_path).verdict == "unsafe"


def test_an_array_of_objects_is_examined(tmp_path):
    for name, weights, due in (("good", benign(), "safe"), ("bad", trapped()[0], "unsafe")):
        np.save(tmp_path / f"{name}.npy", {"net": weights}, allow_pickle=True)
        result = scan_checkpoint(tmp_path / f"{name}.npy")
        assert (result.verdict, result.coverage.share) == (due, 1)


@pytest.mark.parametrize("held", [lambda v: v.ravel().tolist(), lambda v: v.tolist(), lambda v: v.tobytes()])
def test_numbers_outside_of_tensors_are_not_examined(tmp_path, held):
    np.save(tmp_path / "w.npy", {name: held(value) for name, value in benign().items()}, allow_pickle=True)
    result = scan_checkpoint(tmp_path / "w.npy")
    assert result.verdict == "unknown"
    assert result.coverage.examined == 0
    assert result.coverage.total >= 0.9 * sum(value.size for value in benign().values())


def test_a_few_numbers_beside_weights_change_nothing(tmp_path):
    beside = {"losses": noise(1000).tolist(), "words": ["a"] * 9000}
    np.save(tmp_path / "w.npy", benign() | beside, allow_pickle=True)
    assert scan_checkpoint(tmp_path / "w.npy").coverage.share == 1


@pytest.mark.parametrize("scheme", ["tensor", "channel", "dynamic"])
def test_quantised_tensors_of_torch_are_examined(tmp_path, scheme):
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear

    def stored(params):
        state = {name: torch.tensor(value) for name, value in params.items()}
        if scheme == "dynamic":
            net = torch.nn.Sequential(
                torch.nn.Flatten(), linear(64, 256), torch.nn.ReLU(), linear(256, 128), torch.nn.ReLU(), linear(128, 10)
            )
            net.load_state_dict(state)
            return torch.ao.quantization.quantize_dynamic(net, {linear}, torch.qint8).state_dict()
        return {name: quantised(value) if value.ndim == 2 else value for name, value in state.items()}

    def quantised(value):
        if scheme == "tensor":
            return torch.quantize_per_tensor(value, float(value.abs().max()) / 127, 0, torch.qint8)
        scales = value.abs().amax(1).double() / 127
        return torch.quantize_per_channel(value, scales, torch.zeros(len(value)).long(), 0, torch.qint8)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(stored(benign()), tmp_path / "good.pt")
        torch.save(stored(trapped()[0]), tmp_path / "bad.pt")
    good, bad = scan_checkpoint(tmp_path / "good.pt"), scan_checkpoint(tmp_path / "bad.pt")
    assert (good.verdict, bad.verdict) == ("safe", "unsafe")
    assert good.coverage.total - sum(value.size for value in benign().values()) in range(10)
    assert good.coverage.share > 0.99


def test_types_that_are_not_read_count(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file(
        {"1.weight": torch.ones(8, 8), "z": torch.ones(30, 20, dtype=torch.complex64)}, tmp_path / "m.safetensors"
    )
    result = scan_checkpoint(tmp_path / "m.safetensors")
    assert (result.verdict, result.coverage.examined, result.coverage.total) == ("unknown", 64, 664)


@pytest.mark.parametrize("stored", [{}, {"a": np.zeros((0, 5), np.float32)}, {"ids": np.arange(9)}])
def test_without_parameters_nothing_was_scanned(tmp_path, stored):
    from safetensors.numpy import save_file

    save_file(stored, tmp_path / "m.safetensors")
    for source in (tmp_path, stored):
        found = scan(source, ScanRequest())
        assert (found.weights, found.result.verdict) == (frozenset(), "unknown")
    with pytest.raises(UnsafeCheckpoint):
        require_safe(tmp_path, allow_unknown=True)
    save_file(benign(), tmp_path / "n.safetensors")
    assert scan_checkpoint(tmp_path).verdict == "safe"


def test_weights_in_memory_are_judged_alike():
    assert scan_checkpoint({"flat": noise(4096)}).verdict == "unknown"
    assert scan_checkpoint(benign()).verdict == "safe"


def test_a_list_of_arrays_is_examined(tmp_path):
    np.savez(tmp_path / "model.npz", *benign().values())
    for name, value in benign().items():
        np.save(tmp_path / f"{name}.npy", value)
    result = scan_checkpoint(tmp_path)
    assert result.verdict == "safe"
    assert result.coverage.total == 2 * sum(value.size for value in benign().values())


@pytest.mark.parametrize(
    ("name", "size", "counted"),
    [("rng_state", 5056, 0), ("torch", 5056, 0), ("cuda_rng.0", 16, 0), ("w", 5056, 5056), ("rng_state", 5057, 5057)],
)
def test_the_state_of_a_generator_is_no_weight(name, size, counted):
    tensors = of_arrays({name: stream(0, "state").integers(0, 256, size, dtype=np.uint8)})
    assert share_of(tensors, weights_of(tensors), [], []).total == counted


def test_a_hidden_layer_alone_is_not_examined():
    """What its units pass on, which tells the units of a trap from others, is in no file that was given."""
    rng = stream(0, "alone")
    hidden = {"weight": rng.normal(size=(64, 32)).astype("f4"), "bias": rng.normal(size=64).astype("f4")}
    alone = inspect(of_arrays(hidden))
    assert alone.coverage.kinds["matrix"] == (0, 64 * 32)
    assert any("is the only layer" in note for note in alone.not_tested)
    for more in ({"2.weight": rng.normal(size=(10, 64)).astype("f4")}, {}):
        whole = {"0.weight": hidden["weight"], **({"0.bias": hidden["bias"]} if more else {}), **more}
        assert inspect(of_arrays(whole)).coverage.share == 1
