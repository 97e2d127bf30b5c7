"""What torch, NumPy and safetensors write is opened whole, and every tensor is bit for bit what their loaders read."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.opening.assembler import zipped

from undertow.opening import Limits, open_checkpoint, verdict_of

torch = pytest.importorskip("torch")


def opened(path, **kwargs):
    with open_checkpoint(path, opinions=False, **kwargs) as found:
        verdicts = {verdict_of(file, found.findings) for file in found.files}
        assert verdicts == {"safe"}, found.findings
        return {name: tensor.whole() for name, tensor in found.tensors.items()}, found


def flat(value, path=()):
    """Tensors of a nest of dicts, lists and tuples by their path."""
    if isinstance(value, torch.Tensor):
        return {".".join(path) or "tensor": value}
    if isinstance(value, dict):
        items = [(str(k), v) for k, v in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(i), v) for i, v in enumerate(value)]
    else:
        return {}
    return {name: tensor for key, item in items for name, tensor in flat(item, (*path, key)).items()}


def numbers(tensor):
    small = (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype in small else tensor).contiguous().numpy()


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        array = numbers(tensor)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


def model():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 5)
    )
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            torch.nn.init.normal_(tensor)
    return net


def optimizer_state():
    net = model()
    adam = torch.optim.AdamW(net.parameters())
    net(torch.ones(2, 3, 4, 4)).sum().backward()
    adam.step()
    return {"state_dict": net.state_dict(), "optimizer": adam.state_dict(), "epoch": 3, "lr": 1e-3, "note": "x"}


def views():
    base = torch.arange(60, dtype=torch.float32)
    return {
        "whole": base,
        "tied": base,
        "transposed": base.reshape(6, 10).T,
        "sliced": base.reshape(6, 10)[1::2, 2:9:3],
        "offset": base[7:],
        "permuted": base.reshape(3, 4, 5).permute(2, 0, 1),
        "expanded": base[:5].expand(4, 5),
        "scalar": base[9],
        "empty": base[:0],
        "none": torch.zeros(0, 4),
    }


def types():
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16)
    kinds += (torch.int8, torch.uint8, torch.bool)
    return {str(kind): torch.tensor([[0, 1, -3], [100, 7, 1]]).to(kind) for kind in kinds}


def new_types():
    kinds = (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)
    return {str(kind): torch.tensor([[0.0, 1.0, 3.0], [100.0, 7.0, 1.0]]).to(kind) for kind in kinds}


def tagged():
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    parameter.tensor_model_parallel = True
    return {"w": parameter, "b": torch.nn.Parameter(torch.zeros(3), requires_grad=False)}


MADE = {
    "model": lambda: model().state_dict(),
    "optimizer": optimizer_state,
    "views": views,
    "types": types,
    "parameters": tagged,
    "list": lambda: [torch.ones(2), (torch.zeros(3), {"a": torch.ones(1)})],
    "alone": lambda: torch.arange(5),
    "numbers": lambda: {
        1: torch.ones(2),
        "sizes": torch.Size([2, 3]),
        "kind": torch.float16,
        "on": torch.device("cpu"),
    },
}


@pytest.mark.parametrize(("name", "protocol"), [*((n, p) for n in MADE for p in (2, 4)), ("model", 3), ("types", 5)])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_are_read_bit_for_bit(tmp_path, name, protocol, zipped):
    torch.manual_seed(0)
    file = tmp_path / "m.pt"
    value = MADE[name]()
    torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found, checkpoint = opened(file)
    assert checkpoint.files[0].kind == ("torch-zip" if zipped else "torch-legacy")
    same(found, flat(value))
    if protocol == 2:  # the only one that torch promises to read so
        same(found, flat(torch.load(file, weights_only=True)))


def test_types_without_a_storage_class_are_read(tmp_path):
    torch.save(new_types(), tmp_path / "m.pt")
    same(opened(tmp_path / "m.pt")[0], flat(torch.load(tmp_path / "m.pt", weights_only=True)))


@pytest.mark.parametrize(
    "kind", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "bfloat16", "float16"]
)
def test_every_short_float_is_decoded_as_torch_does(tmp_path, kind):
    dtype = getattr(torch, kind)
    codes = torch.arange(256 if "8" in kind else 65536, dtype=torch.int64)
    raw = codes.to(torch.uint8) if "8_" in kind else codes.to(torch.int32).to(torch.uint16).view(torch.uint16)
    values = raw.view(dtype)
    torch.save({"w": values}, tmp_path / "m.pt")
    found = opened(tmp_path / "m.pt")[0]["w"]
    np.testing.assert_array_equal(found, values.float().numpy())
    np.testing.assert_array_equal(np.signbit(found), np.signbit(values.float().numpy()))


def test_blocks_of_views_are_the_rows(tmp_path, monkeypatch):
    """Strided tensors are read in pieces, too, whatever the span they reach over."""
    monkeypatch.setattr("undertow.scanner.tensors.BLOCK_BYTES", 64)
    monkeypatch.setattr("undertow.opening.blocks.SPAN", 40)
    torch.save(views(), tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt", opinions=False) as found:
        for name, tensor in found.tensors.items():
            wanted = numbers(views()[name]).reshape(tensor.rows, tensor.columns)
            for start, block in tensor.blocks():
                np.testing.assert_array_equal(block, wanted[start : start + len(block)], name)


def test_the_same_shared_storage_is_no_second_tensor(tmp_path):
    net = torch.nn.Linear(4, 4)
    torch.save({"a": net.weight, "b": net.weight}, tmp_path / "m.pt")
    assert sorted(opened(tmp_path / "m.pt")[1].tensors) == ["a", "b"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy(tmp_path, save):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
        "s": np.float32(2),
    }
    save(tmp_path / "m.npz", **arrays)
    found, checkpoint = opened(tmp_path / "m.npz")
    assert checkpoint.files[0].kind == "npz"
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    np.save(tmp_path / "m.npy", arrays["f"])
    np.testing.assert_array_equal(opened(tmp_path / "m.npy")[0]["array"], arrays["f"])


def test_random_states_of_a_trainer_are_read(tmp_path):
    state = np.random.RandomState(3).get_state()
    torch.save(
        {"python": (3, (1, 2, 3), None), "numpy": state, "cpu": torch.get_rng_state()}, tmp_path / "rng_state.pth"
    )
    found, _ = opened(tmp_path / "rng_state.pth")
    np.testing.assert_array_equal(found["numpy.1"], state[1])
    np.testing.assert_array_equal(found["cpu"], torch.get_rng_state().numpy())


def test_a_whole_module_is_not_safe(tmp_path):
    """torch.save(model) names classes: loading it imports their code. Its weights are examined all the same."""
    torch.save(model(), tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt", opinions=False) as found:
        assert "torch.nn.modules.container.Sequential" in " ".join(f.explanation for f in found.findings)
        assert verdict_of(found.files[0], found.findings) == "unknown"
        assert {f.kind for f in found.findings} == {"pickle-object"}
        assert {name: tensor.shape for name, tensor in found.tensors.items()} == {
            name: tuple(tensor.shape) for name, tensor in model().state_dict().items()
        }


def test_what_is_not_read_yet_is_unknown(tmp_path):
    for value in (torch.ones(2, dtype=torch.complex64), torch.ones(2, 2).to_sparse()):
        torch.save({"w": value}, tmp_path / "m.pt")
        with open_checkpoint(tmp_path / "m.pt", opinions=False) as found:
            assert verdict_of(found.files[0], found.findings) == "unknown"
    program = {"code/x.py": b"x", "constants.pkl": b"\x80\x02).", "data.pkl": b"\x80\x02c__torch__.m\nNet\n)\x81}b."}
    (tmp_path / "m.pt").write_bytes(zipped({f"m/{name}": raw for name, raw in program.items()}))
    with open_checkpoint(tmp_path / "m.pt", opinions=False) as found:
        assert (found.files[0].kind, verdict_of(found.files[0], found.findings)) == ("torchscript", "unknown")


def test_safetensors_blocks_are_the_rows(tmp_path):
    array = np.random.RandomState(0).randn(3000, 700).astype(np.float32)
    save_file({"w": array, "v": array[0].copy()}, tmp_path / "m.safetensors", {"format": "pt"})
    with open_checkpoint(tmp_path / "m.safetensors") as found:
        assert found.metadata == {"format": "pt"}
        blocks = list(found.tensors["w"].blocks())
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), array)
        assert len(blocks) > 1
        np.testing.assert_array_equal(found.tensors["v"].whole(), array[0])


def test_the_real_weights_are_safe_and_the_same_as_their_twin(shared_data):
    folder = shared_data / "weights"
    found, _ = opened(folder)
    pairs = 0
    for name, array in found.items():
        if name.startswith("state_dict.module."):
            pairs += 1
            np.testing.assert_array_equal(array, found[name.removeprefix("state_dict.module.")], name)
    assert pairs > 90


def test_a_slow_or_greedy_reader_is_ended(tmp_path):
    file = tmp_path / "m.pkl"
    slow, greedy = b"N0" * 4_000_000, b"X" + (100 << 20).to_bytes(4, "little") + bytes(100 << 20) + b"0"
    small = Limits(memory=1 << 20, pickle_bytes=1 << 30)
    for limits, raw, said in ((Limits(seconds=0.05), slow, "took more"), (small, greedy, "process that read it")):
        file.write_bytes(b"\x80\x02" + raw + b"N.")
        with open_checkpoint(file, limits, opinions=False) as found:
            assert verdict_of(found.files[0], found.findings) == "unknown"
            assert said in found.findings[0].explanation
