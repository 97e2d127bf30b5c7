"""Malformed safetensors: every kind is refused with a finding, in little memory, and never called safe."""

import json
import os
import struct
from threading import Event

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from undertow.opening import Limits, open_checkpoint, verdict_of
from undertow.opening.source import Source

GOOD = save({"a": np.ones((2, 2), np.float32), "b": np.zeros(3, np.int8)}, {"format": "pt"})
F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def headed(header, body=16):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(body)


def one(**changes):
    return headed({"w": {**F32, **changes}})


MALFORMED = {
    "cut in the header": GOOD[:40],
    "cut in the length": GOOD[:5],
    "cut in the body": GOOD[:-1],
    "empty": b"",
    "huge length": struct.pack("<Q", 2**63) + b"{}",
    "header beyond 100 MB": struct.pack("<Q", 100_000_001) + b"{" + bytes(100),
    "header beyond the file": struct.pack("<Q", 4000) + b"{}",
    "hole": headed({"a": F32, "b": {**F32, "data_offsets": [20, 36]}}, 36),
    "hole at the start": headed({"a": {**F32, "data_offsets": [4, 20]}}, 20),
    "overlap": headed({"a": F32, "b": {**F32, "data_offsets": [8, 24]}}, 24),
    "same place": headed({"a": F32, "b": F32}),
    "negative offset": one(data_offsets=[-16, 0]),
    "negative shape": one(shape=[-2, -2]),
    "backwards": one(data_offsets=[16, 0]),
    "overflow": one(shape=[2**62, 2**62, 16], data_offsets=[0, 0]),
    "overflow to the right size": one(shape=[2**32, 2**32, 4]),
    "not UTF-8": headed(b'{"\xff": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}'),
    "half a surrogate pair": headed(b'{"\\ud800": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}'),
    "duplicate tensor": headed(b'{"w": %b, "w": %b}' % ((json.dumps(F32).encode(),) * 2)),
    "duplicate field": headed(b'{"w": {"dtype": "F32", "dtype": "I32", "shape": [2, 2], "data_offsets": [0, 16]}}'),
    "duplicate metadata": headed(b'{"__metadata__": {"a": "1", "a": "2"}, "w": %b}' % json.dumps(F32).encode()),
    "shape and bytes differ": one(shape=[3, 3]),
    "trailing bytes": GOOD + b"x",
    "unknown type": one(dtype="OBJECT"),
    "type that is no text": one(dtype=["F32"]),
    "deep nesting": headed(b"{" + b'"a":[' * 50_000),
    "deep nesting in a shape": one(shape=[[[[[2]]]]]),
    "not JSON": headed(b"{nothing"),
    "no table": headed(b'["w"]'),
    "tensor that is no table": headed({"w": 3}),
    "field too many": one(offset=1),
    "field missing": headed({"w": {"dtype": "F32", "shape": [2, 2]}}),
    "shape of floats": one(shape=[2.0, 2.0]),
    "shape of truths": one(shape=[True, 4]),
    "offsets of three": one(data_offsets=[0, 16, 32]),
    "metadata of numbers": headed({"__metadata__": {"a": 1}, "w": F32}),
    "NaN in the header": headed(b'{"w": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 16]}}'),
    "half a byte": headed({"w": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, 2),
    "too many parts": headed(b'{"w":[' + b"1," * 3_000_000 + b"1]}"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_unknown(tmp_path, name):
    (tmp_path / "m.safetensors").write_bytes(MALFORMED[name])
    with open_checkpoint(tmp_path / "m.safetensors") as opened:
        (file,) = opened.files
        assert verdict_of(file, opened.findings) == "unknown"
        assert not opened.tensors
        assert opened.findings
        assert all("\n" not in finding.explanation for finding in opened.findings)


def test_the_good_file_is_safe(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(GOOD)
    with open_checkpoint(tmp_path / "m.safetensors") as opened:
        assert verdict_of(opened.files[0], opened.findings) == "safe"
        assert {name: tensor.whole().tolist() for name, tensor in opened.tensors.items()} == {
            "a": [[1, 1], [1, 1]],
            "b": [0, 0, 0],
        }


def test_a_type_that_is_not_read_is_unknown(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(headed({"w": {"dtype": "F4", "shape": [32], "data_offsets": [0, 16]}}))
    with open_checkpoint(tmp_path / "m.safetensors") as opened:
        assert verdict_of(opened.files[0], opened.findings) == "unknown"
        assert "F4" in opened.findings[0].explanation


def test_a_file_that_changes_while_it_is_read_is_unknown(tmp_path, monkeypatch):
    file, gate, hashing = tmp_path / "m.safetensors", Event(), Source.sha256
    file.write_bytes(GOOD)
    os.utime(file, (0, 0))
    monkeypatch.setattr(Source, "sha256", lambda self: hashing(self) if gate.wait(10) else "")
    with open_checkpoint(file) as opened:
        with file.open("r+b") as again:
            again.seek(-1, 2)
            again.write(b"\1")
        gate.set()
        (found,) = opened.files
        assert (found.sha256, verdict_of(found, opened.findings)) == ("", "unknown")


def test_a_changed_file_is_unknown_without_hashes_too(tmp_path):
    file = tmp_path / "m.safetensors"
    file.write_bytes(GOOD)
    os.utime(file, (0, 0))
    limits = Limits(hashes=False)
    with open_checkpoint(file, limits) as opened:
        (found,) = opened.files
        assert (found.sha256, verdict_of(found, opened.findings)) == ("", "safe")
    with open_checkpoint(file, limits) as opened:
        file.write_bytes(GOOD + b"\0")
        assert [verdict_of(one, opened.findings) for one in opened.files] == ["unknown"]


def test_opened_twice_is_the_same(tmp_path):
    save_file({"w": np.ones(3)}, tmp_path / "m.safetensors")
    hashes = []
    for _ in range(2):
        with open_checkpoint(tmp_path / "m.safetensors", Limits()) as opened:
            hashes.append(opened.files)
    assert hashes[0] == hashes[1]
    assert len(hashes[0][0].sha256) == 64


def test_a_row_that_does_not_fit_into_memory_is_not_read(tmp_path):
    save_file({"w": np.ones((1, 500)), "v": np.ones((500, 1))}, tmp_path / "m.safetensors")
    with open_checkpoint(tmp_path / "m.safetensors", Limits(row_bytes=1000)) as opened:
        assert {name: one.dtype for name, one in opened.tensors.items()} == {"v": "F64", "w": "UNREAD"}
        assert verdict_of(opened.files[0], opened.findings) == "unknown"


def test_whatever_a_reader_raises_is_a_finding(tmp_path, monkeypatch):
    """The last net: a fault of our own makes the file unknown, and the scan goes on."""
    monkeypatch.setattr("undertow.opening.opening.safetensors", lambda *_: 1 / 0)
    (tmp_path / "m.safetensors").write_bytes(GOOD)
    with open_checkpoint(tmp_path / "m.safetensors") as opened:
        assert verdict_of(opened.files[0], opened.findings) == "unknown"
        assert "ZeroDivisionError" in opened.findings[0].explanation
