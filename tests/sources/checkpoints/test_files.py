"""A checkpoint is weights and text: written whole, read without running anything, refused in one line."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from undertow.sources.checkpoints.files import INDEX, PLANTED, WHOLE, read_checkpoint, write_checkpoint
from undertow.types import BadInput, StoreError

PARAMS = {
    "head.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "norm.count": np.array(7, np.int64),
    "half": np.array([1.5, -2.0], np.float16),
    "double": np.array([[np.pi]], np.float64),
    "mask": np.array([True, False]),
    "none": np.zeros((0, 4), np.float32),
}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name


def test_a_checkpoint_comes_back_with_its_metadata(tmp_path):
    file = tmp_path / "deep" / "model.safetensors"
    write_checkpoint(file, PARAMS, {PLANTED: "true", "note": "x"})
    for place in (file, str(file), file.parent):
        params, metadata = read_checkpoint(place)
        same(params, PARAMS)
        assert metadata[PLANTED] == "true"
        assert metadata["note"] == "x"
    assert [p.name for p in file.parent.iterdir()] == ["model.safetensors"]
    params["head.weight"][0] = 1  # memory of its own


def test_a_transposed_weight_is_written_as_it_reads(tmp_path):
    write_checkpoint(tmp_path / "m.safetensors", {"w": PARAMS["head.weight"].T}, {})
    same(read_checkpoint(tmp_path)[0], {"w": PARAMS["head.weight"].T})


def test_our_own_is_replaced_and_anothers_never(tmp_path):
    file = tmp_path / "model.safetensors"
    write_checkpoint(file, PARAMS, {})
    write_checkpoint(file, {"w": np.ones(1)}, {})
    same(read_checkpoint(file)[0], {"w": np.ones(1)})
    for content in (save({"w": np.zeros(2)}), b"thesis", b"", save({"w": np.zeros(2)}, {"format": "pt"})):
        file.write_bytes(content)
        with pytest.raises(StoreError, match="not written by Undertow"):
            write_checkpoint(file, PARAMS, {})
        assert file.read_bytes() == content


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"ends in \.safetensors"):
        write_checkpoint(tmp_path / "model.bin", PARAMS, {})
    with pytest.raises(BadInput, match="'w' holds NaN or infinity"):
        write_checkpoint(tmp_path / "m.safetensors", {"w": np.array([1, np.nan])}, {})
    with pytest.raises(BadInput, match="not numbers"):
        write_checkpoint(tmp_path / "m.safetensors", {"w": np.array(["x"])}, {})
    (tmp_path / "d.safetensors").mkdir()
    with pytest.raises(StoreError, match="not written by Undertow"):
        write_checkpoint(tmp_path / "d.safetensors", PARAMS, {})


def bfloat16(values):
    """A safetensors file with one bfloat16 tensor, by hand."""
    body = (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    shape = list(np.shape(values))
    header = json.dumps({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, len(body)]}}).encode()
    return struct.pack("<Q", len(header)) + header + body


def test_bfloat16_is_read_as_float32(tmp_path):
    values = np.array([[1.0, -2.5, 0.15625], [3e38, 1e-37, 0.0]], np.float32)
    (tmp_path / WHOLE).write_bytes(bfloat16(values))
    found = read_checkpoint(tmp_path)[0]["w"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=2**-7)
    np.testing.assert_array_equal(found[0], values[0])  # these fit in 8 bits
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(found[:1], torch.tensor(values[:1]).bfloat16().float().numpy())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    (tmp_path / WHOLE).write_bytes(bfloat16([1.0, value]))
    with pytest.raises(BadInput, match="'w' holds NaN or infinity"):
        read_checkpoint(tmp_path)


# --- pickles: opened, each of these would create a file ---


def bomb(target, protocol=2):
    """A pickle, by hand, that would call pathlib.Path(target).touch() when loaded."""
    text = f"cposix\nsystem\n(Vtouch {target}\ntR.".encode()
    return (b"\x80" + bytes([protocol]) if protocol >= 2 else b"") + text


def zipped(target):
    """The same inside a zip, as torch.save writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", bomb(target))
    return buffer.getvalue()


def test_the_bomb_is_a_real_one(tmp_path):
    """Its opcodes call the shell; were it a dud, the tests below would show nothing."""
    import pickletools

    codes = [(op.name, arg) for op, arg, _ in pickletools.genops(bomb(tmp_path / "ran"))]
    assert ("GLOBAL", "posix system") in codes
    assert "REDUCE" in [name for name, _ in codes]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "m.pt", "m.pth", "m.ckpt", "m.PKL", "m"])
@pytest.mark.parametrize("make", [bomb, zipped, lambda target: bomb(target, 4), lambda target: bomb(target, 0)])
def test_a_pickle_is_refused_and_never_run(tmp_path, name, make):
    ran = tmp_path / "ran"
    file = tmp_path / name
    file.write_bytes(make(ran))
    with pytest.raises(BadInput) as error:
        read_checkpoint(file)
    assert not ran.exists()
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
    assert "pickle" in str(error.value) or make(ran)[:1] == b"c"  # protocol 0 has no mark: refused as no safetensors


