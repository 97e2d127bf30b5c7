"""Formats beside safetensors: what is read is read bit for bit, what would run is unsafe, the rest is unknown."""

import argparse
import bz2
import collections
import datetime
import gzip
import io
import json
import lzma
import pathlib
import pickle  # noqa: TID251 - to write what is read without it
import struct
import sys
import tarfile
import types
import zlib

import numpy as np
import pytest
from tests.opening.assembler import zipped
from tests.opening.loaders.work import calls
from tests.opening.malicious import bomb

import undertow
from undertow.opening import Limits, open_checkpoint, verdict_of
from undertow.opening.inside.stream import Held
from undertow.scanner.findings import worst
from undertow.scanner.forms import weights_of

W = np.arange(12, dtype=np.float32).reshape(3, 4)


def look(path, limits=None):
    """Worst verdict, kinds of findings, tensors in memory, and the checkpoint."""
    with open_checkpoint(path, limits or Limits(), opinions=False) as opened:
        found = {name: one.whole() for name, one in opened.tensors.items() if one.dtype != "UNREAD"}
        verdict = worst([verdict_of(file, opened.findings) for file in opened.files])
        return verdict, {finding.kind for finding in opened.findings}, found, opened


def npy(value):
    raw = io.BytesIO()
    np.save(raw, value)
    return raw.getvalue()


@pytest.mark.parametrize("kind", [">f4", ">f8", ">f2", ">i2", ">i8", ">u4"])
def test_big_endian_arrays_are_turned_round(tmp_path, kind):
    value = np.array([[1, -2, 3], [4, 5, 600]]).astype(kind)
    (tmp_path / "a.npy").write_bytes(npy(value))
    verdict, _, found, _ = look(tmp_path / "a.npy")
    assert verdict == "safe"
    np.testing.assert_array_equal(found["array"], value.astype(value.dtype.newbyteorder("<")))


@pytest.mark.parametrize("value", [np.array(["a", "bc"]), np.array([b"x", b"yz"]), np.array(["2020-01-01"], "M8[D]")])
def test_arrays_of_texts_and_dates_hold_no_weights(tmp_path, value):
    np.savez(tmp_path / "a.npz", w=W, words=value)
    verdict, kinds, found, _ = look(tmp_path / "a.npz")
    assert (verdict, kinds, list(found)) == ("safe", set(), ["w"])


def test_a_raw_pickle_in_an_npz_is_unsafe(tmp_path):
    for name in ("evil.npy", "evil.pkl", "evil"):
        (tmp_path / "a.npz").write_bytes(zipped({"w.npy": npy(W), name: bomb(str(tmp_path / "ran"))}))
        verdict, kinds, _, _ = look(tmp_path / "a.npz")
        assert verdict == "unsafe", name
        assert "pickle-code" in kinds
    assert not (tmp_path / "ran").exists()


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "z": zlib.compress}


@pytest.mark.parametrize("kind", PACKED)
def test_compressed_files_are_read_as_what_they_hold(tmp_path, kind):
    pack = PACKED[kind]
    (tmp_path / f"a.npy.{kind}").write_bytes(pack(npy(W)))
    verdict, _, found, _ = look(tmp_path / f"a.npy.{kind}")
    assert verdict == "safe"
    np.testing.assert_array_equal(found["array"], W)
    (tmp_path / f"evil.pkl.{kind}").write_bytes(pack(pack(bomb(str(tmp_path / "ran")))))
    assert look(tmp_path / f"evil.pkl.{kind}")[0] == "unsafe"
    (tmp_path / f"cut.{kind}").write_bytes(pack(npy(W))[:-5])
    assert look(tmp_path / f"cut.{kind}")[0] == "unknown"
    (tmp_path / f"bomb.{kind}").write_bytes(pack(bytes(160 << 20)))
    verdict, kinds, _, _ = look(tmp_path / f"bomb.{kind}")
    assert (verdict, kinds) == ("unknown", {"limit"})


def tarred(members, name="w"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=name) as file:
        for path, content in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return raw.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_is_read_member_by_member(tmp_path, mode):
    """As NeMo writes it: weights beside a configuration that is instantiated."""
    config = b"target: nemo.collections.asr.models.EncDecCTCModel\n"
    place = tmp_path / "m.nemo"
    place.write_bytes(tarred({"./model_config.yaml": config, "w.npy": npy(W), "a/" + "n" * 150: npy(W)}, mode))
    verdict, kinds, found, _ = look(place)
    assert (verdict, kinds) == ("safe", set())
    np.testing.assert_array_equal(found["w.npy/array"], W)
    assert len(found) == 2
    place.write_bytes(tarred({"model_config.yaml": b"target: os.system\n", "w.npy": npy(W)}, mode))
    assert look(place)[0] == "unsafe"
    place.write_bytes(tarred({"model_weights.ckpt": bomb(str(tmp_path / "ran"))}, mode))
    assert look(place)[0] == "unsafe"
    place.write_bytes(tarred({"../../x": b"", "w.npy": npy(W)}, mode))
    assert "path-traversal" in look(place)[1]


