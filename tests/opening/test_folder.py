"""Folders, shards, links and things that are no files."""

import json
import os
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save, save_file
from tests.opening.assembler import GOOD, NUMBERS, torch_file
from tests.opening.malicious import bomb

from undertow.opening import Limits, open_checkpoint, verdict_of
from undertow.opening.opened import Clock
from undertow.opening.opinions import second_opinions
from undertow.opening.reading import Reading
from undertow.opening.source import open_regular
from undertow.types import BadInput, MissingExtra

INDEX = "model.safetensors.index.json"


def look(path, limits=None):
    """Verdict by name of file, kinds of findings, and the checkpoint."""
    with open_checkpoint(path, limits or Limits(), opinions=False) as opened:
        verdicts = {os.path.basename(file.path): verdict_of(file, opened.findings) for file in opened.files}
        return verdicts, {finding.kind for finding in opened.findings}, opened


def shards(folder, places, files=None):
    for name, held in (files or {"1.safetensors": ["a"], "2.safetensors": ["b"]}).items():
        save_file({tensor: np.ones(2, np.float32) for tensor in held}, folder / name)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 9}, "weight_map": places}))


def test_shards_are_one_checkpoint(tmp_path):
    shards(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    for path in (tmp_path, tmp_path / INDEX):
        verdicts, kinds, opened = look(path)
        assert set(verdicts.values()) == {"safe"}
        assert not kinds
        assert sorted(opened.tensors) == ["a", "b"]


def test_shards_of_pickles_are_one_checkpoint(tmp_path):
    (tmp_path / "1.bin").write_bytes(torch_file(GOOD, {"0": NUMBERS}))
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": "1.bin"}}))
    verdicts, kinds, opened = look(tmp_path)
    assert (set(verdicts.values()), kinds, list(opened.tensors)) == ({"safe"}, set(), ["w"])


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/../../b.safetensors", "..", "a\\b", "x\0y"])
def test_an_index_that_points_elsewhere_is_unsafe(tmp_path, name):
    shards(tmp_path, {"a": "1.safetensors", "b": "2.safetensors", "c": name})
    verdicts, kinds, _ = look(tmp_path)
    assert verdicts[INDEX] == "unsafe"
    assert "path-traversal" in kinds


@pytest.mark.parametrize(
    ("places", "files", "kind", "verdict"),
    [
        ({"a": "1.safetensors", "b": "3.safetensors"}, None, "missing-shard", "unknown"),
        ({"a": "1.safetensors", "z": "2.safetensors"}, None, "missing-tensor", "unknown"),
        ({"a": "1.safetensors"}, {"1.safetensors": ["a", "b"]}, "tensor-unlisted", "safe"),
        (
            {"a": "1.safetensors", "b": "2.safetensors"},
            {"1.safetensors": ["a"], "2.safetensors": "ab"},
            "tensor-twice",
            "safe",
        ),
    ],
)
def test_an_index_is_compared_with_its_shards(tmp_path, places, files, kind, verdict):
    shards(tmp_path, places, files)
    verdicts, kinds, _ = look(tmp_path)
    assert verdicts[INDEX] == verdict
    assert kind in kinds


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 50_000])
def test_an_index_that_is_none_is_unknown(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    assert look(tmp_path)[0][INDEX] == "unknown"


def test_every_file_of_a_folder_is_looked_at(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    save_file({"w": np.ones(2)}, tmp_path / "model.safetensors")
    save_file({"w": np.zeros(2)}, tmp_path / "deep" / "model.safetensors")
    (tmp_path / "deep" / "er" / "training_args.bin").write_bytes(bomb(str(tmp_path / "ran")))
    (tmp_path / "README.md").write_text("# model\n")
    (tmp_path / "spiece.model").write_bytes(b"\n\x0e\n\x05<unk>\0")
    (tmp_path / "vocab.txt").write_text("c\nthe\nof\nin\n")
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Evil"}}')
    (tmp_path / "modeling.py").write_text("raise SystemExit")
    verdicts, kinds, opened = look(tmp_path)
    assert verdicts.pop("training_args.bin") == "unsafe"
    assert verdicts.pop("config.json") == "unknown"  # code of its own, run where an option is set
    assert set(verdicts.values()) == {"safe"}
    assert kinds == {"auto-map", "code", "pickle-code"}
    assert len(opened.tensors) == 2
    assert not (tmp_path / "ran").exists()


def test_things_that_are_no_files_are_not_opened(tmp_path):
    """A pipe would block for ever, a device would never end."""
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "link.safetensors").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "zero.bin").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s.sock"))
    verdicts, kinds, _ = look(tmp_path)
    server.close()
    assert len(verdicts) == 5
    assert set(verdicts.values()) == {"unknown"}
    assert kinds == {"not-a-file"}
    for path in (tmp_path / "pipe.safetensors", tmp_path / "link.safetensors", "/dev/zero", "/dev/stdin"):
        assert set(look(path)[0].values()) == {"unknown"}