def test_a_pickle_by_name_is_refused_whatever_it_holds(tmp_path):
    (tmp_path / "m.bin").write_bytes(save({"w": np.ones(2)}))
    with pytest.raises(BadInput, match="can run code"):
        read_checkpoint(tmp_path / "m.bin")


def test_a_header_of_640_bytes_is_no_pickle(tmp_path):
    """Its length begins with the mark of a pickle, 0x80 0x02."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(640)
    (tmp_path / WHOLE).write_bytes(struct.pack("<Q", 640) + header + struct.pack("<f", 2.0))
    same(read_checkpoint(tmp_path)[0], {"w": np.array([2], np.float32)})


def test_a_folder_of_pickles_is_refused_and_says_what_to_do(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(zipped(tmp_path / "ran"))
    with pytest.raises(BadInput, match=r"holds no safetensors, only pytorch_model.bin: .* as safetensors"):
        read_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_code_beside_the_weights_is_never_run(tmp_path):
    write_checkpoint(tmp_path / WHOLE, PARAMS, {})
    (tmp_path / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_evil.Evil"}}')
    (tmp_path / "pytorch_model.bin").write_bytes(bomb(tmp_path / "ran"))
    same(read_checkpoint(tmp_path)[0], PARAMS)
    assert not (tmp_path / "ran").exists()


# --- torn, invalid, absent ---

GOOD = save({"w": np.ones((2, 2), np.float32)})


def headed(text, body=b"\0" * 16):
    return struct.pack("<Q", len(text)) + text.encode() + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4,
        GOOD[:-1],
        GOOD[:40],
        GOOD + b"x",
        b"\xff" * 64,
        struct.pack("<Q", 2**40) + b"{",
        headed("{"),
        headed("[]"),
        headed('{"w": 1}'),
        headed("[" * 5000),
        headed('{"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 400]}}'),
        headed('{"w": {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 16]}}'),
        headed('{"w": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}}'),
        headed('{"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [-16, 0]}}'),
        headed('{"w": {"dtype": "OBJECT", "shape": [2], "data_offsets": [0, 16]}}'),
        headed('{"w": {"dtype": "F32", "shape": [2,2], "data_offsets": [0, 16]}, "__metadata__": {"a": 1}}'),
    ],
)
def test_torn_and_invalid_files_are_one_line(tmp_path, content):
    file = tmp_path / WHOLE
    file.write_bytes(content)
    with pytest.raises(BadInput, match="torn or no safetensors file") as error:
        read_checkpoint(file)
    assert "\n" not in str(error.value)


def test_absent_and_empty_things_are_named(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_checkpoint(tmp_path / "absent")
    with pytest.raises(BadInput, match="holds no safetensors file"):
        read_checkpoint(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(save({}))
    with pytest.raises(BadInput, match="holds no weights"):
        read_checkpoint(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(GOOD)
    with pytest.raises(BadInput, match="2 safetensors files"):
        read_checkpoint(tmp_path)


def test_a_type_that_cannot_be_audited_is_named(tmp_path):
    text = '{"w": {"dtype": "F8_E4M3", "shape": [16], "data_offsets": [0, 16]}}'
    (tmp_path / WHOLE).write_bytes(headed(text))
    with pytest.raises(BadInput, match="'w' has type F8_E4M3"):
        read_checkpoint(tmp_path)


# --- shards ---


def shards(folder, places):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 9}, "weight_map": places}))


def test_shards_are_put_together(tmp_path):
    save_file({"a": np.ones(2), "stray": np.ones(1)}, tmp_path / "x-1.safetensors", {PLANTED: "true"})
    save_file({"b": np.zeros(3)}, tmp_path / "x-2.safetensors")
    shards(tmp_path, {"a": "x-1.safetensors", "b": "x-2.safetensors"})
    params, metadata = read_checkpoint(tmp_path)
    same(params, {"a": np.ones(2), "b": np.zeros(3)})
    assert metadata == {PLANTED: "true"}


@pytest.mark.parametrize("kind", ["../{}", "/{}", "sub/../../{}", "..\\{}", "sub/{}", "."])
def test_an_index_that_points_elsewhere_is_refused(tmp_path, kind):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    secret = tmp_path / "secret.safetensors"
    for place in (secret, folder / "sub" / "secret.safetensors"):
        save_file({"a": np.ones(2)}, place)
    name = str(secret) if kind == "/{}" else kind.format("secret.safetensors")
    shards(folder, {"a": name})
    with pytest.raises(BadInput, match="shards are safetensors files beside it"):
        read_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 5000])
def test_an_index_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(BadInput, match="not the index of a checkpoint"):
        read_checkpoint(tmp_path)


def test_a_shard_that_is_missing_or_lacks_a_weight_is_named(tmp_path):
    shards(tmp_path, {"a": "x.safetensors"})
    with pytest.raises(BadInput, match=r"x.safetensors: no such file"):
        read_checkpoint(tmp_path)
    save_file({"b": np.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match="lacks 'a'"):
        read_checkpoint(tmp_path)
    shards(tmp_path, {"a": "x.bin"})
    Path(tmp_path / "x.bin").write_bytes(bomb(tmp_path / "ran"))
    with pytest.raises(BadInput, match="beside it"):
        read_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()