def test_an_archive_in_an_archive_is_read(tmp_path):
    inner = zipped({"evil.pkl": bomb(str(tmp_path / "ran"))})
    for depth in range(2):
        (tmp_path / "m.zip").write_bytes(inner)
        verdict, _, _, _ = look(tmp_path / "m.zip")
        assert verdict == "unsafe", depth
        inner = zipped({"inner.zip": inner})
    (tmp_path / "m.zip").write_bytes(zipped({"a/w.npy": npy(W), "code.py": b"x = 1"}))
    verdict, kinds, found, _ = look(tmp_path / "m.zip")
    assert (verdict, kinds, list(found)) == ("unknown", {"code-in-archive"}, ["a/w.npy/array"])
    for _ in range(5):
        inner = zipped({"inner.zip": inner})
    (tmp_path / "m.zip").write_bytes(inner)
    assert look(tmp_path / "m.zip")[0] == "unknown"


@pytest.mark.parametrize("pack", ["tar", "tar.gz", "zip", "gz", "xz"])
def test_safetensors_in_an_archive_are_read(tmp_path, pack):
    from safetensors.numpy import save

    raw = save({"w": W})
    packed = {"tar": lambda: tarred({"m.safetensors": raw}), "tar.gz": lambda: tarred({"m.safetensors": raw}, "w:gz"),
              "zip": lambda: zipped({"m.safetensors": raw}), "gz": lambda: gzip.compress(raw),
              "xz": lambda: lzma.compress(raw)}[pack]()  # fmt: skip
    (tmp_path / f"m.{pack}").write_bytes(packed)
    verdict, kinds, found, _ = look(tmp_path / f"m.{pack}")
    assert (verdict, kinds) == ("safe", set())
    np.testing.assert_array_equal(next(iter(found.values())), W)
    (tmp_path / "cut.zip").write_bytes(zipped({"m.safetensors": raw[:-1], "n.safetensors": raw}))
    assert look(tmp_path / "cut.zip")[:2] == ("unknown", {"malformed"})
    (tmp_path / "odd.zip").write_bytes(zipped({"m.safetensors": raw + b"x"}))
    assert look(tmp_path / "odd.zip")[:2] == ("unknown", {"malformed", "unread"})


def test_onnx_in_an_archive_is_read_and_its_data_elsewhere_are_not(tmp_path):
    (tmp_path / "m.zip").write_bytes(zipped({"m.onnx": model(initializer("w", W))}))
    verdict, kinds, found, _ = look(tmp_path / "m.zip")
    assert (verdict, kinds) == ("safe", set())
    np.testing.assert_array_equal(found["m.onnx/w"], W)
    (tmp_path / "m.zip").write_bytes(zipped({"m.onnx": model(initializer("w", W, location="../x"))}))
    verdict, kinds, found, opened = look(tmp_path / "m.zip")
    assert (verdict, kinds, found, list(opened.tensors)) == ("unknown", {"external-data"}, {}, ["m.onnx/w"])


# MessagePack, by hand


def packed(value):
    if isinstance(value, np.ndarray):
        body = packed([list(value.shape), value.dtype.name, value.tobytes()])
        return struct.pack(">BIb", 0xC9, len(body), 1) + body
    if isinstance(value, dict):
        return struct.pack(">BH", 0xDE, len(value)) + b"".join(packed(k) + packed(v) for k, v in value.items())
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(packed, value))
    if isinstance(value, str):
        return bytes([0xA0 | len(value)]) + value.encode()
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if isinstance(value, bool):
        return bytes([0xC2 + value])
    return struct.pack(">Bi", 0xD2, value)


def test_msgpack_of_flax_is_read(tmp_path):
    tree = {"params": {"dense": {"kernel": W, "bias": W[0].astype(np.float16)}}, "step": 3, "flag": True}
    parts = {"__msgpack_chunked_array__": True, "shape": {"0": 3, "1": 4},
             "chunks": {"0": W.ravel()[:5], "1": W.ravel()[5:]}}  # fmt: skip
    (tmp_path / "m.msgpack").write_bytes(packed({**tree, "long": parts}))
    verdict, kinds, found, opened = look(tmp_path / "m.msgpack")
    assert (verdict, kinds, opened.files[0].kind) == ("safe", set(), "msgpack")
    for name in ("params.dense.kernel", "long"):
        np.testing.assert_array_equal(found[name], W)
    np.testing.assert_array_equal(found["params.dense.bias"], W[0])
    assert len(found) == 3


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (packed({"w": W})[:-1], "malformed"),
        (packed({"w": W}) + b"\0", "malformed"),
        (packed({"w": 1}), "unread"),
        (packed({"w": W.astype(np.complex64)}), "unread-tensor"),
        (packed({"w": W}).replace(b"float32", b"float64"), "malformed"),
        (b"\xdf\xff\xff\xff\xff" + bytes(20), "malformed"),
        (b"\xc1" + bytes(9), "malformed"),
        (b"\x91" * 100_000, "limit"),
    ],
)
def test_odd_msgpack_is_unknown(tmp_path, raw, kind):
    (tmp_path / "m.msgpack").write_bytes(raw)
    verdict, kinds, _, _ = look(tmp_path / "m.msgpack")
    assert (verdict, kinds) == ("unknown", {kind})


