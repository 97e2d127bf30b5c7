"""What is no checkpoint, and arguments that mean nothing: one readable line or finding each, and the exit code."""

import json
import os
import socket
import struct
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from undertow.cli import main
from undertow.rng import stream

SAFE, UNSAFE, ERROR, NOTHING, UNKNOWN = 0, 1, 2, 3, 4
EVIL = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
W = stream(0, "test", "odd").normal(size=(64, 48)).astype(np.float32)


@pytest.fixture
def scan(monkeypatch, capsys, tmp_path):
    """Run `undertow scan` in a folder with a good file `w.safetensors`: (exit code, stdout, stderr)."""
    save_file({"fc.weight": W}, tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["undertow", "scan", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


def _pipe(place):
    os.mkfifo(place)


def _socket(place):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(place.name)  # by its name alone: the whole path may be too long for a socket


def _loop(place):
    place.symlink_to(place.name)


def _lost(place):
    place.symlink_to("nowhere")


def _folder_loop(place):
    place.mkdir()
    (place / "self").symlink_to(f"../{place.name}")


def _holes(place):
    """A header that promises 256 GB, and a file that is so long and stores nothing."""
    said = {"w": {"dtype": "F32", "shape": [1 << 19, 1 << 17], "data_offsets": [0, 1 << 38]}}
    raw = json.dumps(said).encode()
    with place.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + (1 << 38))


def _nothing(place):
    place.write_bytes(b"")


def _garbage(place):
    place.write_bytes(b"\xff" * 100)


@pytest.mark.parametrize(
    ("make", "word"),
    [(_pipe, "named pipe"), (_socket, "socket"), (_loop, "symbolic link"), (_lost, "symbolic link"),
     (_folder_loop, "symbolic link"), (_holes, "are stored"), (_nothing, "(empty)"), (_garbage, "nothing is known")],
)  # fmt: skip
def test_what_is_no_checkpoint_is_unknown(scan, tmp_path, make, word):
    make(tmp_path / "odd.safetensors")
    code, out, err = scan("odd.safetensors", "--format", "json")
    assert (code, err) == (UNKNOWN, "")
    (said,) = {one["explanation"] for one in json.loads(out)["findings"] if word in one["explanation"]}
    assert "\n" not in said


def test_devices_are_not_opened(scan):
    assert scan("/dev/zero")[0] == UNKNOWN


def test_a_file_with_small_holes_is_read(scan, tmp_path):
    raw = (tmp_path / "w.safetensors").read_bytes()
    with (tmp_path / "holes.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 1 << 20) + raw[8 : 8 + int.from_bytes(raw[:8], "little")].ljust(1 << 20))
        file.write(W.tobytes())
    assert scan("holes.safetensors")[0] == SAFE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_unknown(scan, tmp_path):
    (tmp_path / "w.safetensors").chmod(0)
    code, out, _ = scan("w.safetensors")
    assert (code, "it cannot be opened: Permission denied" in " ".join(out.split())) == (UNKNOWN, True)


def test_a_name_with_a_newline_stays_on_its_line(scan, tmp_path):
    save_file({"fc.weight": W}, tmp_path / "a\nsafe     b.safetensors")
    code, out, _ = scan("a\nsafe     b.safetensors")
    assert code == SAFE
    assert out.splitlines()[0].startswith("safe     a?safe")


def test_too_many_files_are_said(scan, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(10_001):
        (folder / f"{i}.txt").touch()
    code, out, _ = scan("many", "--no-hash")
    assert (code, "more than 10,000 files" in out) == (UNKNOWN, True)


def test_the_same_path_twice_counts_once(scan):
    _, once, _ = scan("w.safetensors", "--format", "json")
    _, twice, _ = scan("w.safetensors", "w.safetensors", "--format", "json")
    assert once == twice


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["gone"], "gone: no such file"),
        ([""], "no such file"),
        (["someone/model"], "someone/model"),
        (["w.safetensors", "--parent", "gone"], "--parent gone: no such file"),
        (["w.safetensors", "--parent", "evil.pt"], "--parent evil.pt"),
        (["w.safetensors", "--parent", "empty"], "it holds no weights"),
        (["w.safetensors", "--ignore", "UT999"], "UT999"),
        (["w.safetensors", "--ignore", "pickle-code"], "cannot be ignored"),
        (["w.safetensors", "--allow", "data-trop"], "did you mean data-trap?"),
        (["w.safetensors", "--format", "xml"], "cyclonedx"),
        (["w.safetensors", "--coverage", "1.5"], "--coverage"),
        (["w.safetensors", "--coverage", "nan"], "--coverage"),
        (["w.safetensors", "--out", "empty"], "empty"),
        (["w.safetensors", "--baseline", "gone.json"], "gone.json"),
        (["w.safetensors", "--baseline", "old.json"], "--write-baseline"),
        (["w.safetensors", "--baseline", "text.json"], "no JSON"),
        (["w.safetensors", "--rules", "bad.toml"], "no TOML"),
        (["w.safetensors", "--rules", "levels.toml"], "info, warning, critical"),
        (["w.safetensors", "--rules", "lower.toml"], "cannot be ignored or lowered"),
        (["w.safetensors", "--rules", "gone.toml"], "gone.toml"),
        (["w.safetensors", "--public-key", "gone.pem"], "gone.pem"),
        (["w.safetensors", "--identity", "me@org.com"], "--issuer"),
        (["w.safetensors", "--data", "x.npz"], "--prove"),
        (["w.safetensors", "--nonsense"], "--nonsense"),
        ([], "paths"),
    ],
)
def test_arguments_that_mean_nothing_are_one_line(scan, tmp_path, arguments, word):
    (tmp_path / "evil.pt").write_bytes(EVIL)
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.json").write_text('{"schema": "undertow.baseline/99", "entries": []}')
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "bad.toml").write_text("x = [\n")
    (tmp_path / "levels.toml").write_text("[severity]\nUT303 = 'fatal'\n")
    (tmp_path / "lower.toml").write_text("[severity]\nUT101 = 'info'\n")
    code, out, err = scan(*arguments)
    assert (code, out) == (ERROR, "")
    assert err.startswith("undertow: ")
    assert len(err.splitlines()) == 1
    assert word in err


