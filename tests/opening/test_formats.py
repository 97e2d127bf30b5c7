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
import tarfile
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
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"dtype": np.float64, "kind": np.str_, "made": made}))
    verdict, kinds, found, _ = look(tmp_path / "m.pkl")
    assert (verdict, kinds) == ("safe", set())
    np.testing.assert_array_equal(found["made.w"], W)


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


def hdf5(extra=b"", layout=None, attribute=""):
    """One dataset "w" of float32 (3, 4) in the root group."""
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
    dataset = header(message(1, space), message(3, kind), message(8, place))
    file = bytearray(4096)
    file[: len(superblock)] = superblock
    file[128 : 128 + len(root)] = root
    file[1024 : 1024 + len(dataset)] = dataset
    file[2048 : 2048 + 48] = W.tobytes()
    return bytes(file)


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
        (hdf5(layout=struct.pack("<BBB3QQ", 3, 2, 3, 0, 0, 0, 0)), "unread-tensor", "unknown"),
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