MATRIX = np.linspace(-1, 1, 16 * 20).reshape(16, 20)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"l": {"w": MATRIX.tolist(), "b": [0.5] * 16}}, "l.w"),
        ([MATRIX.tolist(), [0.5] * 16], "0"),
        ({"weights": [{"name": "l.w", "shape": [16, 20], "data": MATRIX.ravel().tolist()}]}, "weights.0.l.w"),
        (MATRIX.tolist(), "numbers"),
    ],
)
def test_weights_that_are_written_as_json_are_read(tmp_path, value, name):
    (tmp_path / "m.json").write_text(json.dumps(value))
    verdict, kinds, found, opened = look(tmp_path / "m.json")
    assert (verdict, kinds, opened.files[0].kind) == ("safe", set(), "json")
    np.testing.assert_array_equal(found[name], MATRIX)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config.json", {"mel_filters": MATRIX.tolist()}),
        ("data.json", {"scores": [[f"w{i}", -i / 7] for i in range(500)], "list": [i / 7 for i in range(500)]}),
        ("counts.json", {"table": [[i, i * 2] for i in range(500)], "x": [0.5] * 200}),
        ("ragged.json", {"table": [[i / 3] * (1 + i % 3) for i in range(500)]}),
    ],
)
def test_other_json_holds_no_weights(tmp_path, name, value):
    (tmp_path / name).write_text(json.dumps(value))
    verdict, kinds, found, _ = look(tmp_path / name)
    assert (verdict, kinds, found) == ("safe", set(), {})


def test_json_with_weights_is_a_configuration_too(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps({"w": MATRIX.tolist(), "_target_": "os.system"}))
    assert look(tmp_path / "m.json")[0] == "unsafe"


def test_harmless_classes_leave_a_checkpoint_safe(tmp_path):
    torch = pytest.importorskip("torch")
    value = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.PosixPath("/tmp/x"), when=datetime.datetime(2020, 1, 2)),
        "paths": [pathlib.PurePosixPath("a/b"), datetime.timedelta(1), slice(1, 2)],
        "w": torch.ones(2, 3),
    }
    for zip_format in (True, False):
        torch.save(value, tmp_path / "m.pt", _use_new_zipfile_serialization=zip_format)
        verdict, kinds, found, _ = look(tmp_path / "m.pt")
        assert (verdict, kinds, list(found)) == ("safe", set(), ["w"])


@pytest.mark.parametrize("module", ["__main__", "project", "vectorizer"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_an_object_of_a_class_of_its_own_is_unknown_and_its_numbers_are_read(tmp_path, monkeypatch, module, protocol):
    """As torch.save(model) of a class of the script: nobody can aim at it, and nothing but plain data is in it."""
    kind = type("Config", (), {"__module__": module})
    place = sys.modules.get(module) or types.ModuleType(module)
    monkeypatch.setitem(sys.modules, module, place)
    monkeypatch.setattr(place, "Config", kind, raising=False)
    value = kind()
    value.w, value.lr = W, 0.1
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"cfg": value}, protocol))
    verdict, kinds, found, _ = look(tmp_path / "m.pkl")
    assert (verdict, kinds) == ("unknown", {"pickle-object"})
    np.testing.assert_array_equal(found["cfg.w"], W)


@pytest.mark.parametrize(
    ("module", "name", "raw", "due"),
    [
        ("project.kinds", "Color", b"K\x01\x85R", "unknown"),  # members of enumerations
        ("project.kinds", "Color", b"X\x03\0\0\0red\x85R", "unknown"),
        ("project.kinds", "Point", b"K\x01]\x86\x81", "unknown"),  # a named tuple
        ("project.kinds", "Point", b"cbuiltins\nlist\n\x85\x81", "unsafe"),
        ("project.kinds", "tokenise", b"", "unknown"),  # a function that an object holds
        ("project.kinds", "Color", b"X\x05\0\0\0rm /x\x85R", "unsafe"),
        ("project.kinds", "Color", b"K\x01K\x02\x86R", "unsafe"),
        ("project.kinds", "color", b"K\x01\x85R", "unsafe"),
        ("project.kinds", "color", b")R", "unsafe"),
        ("project.kinds", "color", b"K\x01\x85\x81", "unsafe"),
        ("project.kinds", "Color.load", b")R", "unsafe"),
        ("project.kinds", "__import__", b"", "unsafe"),
        ("torch.hub", "Loader", b")\x81", "unsafe"),  # of what is installed, nothing that is not listed
        ("asyncio", "Runner", b")\x81", "unsafe"),
        ("pip._internal", "Main", b")\x81", "unsafe"),
        ("__builtin__", "Color", b")\x81", "unsafe"),
    ],
)
def test_what_may_be_done_with_a_name_that_no_list_knows(tmp_path, module, name, raw, due):
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04" + f"c{module}\n{name}\n".encode() + raw + b".")
    assert look(tmp_path / "m.pkl")[0] == due


