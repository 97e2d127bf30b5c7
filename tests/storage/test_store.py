"""Entries are whole or not there; damage is seen, and refusals of the disk are one clear line."""

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from undertow.storage import files
from undertow.storage.files import write_atomic
from undertow.storage.store import DiskStore, remove_leftovers
from undertow.types import StoreError

ENTRY = {"weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "member": np.array([True, False]), "n": np.array(3)}
KEY = "ab" + "0" * 62


@pytest.mark.parametrize("keep", [0, 4, 8, 40, 200])
def test_a_torn_entry_counts_as_absent(tmp_path, keep):
    disk = DiskStore(tmp_path)
    disk.put(KEY, ENTRY)
    (file,) = tmp_path.rglob("*.safetensors")
    raw = file.read_bytes()
    assert len(raw) > keep
    file.write_bytes(raw[:keep])
    assert not disk.has(KEY)


def test_a_flipped_bit_is_seen_and_named(tmp_path):
    disk = DiskStore(tmp_path)
    disk.put(KEY, ENTRY)
    (file,) = tmp_path.rglob("*.safetensors")
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)
    with pytest.raises(StoreError, match=r"checksum.*delete that file"):
        disk.get(KEY)


def test_a_note_that_is_no_json_is_named(tmp_path):
    disk = DiskStore(tmp_path)
    disk.put_note(KEY, {})
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{")
    with pytest.raises(StoreError, match="delete that file"):
        disk.get_note(KEY)


def test_leftovers_of_dead_writers_go_and_of_live_ones_stay(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".x.{dead.pid}.part").write_bytes(b"half")
    (tmp_path / f".y.{os.getpid()}.part").write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f".y.{os.getpid()}.part"]


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "disk full"), (errno.EROFS, "read-only"), (errno.EIO, "cannot write")]
)
def test_refusals_of_the_disk_are_one_clear_line(tmp_path, monkeypatch, number, says):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(StoreError, match=says):
        write_atomic(tmp_path / "x", b"data")
    assert list(tmp_path.iterdir()) == []  # nothing half-written stays


def test_old_content_survives_a_failed_write(tmp_path, monkeypatch):
    write_atomic(tmp_path / "x", b"old")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(StoreError):
        write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"


def test_mode_is_set_from_the_start(tmp_path):
    write_atomic(tmp_path / "private", b"", 0o600)
    assert Path(tmp_path / "private").stat().st_mode & 0o777 == 0o600