def hub(folder, target="../../blobs/abc"):
    """The cache of the hub: a snapshot links to blobs."""
    root = folder / "models--org--name"
    (root / "blobs").mkdir(parents=True)
    (root / "snapshots" / "rev").mkdir(parents=True)
    (root / "blobs" / "abc").write_bytes(save({"w": np.ones(2)}))
    (folder / "secret").write_bytes(save({"s": np.ones(2)}))
    (root / "snapshots" / "rev" / "model.safetensors").symlink_to(target)
    return root / "snapshots" / "rev"


def test_a_cache_of_the_hub_is_followed_to_its_blobs_only(tmp_path):
    place = hub(tmp_path / "good")
    for path in (place, place / "model.safetensors"):
        verdicts, kinds, opened = look(path)
        assert (verdicts, kinds, list(opened.tensors)) == ({"model.safetensors": "safe"}, set(), ["w"])


@pytest.mark.parametrize(
    "target", ["../../../secret", "/etc/passwd", "../../blobs/../../secret", "../../blobs", "../../blobs/link"]
)
def test_links_of_a_cache_that_lead_elsewhere_are_refused(tmp_path, target):
    place = hub(tmp_path, target)
    (tmp_path / "models--org--name" / "blobs" / "link").symlink_to(tmp_path / "secret")
    verdicts, kinds, opened = look(place)
    assert verdicts == {"model.safetensors": "unknown"}
    assert kinds == {"not-a-file"}
    assert not opened.tensors


def test_limits_of_a_folder(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text("x")
    assert "limit" in look(tmp_path, Limits(files=3))[1]
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert "limit" in look(tmp_path, Limits(depth=1))[1]


def test_a_name_that_lies_is_a_finding(tmp_path):
    (tmp_path / "model.bin").write_bytes(save({"w": np.ones(2)}))
    (tmp_path / "model.pt").write_bytes(save({"w": np.ones(2)}))
    (tmp_path / "model.safetensors").write_bytes(torch_file(GOOD, {"0": NUMBERS}))
    verdicts, kinds, _ = look(tmp_path)
    assert verdicts == {"model.bin": "safe", "model.pt": "safe", "model.safetensors": "unsafe"}
    assert kinds == {"extension"}


@pytest.mark.parametrize(
    "start", [b"\x89HDF\r\n\x1a\n", b"\x08\x07\x12\x07pytorch", b"7z\xbc\xaf\x27\x1c", b"version https://git-lfs"]
)
def test_formats_that_are_not_read_are_unknown(tmp_path, start):
    (tmp_path / "model.bin").write_bytes(start + bytes(600))
    assert look(tmp_path)[0] == {"model.bin": "unknown"}


def test_bytes_that_nobody_knows_are_unknown(tmp_path):
    (tmp_path / "weights").write_bytes(b"\x01\x02\0\xff" * 99)
    assert look(tmp_path)[0] == {"weights": "unknown"}


def test_a_signature_that_was_not_checked_is_said(tmp_path):
    (tmp_path / "model.sig").write_text("{}")
    assert any("model.sig" in note for note in look(tmp_path)[2].not_tested)


COMMIT = "0123456789" * 4


class FakeHub:
    """A hub without a network: what a repository holds, and what was asked of it."""

    class SafetensorsParsingError(Exception):
        pass

    def __init__(self, folder, files, online=True):
        self.folder, self.files, self.online, self.asked = folder, files, online, []

    def HfApi(self):
        return self

    def model_info(self, name, revision=None, files_metadata=False):
        self.asked.append(("info", name, revision))
        if not self.online:
            raise OSError("no network\nmore")
        siblings = [SimpleNamespace(rfilename=file, size=size) for file, size in self.files.items()]
        return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def parse_safetensors_file_metadata(self, name, file, revision=None):
        self.asked.append(("header", file, revision))
        if "false" in file:
            raise self.SafetensorsParsingError("its header is longer than the file")

    def snapshot_download(self, name, revision=None, allow_patterns=None, local_files_only=False):
        self.asked.append(("files", revision, tuple(allow_patterns or ()), local_files_only))
        if not (self.online or local_files_only) or self.folder is None:
            raise OSError("no network")
        return str(self.folder)


def test_a_repository_is_pinned_and_only_weights_and_configurations_are_fetched(tmp_path, monkeypatch):
    place = hub(tmp_path)
    files = {"model.safetensors": 100, "false.safetensors": 9, "config.json": 2, "x.png": 5, "y.mp4": 1 << 40,
             "big.bin": 1 << 40, "code.py": 3, "ops.so": 4}  # fmt: skip
    fake = FakeHub(place, files)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.chdir(tmp_path)
    verdicts, kinds, opened = look("org/name@v1.0")
    assert opened.origin == {"repository": "org/name", "commit": COMMIT}
    assert verdicts["model.safetensors"] == "safe"
    assert verdicts["big.bin"] == verdicts["false.safetensors"] == verdicts["ops.so"] == "unknown"
    assert {"limit", "malformed", "shared-library"} <= kinds
    assert fake.asked[0] == ("info", "org/name", "v1.0")
    assert fake.asked[-1] == ("files", COMMIT, ("code.py", "config.json", "model.safetensors"), False)
    headers = [one for one in fake.asked if one[0] == "header"]
    assert headers == [("header", "false.safetensors", COMMIT), ("header", "model.safetensors", COMMIT)]


def test_a_repository_is_read_from_the_cache_without_a_network(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="no such file or folder"):
        open_checkpoint(tmp_path / "absent")
    place = hub(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(place, {}, online=False))
    monkeypatch.chdir(tmp_path)
    verdicts, _, opened = look("org/name")
    assert verdicts == {"model.safetensors": "safe"}
    assert opened.origin["commit"] == place.name
    assert any("from the cache" in note for note in opened.not_tested)
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(None, {}, online=False))
    with pytest.raises(BadInput, match=r"'org/name' is no path here and cannot be downloaded.*\(no network\)"):
        open_checkpoint("org/name")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="huggingface_hub"):
        open_checkpoint("org/name")