def test_torchscript_is_read_and_its_program_is_unknown(tmp_path):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.rnn, self.sizes = torch.nn.Linear(3, 2), torch.nn.LSTM(2, 4), [1, 2]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(self.fc(x))[0]

    net = Net()
    _quietly(lambda: torch.jit.save(torch.jit.script(net), str(tmp_path / "m.pt")))
    verdict, kinds, found, opened = look(tmp_path / "m.pt")
    assert (verdict, kinds, opened.files[0].kind) == ("unknown", {"program"}, "torchscript")
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), name)


def _quietly(work):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work()


@pytest.mark.parametrize("compress", [0, ("gzip", 3), ("bz2", 3), ("xz", 3), ("zlib", 3)])
def test_joblib_is_read_and_sklearn_is_unknown(tmp_path, compress):
    joblib = pytest.importorskip("joblib")
    linear = pytest.importorskip("sklearn.linear_model")
    table = {"w": W, "f": np.asfortranarray(W), "words": np.array(["a", "b"]), "o": np.array([1.5, 2.5])}
    joblib.dump(table, tmp_path / "a.joblib", compress=compress)
    verdict, kinds, found, _ = look(tmp_path / "a.joblib")
    assert (verdict, kinds) == ("safe", set())
    for name in ("w", "f", "o"):
        np.testing.assert_array_equal(found[name], table[name])
    model = linear.LogisticRegression().fit(W, [0, 1, 0])
    joblib.dump(model, tmp_path / "m.joblib", compress=compress)
    verdict, kinds, found, _ = look(tmp_path / "m.joblib")
    assert (verdict, kinds) == ("unknown", {"pickle-object"})
    np.testing.assert_array_equal(found["coef_"], model.coef_)


# ONNX, by hand: the fields of onnx.proto3


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def varint(value):
    out = b""
    while True:
        out += bytes([value & 127 | (128 if value > 127 else 0)])
        value >>= 7
        if not value:
            return out


def initializer(name, value, **outside):
    kind = {"float32": 1, "int64": 7, "float16": 10}[value.dtype.name]
    raw = b"".join(field(1, size) for size in value.shape) + field(2, kind) + field(8, name)
    if not outside:
        return field(5, raw + field(9, value.tobytes()))
    return field(
        5, raw + b"".join(field(13, field(1, k) + field(2, str(v))) for k, v in outside.items()) + field(14, 1)
    )


def model(graph):
    return field(1, 8) + field(2, "tests") + field(7, graph) + field(8, field(1, "") + field(2, 17))


def node(operator, domain=""):
    return field(1, field(4, operator) + (field(7, domain) if domain else b""))


def test_onnx_is_read(tmp_path):
    halves, whole = W.astype(np.float16), np.arange(3)
    packed = field(1, 4) + field(2, 1) + field(8, "p") + field(4, np.ones(4, np.float32).tobytes())
    graph = node("Gemm") + initializer("w", W) + initializer("h", halves) + initializer("i", whole) + field(5, packed)
    (tmp_path / "m.onnx").write_bytes(model(graph))
    verdict, kinds, found, opened = look(tmp_path / "m.onnx")
    assert (verdict, kinds, opened.files[0].kind) == ("safe", set(), "onnx")
    np.testing.assert_array_equal(found["w"], W)
    np.testing.assert_array_equal(found["h"], halves.astype(np.float32))
    np.testing.assert_array_equal(found["i"], whole)
    np.testing.assert_array_equal(found["p"], np.ones(4))


def test_a_lone_infinity_in_onnx_is_a_bound_and_no_broken_weight(tmp_path):
    bound = initializer("mask", np.full(1, -np.inf, np.float32)) + initializer("top", np.full(1, np.inf, np.float16))
    broken = initializer("scale", np.full(1, np.nan, np.float32)), initializer("b", np.full(2, np.inf, np.float32))
    for more, due in ((bound, False), (broken[0], True), (broken[1], True)):
        (tmp_path / "m.onnx").write_bytes(model(initializer("w", W) + more))
        assert any(one.kind == "not-finite" for one in undertow.scan(tmp_path / "m.onnx").findings) == due


def test_types_that_an_object_names_and_defaults_of_tables_are_no_code(tmp_path):
    made = collections.defaultdict(collections.OrderedDict, w=W)
    value = {"dtype": np.float64, "kind": np.str_, "made": made, "types": [int, str, bool, bytes, tuple]}
    value |= {"date": np.datetime64("2020"), "text": np.str_("x")}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(value))
    verdict, kinds, found, _ = look(tmp_path / "m.pkl")
    assert (verdict, kinds) == ("safe", set())
    np.testing.assert_array_equal(found["made.w"], W)