def test_a_parent_that_shares_nothing_compares_nothing(scan, tmp_path):
    """A comparison that was asked for and not made is no verdict of safe."""
    save_file({"fc.weight": W[:32].copy()}, tmp_path / "parent.safetensors")
    code, out, _ = scan("w.safetensors", "--parent", "parent.safetensors")
    assert (code, "UT421 not-compared" in out) == (UNKNOWN, True)
    assert scan("w.safetensors", "--parent", "w.safetensors")[0] == SAFE


def test_states_beside_a_model_that_was_compared_need_no_parent(scan, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"fc.weight": W}, folder / "model.safetensors")
    save_file({"state.0.exp_avg": W[:, :40].copy()}, folder / "optimizer.safetensors")
    code, out, _ = scan("model", "--parent", "w.safetensors", "--format", "json")
    assert code == SAFE
    assert {one["severity"] for one in json.loads(out)["findings"] if one["kind"] == "not-compared"} == {"info"}


def test_an_adapter_that_fits_no_matrix_of_the_parent_was_not_compared(scan, tmp_path):
    rng = stream(1, "test", "odd")
    a, b = (rng.normal(size=size).astype(np.float32) for size in ((8, 40), (56, 8)))
    save_file({"base_model.model.q.lora_A.weight": a, "base_model.model.q.lora_B.weight": b},
              tmp_path / "adapter.safetensors")  # fmt: skip
    assert scan("adapter.safetensors", "--parent", "w.safetensors")[0] == UNKNOWN


@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (1, 0, 4)])
def test_tensors_without_numbers_end_no_scan(scan, tmp_path, shape):
    save_file({"empty": np.zeros(shape, np.float32)}, tmp_path / "empty.safetensors")
    assert scan("empty.safetensors")[0] == NOTHING
    save_file({"empty": np.zeros(shape, np.float32), "fc.weight": W}, tmp_path / "with.safetensors")
    assert scan("with.safetensors")[0] == SAFE
