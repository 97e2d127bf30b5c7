"""The run folder is ours or it is refused; nobody's files are mixed or overwritten."""

import json

import pytest

from undertow.storage.run import MARKER, environment, open_run, open_store
from undertow.types import StoreError


def test_a_new_or_empty_folder_becomes_a_run_and_is_continued(tmp_path):
    open_run(tmp_path / "deep" / "run", "tmi")
    open_run(tmp_path / "deep" / "run", "tmi")
    assert json.loads((tmp_path / "deep" / "run" / MARKER).read_text())["audit"] == "tmi"


def test_another_audits_run_is_refused(tmp_path):
    open_run(tmp_path, "mia")
    with pytest.raises(StoreError, match="holds a run of 'mia', not 'tmi'"):
        open_run(tmp_path, "tmi")


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="is no run of undertow"):
        open_run(tmp_path, "tmi")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "other/1", "audit": "tmi"}'])
def test_an_unreadable_marker_is_refused(tmp_path, content):
    (tmp_path / MARKER).write_text(content)
    with pytest.raises(StoreError, match="cannot be read as a run"):
        open_run(tmp_path, "tmi")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        open_run(tmp_path / "x", "tmi")


def test_the_environment_is_complete_and_opening_a_store_makes_its_folder(tmp_path):
    found = environment()
    assert {"undertow", "python", "numpy", "torch", "device", "cpus"} <= found.keys()
    assert json.loads(json.dumps(found)) == found
    open_store(tmp_path / "store")
    assert (tmp_path / "store").is_dir()