def test_scales_of_onnx_are_those_that_an_operator_reads(tmp_path):
    """Whatever they are called; here their names say nothing, and one scale serves two tensors."""
    whole = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)

    def eight(name):
        return field(5, field(1, 3) + field(1, 4) + field(2, 3) + field(8, name) + field(9, whole.tobytes()))

    read = b"".join(field(1, field(1, n) + field(1, "s") + field(4, "DequantizeLinear")) for n in ("p", "q"))
    graph = read + eight("p") + eight("q") + initializer("s", np.float32([0.5]))
    (tmp_path / "m.onnx").write_bytes(model(graph))
    with open_checkpoint(tmp_path / "m.onnx") as opened:
        weights = weights_of(opened.tensors)
        assert not weights.packed
        for name in "pq":
            np.testing.assert_array_equal(weights.tensors[name].whole(), whole * 0.5)


def test_external_data_of_onnx_are_read_beside_it_and_nowhere_else(tmp_path):
    (tmp_path / "w.data").write_bytes(bytes(8) + W.tobytes())
    (tmp_path / "m.onnx").write_bytes(model(initializer("w", W, location="w.data", offset=8, length=48)))
    for path in (tmp_path, tmp_path / "m.onnx"):
        verdict, kinds, found, _ = look(path)
        assert (verdict, kinds) == ("safe", set())
        np.testing.assert_array_equal(found["w"], W)
    for place in ("/etc/passwd", "../w.data", "a/../../w.data", ""):
        (tmp_path / "m.onnx").write_bytes(model(initializer("w", W, location=place)))
        verdict, kinds, _, _ = look(tmp_path / "m.onnx")
        assert (verdict, "external-data" in kinds) == ("unsafe", True), place
    for place, offset in (("absent", 0), ("w.data", 9), ("w.data", 1 << 40)):
        (tmp_path / "m.onnx").write_bytes(model(initializer("w", W, location=place, offset=offset)))
        assert look(tmp_path / "m.onnx")[0] == "unknown"


def test_absent_numbers_of_onnx_count_as_not_examined(tmp_path):
    graph = initializer("w", W, location="absent.bin") + initializer("v", W)
    (tmp_path / "m.onnx").write_bytes(model(graph))
    verdict, kinds, found, opened = look(tmp_path / "m.onnx")
    assert (verdict, kinds, list(found)) == ("unknown", {"external-data"}, ["v"])
    assert {name: (one.dtype, one.shape) for name, one in opened.tensors.items()}["w"] == ("UNREAD", W.shape)


@pytest.mark.parametrize(
    ("operator", "domain", "due"),
    [("Gemm", "com.microsoft", "safe"), ("PyOp", "x", "unsafe"), ("Evil", "evil.ops", "unknown")],
)
def test_operators_of_onnx(tmp_path, operator, domain, due):
    (tmp_path / "m.onnx").write_bytes(model(node(operator, domain) + initializer("w", W)))
    assert look(tmp_path / "m.onnx")[0] == due


@pytest.mark.parametrize("cut", [1, 7, 20, 60])
def test_a_cut_onnx_is_unknown(tmp_path, cut):
    (tmp_path / "m.onnx").write_bytes(model(initializer("w", W))[:-cut])
    assert look(tmp_path / "m.onnx")[0] == "unknown"


# HDF5, by hand: superblock 0, a root group of link messages, one contiguous dataset, as the specification says


def message(kind, body):
    body = body + bytes(-len(body) % 8)
    return struct.pack("<HHB3x", kind, len(body), 0) + body


def header(*messages):
    raw = b"".join(messages)
    return struct.pack("<BxHII4x", 1, len(messages), 1, len(raw)) + raw


def hdf5(extra=b"", layout=None, attribute="", pipeline=b"", behind=b""):
    """One dataset "w" of float32 (3, 4) in the root group; `behind`: what lies at 2560."""
    superblock = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    superblock += struct.pack("<4Q", 0, 2**64 - 1, 4096, 2**64 - 1) + struct.pack("<QQII16x", 0, 128, 0, 0)
    space = struct.pack("<BBBB4x2Q", 1, 2, 0, 0, 3, 4)
    kind = bytes([0x11, 0x20, 31, 0]) + struct.pack("<IHHBBBBI", 4, 0, 32, 23, 8, 0, 23, 127)
    place = layout or struct.pack("<BBQQ", 3, 1, 2048, 48)
    link = bytes([1, 0, 1]) + b"w" + struct.pack("<Q", 1024)
    config = b""
    if attribute:
        raw = attribute.encode()
        text = bytes([0x13, 0, 0, 0]) + struct.pack("<I", len(raw))
        config = message(12, struct.pack("<BxHHH", 1, 13, 8, 8) + b"model_config\0".ljust(16) + text
                         + struct.pack("<BBBB4x", 1, 0, 0, 0) + raw)  # fmt: skip
    root = header(message(6, link), *([config] if config else []), *([extra] if extra else []))
    dataset = header(message(1, space), message(3, kind), message(8, place), *([pipeline] if pipeline else []))
    file = bytearray(4096)
    file[: len(superblock)] = superblock
    file[128 : 128 + len(root)] = root
    file[1024 : 1024 + len(dataset)] = dataset
    file[2048 : 2048 + 48] = W.tobytes()
    file[2560 : 2560 + len(behind)] = behind
    return bytes(file)