def test_second_opinions_warn_and_never_acquit(tmp_path, monkeypatch):
    pytest.importorskip("picklescan")
    (tmp_path / "m.bin").write_bytes(bomb(str(tmp_path / "ran")))
    notes, reading = [], Reading(tmp_path / "m.bin", "pickle")
    source = open_regular(tmp_path / "m.bin")
    second_opinions(reading, source, notes, Clock(Limits()))
    source.close()
    said = " ".join(finding.explanation for finding in reading.findings)
    assert "picklescan warns of posix.system" in said
    assert "fickling" in said or any("fickling" in note for note in notes)
    with open_checkpoint(tmp_path / "m.bin") as opened:  # where our own reader convicts, nobody else is asked
        assert verdict_of(opened.files[0], opened.findings) == "unsafe"
        assert not any(finding.kind == "second-opinion" for finding in opened.findings)
    (tmp_path / "m.bin").write_bytes(torch_file(GOOD, {"0": NUMBERS})[:-9])
    with open_checkpoint(tmp_path / "m.bin") as opened:
        assert verdict_of(opened.files[0], opened.findings) == "unknown"
    monkeypatch.setattr("undertow.opening.opinions.find_spec", lambda _: None)
    with open_checkpoint(tmp_path / "m.bin") as opened:
        assert any("not installed" in note for note in opened.not_tested)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors.index.fp16.json",
        "tf_model.h5.index.json",
        "flax_model.msgpack.index.json",
        "M.BIN.INDEX.JSON",
    ],
)
def test_indexes_have_other_names_too(tmp_path, name):
    save_file({"w": np.ones((2, 2))}, tmp_path / "a.safetensors")
    (tmp_path / name).write_text(json.dumps({"weight_map": {"w": "../a.safetensors"}}))
    with open_checkpoint(tmp_path, opinions=False) as opened:
        assert {found.kind for found in opened.findings} == {"path-traversal"}


def test_shards_may_lie_in_a_folder_below(tmp_path):
    (tmp_path / "part").mkdir()
    save_file({"w": np.ones((2, 2))}, tmp_path / "part" / "a.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": "part/a.safetensors"}}))
    with open_checkpoint(tmp_path, opinions=False) as opened:
        assert not opened.findings
        assert all(file.complete for file in opened.files)
    with open_checkpoint(tmp_path / INDEX, opinions=False) as opened:  # alone, nothing below it is opened
        assert {found.kind for found in opened.findings} == {"missing-shard"}


def test_a_folder_that_cannot_be_listed_is_unknown(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "w.safetensors")
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    verdicts, kinds, _ = look(tmp_path)
    assert (verdicts, kinds) == ({"w.safetensors": "safe", "closed": "unknown"}, {"unreadable"})