def pipeline(*steps):
    """The message of filters, version 1: 1 deflate, 2 shuffle, 3 checksum."""
    body = b"".join(struct.pack("<HHHHI4x", step, 0, 1, 1, 4) for step in steps)
    return message(11, struct.pack("<BB6x", 1, len(steps)) + body)


def chunked(*steps, sizes=(2, 3), change=lambda tree: tree, left_out=0, mask=0):
    """The same dataset in chunks, whose index lies at 2560 and their bytes from 3072 on."""
    keys, raws, at = b"", b"", 3072
    places = [(i, j) for i in range(0, 3, sizes[0]) for j in range(0, 4, sizes[1])]
    for place in places[left_out:]:
        chunk = np.full(sizes, 77, np.float32)  # what reaches over the edge is padding
        part = W[place[0] :, place[1] :][: sizes[0], : sizes[1]]
        chunk[: part.shape[0], : part.shape[1]] = part
        raw = chunk.tobytes()
        for number, step in enumerate(steps):
            if mask >> number & 1:
                continue
            if step == 2:
                raw = np.frombuffer(raw, np.uint8).reshape(-1, 4).T.tobytes()
            raw = zlib.compress(raw) if step == 1 else raw + b"fcrc" if step == 3 else raw
        keys += struct.pack("<II3QQ", len(raw), mask, *place, 0, at)
        raws, at = raws + raw, at + len(raw)
    tree = b"TREE\1\0" + struct.pack("<HQQ", len(places) - left_out, 2**64 - 1, 2**64 - 1) + keys
    layout = struct.pack("<BBBQ3I", 3, 2, 3, 2560, *sizes, 4)
    return hdf5(
        layout=layout, pipeline=pipeline(*steps) if steps else b"", behind=change(tree.ljust(512, b"\0")) + raws
    )


@pytest.mark.parametrize("steps", [(), (1,), (2, 1), (2, 1, 3), (3,)])
@pytest.mark.parametrize("sizes", [(2, 3), (1, 4), (3, 1), (3, 4), (2, 4)])
def test_chunks_of_hdf5_are_put_together(tmp_path, steps, sizes):
    (tmp_path / "m.h5").write_bytes(chunked(*steps, sizes=sizes))
    verdict, kinds, found, _ = look(tmp_path / "m.h5")
    assert (verdict, kinds) == ("safe", set())
    np.testing.assert_array_equal(found["w"], W)


def test_a_filter_that_was_left_out_of_a_chunk_is_left_out(tmp_path):
    (tmp_path / "m.h5").write_bytes(chunked(2, 1, mask=2))
    np.testing.assert_array_equal(look(tmp_path / "m.h5")[2]["w"], W)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (chunked(32000), "unread-tensor"),  # lzf
        (chunked(1, left_out=1), "unread-tensor"),  # a chunk that was never written
        (chunked(1, change=lambda tree: b"X" + tree[1:]), "malformed"),
        (chunked(1, change=lambda tree: tree[:24] + b"\1" + tree[25:]), "malformed"),  # the size of a chunk
        (chunked(1, change=lambda tree: tree[:32] + b"\1" + tree[33:]), "malformed"),  # where a chunk lies
        (chunked(1, change=lambda tree: tree[:32] + b"\xff" * 8 + tree[40:]), "malformed"),
        (chunked(1, change=lambda tree: tree[:5] + b"\1" + tree[6:]), "malformed"),  # a node that is none
        (hdf5(layout=struct.pack("<BBBQ3I", 3, 2, 3, 2560, 0, 3, 4)), "malformed"),
        (hdf5(layout=struct.pack("<BBBQ2I", 3, 2, 2, 2560, 2, 4)), "malformed"),
        (hdf5(layout=struct.pack("<BB20x", 4, 2)), "unread-tensor"),
    ],
)
def test_chunks_that_are_not_read_leave_the_file_unknown(tmp_path, raw, kind):
    (tmp_path / "m.h5").write_bytes(raw)
    verdict, kinds, found, _ = look(tmp_path / "m.h5")
    assert (verdict, kinds, found) == ("unknown", {kind}, {})


def test_chunks_as_h5py_writes_them(tmp_path):
    h5py = pytest.importorskip("h5py")
    value = np.arange(37 * 50, dtype=np.float32).reshape(37, 50)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for name, how in {"a": {}, "b": {"shuffle": True}, "c": {"fletcher32": True, "chunks": (8, 16)}}.items():
            file.create_dataset(name, data=value, compression="gzip", **how)
        file["flags"] = np.array([True, False])
    verdict, _, found, _ = look(tmp_path / "m.h5")
    assert verdict == "safe"
    for name in "abc":
        np.testing.assert_array_equal(found[name], value)


LAMBDA = json.dumps({"class_name": "Lambda", "config": {"function": ["4wEA", None, None]}})


def test_hdf5_is_read(tmp_path):
    (tmp_path / "m.h5").write_bytes(hdf5())
    verdict, kinds, found, opened = look(tmp_path / "m.h5")
    assert (verdict, kinds, opened.files[0].kind) == ("safe", set(), "hdf5")
    np.testing.assert_array_equal(found["w"], W)


@pytest.mark.parametrize(
    ("raw", "kind", "due"),
    [
        (hdf5(attribute=LAMBDA), "keras-lambda", "unsafe"),
        (
            hdf5(extra=message(6, bytes([1, 8, 64, 1]) + b"x" + struct.pack("<H", 3) + b"a\0b")),
            "external-data",
            "unsafe",
        ),
        (hdf5(layout=struct.pack("<BBB3QQ", 3, 2, 3, 0, 0, 0, 0)), "malformed", "unknown"),
        (hdf5(layout=struct.pack("<BBQQ", 3, 1, 5000, 48)), "malformed", "unknown"),
        (hdf5()[:1030], "malformed", "unknown"),
        (hdf5().replace(struct.pack("<Q", 1024), struct.pack("<Q", 128)), "malformed", "unknown"),  # holds itself
    ],
)
def test_what_hdf5_may_hide(tmp_path, raw, kind, due):
    (tmp_path / "m.h5").write_bytes(raw)
    verdict, kinds, _, _ = look(tmp_path / "m.h5")
    assert (verdict, kind in kinds) == (due, True), kinds


def test_keras_archives_are_read(tmp_path):
    config = {"class_name": "Dense", "module": "keras.layers", "config": {"units": 4}}
    members = {"metadata.json": b"{}", "config.json": json.dumps(config).encode(), "model.weights.h5": hdf5()}
    (tmp_path / "m.keras").write_bytes(zipped(members))
    verdict, kinds, found, opened = look(tmp_path / "m.keras")
    assert (verdict, kinds, opened.files[0].kind) == ("safe", set(), "keras")
    np.testing.assert_array_equal(found["model.weights.h5/w"], W)
    (tmp_path / "m.keras").write_bytes(zipped({**members, "config.json": LAMBDA.encode()}))
    verdict, kinds, _, _ = look(tmp_path / "m.keras")
    assert (verdict, kinds) == ("unsafe", {"keras-lambda"})


# TensorFlow Lite, by hand: tables of a flatbuffer, each before what it refers to, so that every offset is positive


class Flat:
    """A flatbuffer under construction; `table` takes (field, width, value) and hands back where the fields lie."""

    def __init__(self):
        self.raw = bytearray(b"\0\0\0\0TFL3")

    def align(self):
        self.raw += bytes(-len(self.raw) % 8)

    def table(self, *fields):
        self.align()
        count = max((number for number, _, _ in fields), default=-1) + 1
        places, at = {}, 8
        for number, width, value in fields:
            places[number] = (at, width, value)
            at += 8
        entries = [places[n][0] if n in places else 0 for n in range(count)]
        vtable = struct.pack(f"<HH{count}H", 4 + 2 * count, at, *entries)
        start = len(self.raw)
        self.raw += vtable
        self.align()
        here = len(self.raw)
        self.raw += struct.pack("<i4x", here - start) + bytes(at - 8)
        for place, width, value in places.values():
            self.raw[here + place : here + place + width] = value.to_bytes(width, "little")
        return here, {number: here + place for number, (place, _, _) in places.items()}

    def point(self, place, target):
        self.raw[place : place + 4] = struct.pack("<I", target - place)

    def vector(self, place, raw, count):
        self.align()
        self.raw += bytes(4)
        self.point(place, len(self.raw))
        self.raw += struct.pack("<I", count) + raw

    def tables(self, place, number):
        """A vector of offsets: where each of them lies."""
        self.vector(place, bytes(4 * number), number)
        return [len(self.raw) - 4 * (number - i) for i in range(number)]


def tflite(operator="", shape=(3, 4), scales=None):
    flat = Flat()
    root, model_fields = flat.table((1, 4, 0), (2, 4, 0), (4, 4, 0))
    flat.raw[:4] = struct.pack("<I", root)
    (code,) = flat.tables(model_fields[1], 1)
    here, fields = flat.table((1, 4, 0), (3, 4, 32))
    flat.point(code, here)
    flat.vector(fields[1], operator.encode(), len(operator))
    (graph,) = flat.tables(model_fields[2], 1)
    here, fields = flat.table((0, 4, 0))
    flat.point(graph, here)
    (tensor,) = flat.tables(fields[0], 1)
    raw = W.tobytes() if scales is None else W.astype(np.int8).tobytes()
    kind = 0 if scales is None else 9
    here, fields = flat.table((0, 4, 0), (1, 1, kind), (2, 4, 1), (3, 4, 0), *([] if scales is None else [(4, 4, 0)]))
    flat.point(tensor, here)
    if scales is not None:
        here, held = flat.table((2, 4, 0), (3, 4, 0), (6, 4, 1))
        flat.point(fields[4], here)
        flat.vector(held[2], scales.tobytes(), len(scales))
        flat.vector(held[3], np.full(len(scales), 2).tobytes(), len(scales))
    flat.vector(fields[0], struct.pack(f"<{len(shape)}i", *shape), len(shape))
    flat.vector(fields[3], b"w", 1)
    empty, full = flat.tables(model_fields[4], 2)
    flat.point(empty, flat.table()[0])
    here, fields = flat.table((0, 4, 0))
    flat.point(full, here)
    flat.vector(fields[0], raw, len(raw))
    return bytes(flat.raw)


@pytest.mark.parametrize("scales", [np.float32([0.5]), np.float32([0.1, 0.2, 0.3, 0.4])])
def test_scales_and_zero_points_of_tflite_lie_beside_the_numbers(tmp_path, scales):
    """One for all, or one a column: what the model computes with is scale * (stored - zero point)."""
    (tmp_path / "m.tflite").write_bytes(tflite(scales=scales))
    with open_checkpoint(tmp_path / "m.tflite") as opened:
        weights = weights_of(opened.tensors)
        np.testing.assert_allclose(weights.tensors["w"].whole(), scales * (W - 2), rtol=1e-6)
        assert len(weights.tensors) == 1


def test_tflite_is_read(tmp_path):
    (tmp_path / "m.tflite").write_bytes(tflite())
    verdict, kinds, found, opened = look(tmp_path / "m.tflite")
    assert (verdict, kinds, opened.files[0].kind) == ("safe", set(), "flatbuffer")
    np.testing.assert_array_equal(found["w"], W)


@pytest.mark.parametrize(
    ("raw", "due"),
    [(tflite("FlexReadFile"), "unsafe"), (tflite("FlexAdd"), "unknown"), (tflite("Evil"), "unknown"),
     (tflite("TFLite_Detection_PostProcess"), "safe"), (tflite(shape=(3, 5)), "unknown"),
     (tflite(shape=(-3, 4)), "unknown"), (tflite()[:-8], "unknown"), (tflite()[:40], "unknown")],
)  # fmt: skip
def test_what_tflite_may_hide(tmp_path, raw, due):
    (tmp_path / "m.tflite").write_bytes(raw)
    assert look(tmp_path / "m.tflite")[0] == due


class Counting(Held):
    """Bytes in memory that count those which are copied out of them."""

    def __init__(self, raw):
        super().__init__(raw)
        self.copied = 0

    def read(self, offset, count):
        raw = super().read(offset, count)
        self.copied += len(raw)
        return raw

    def _fetch(self, offset, count):
        self.copied += count
        return super()._fetch(offset, count)


def shapes_of_pickles(n):
    """Values that grow with n: many small ones, one long list, one long text, a deep list, lists in lists, one memo."""
    deep = []
    for _ in range(40):
        deep = [deep, 1]
    small = {f"w{i}": (i, [i / 3, "abc", None]) for i in range(n)}
    return {"small": small, "list": list(range(4 * n)), "text": "a" * 400 * n, "deep": [deep] * n,
            "lists": [[i] for i in range(n)], "memo": [small] * 3, "texts": [f"{i:300}" for i in range(n)]}  # fmt: skip


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize("shape", shapes_of_pickles(1))
def test_pickles_are_read_in_linear_time(shape, protocol):
    """Calls and bytes that are copied at most double where the pickle does; 240 KB of protocol 0 took 23 seconds."""
    import pickle  # noqa: TID251 - to write what is read
    from dataclasses import asdict

    from undertow.opening.inside.collect import Scratch
    from undertow.opening.inside.machine import Budget
    from undertow.opening.inside.pickles import Job, bare

    def work(n):
        raw = pickle.dumps(shapes_of_pickles(n)[shape], protocol)
        stream, limits = Counting(raw), asdict(Limits())
        budget = Budget(limits["opcodes"], limits["depth_of_stack"], limits["pickle_bytes"])
        job = Job(stream, limits, Scratch(-1, 0), budget)
        called = calls(lambda: bare(job))
        assert job.report.complete
        return called, stream.copied, len(raw)

    small, large = work(600), work(1200)
    assert large[0] <= 2.2 * small[0]
    assert large[1] <= 2.2 * small[1] + Held.PIECE  # one piece is held ahead
    assert large[1] <= 3 * large[2] + Held.PIECE


def test_the_time_limit_is_of_the_path_not_of_each_file(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.pkl").write_bytes(b"\x80\x02N.")
    assert look(tmp_path)[0] == "safe"
    verdict, kinds, _, _ = look(tmp_path, Limits(seconds=0))
    assert (verdict, kinds) == ("unknown", {"limit"})


def test_nothing_is_scanned_where_there_are_no_tensors(tmp_path):
    from safetensors.numpy import save_file

    from undertow import UnsafeCheckpoint, require_safe
    from undertow.workflows.scan import ScanRequest, scan

    save_file({}, tmp_path / "model.safetensors")
    found = scan(tmp_path, ScanRequest())
    assert (found.weights, found.result.verdict) == (frozenset(), "unknown")
    for allow in (False, True):
        with pytest.raises(UnsafeCheckpoint, match="holds no weights"):
            require_safe(tmp_path, allow_unknown=allow)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_not_safe_to_finetune_from(tmp_path, bad):
    from safetensors.numpy import save_file

    save_file({"w": np.full((8, 8), bad, np.float32)}, tmp_path / "model.safetensors")
    found = undertow.scan(tmp_path)
    assert found.verdict == "unknown"
    assert {one.kind for one in found.findings} == {"not-finite"}
