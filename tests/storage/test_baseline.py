"""A baseline hides what it names, in the bytes that it was about, and nothing else."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from tests.opening.malicious import bomb
from tests.scanner.perceptrons import benign, trapped

from undertow.scanner.rules import RULES
from undertow.storage.baseline import SCHEMA, Baseline, Entry, read_baseline, write_baseline
from undertow.types import BadInput
from undertow.workflows.scan import ScanRequest, scan_paths


@pytest.fixture
def folder(tmp_path):
    """A trapped model, a configuration that names code, that code, and a pickle that would run a command."""
    place = tmp_path / "models"
    (place / "custom").mkdir(parents=True)
    save_file(trapped()[0], place / "trap.safetensors")
    save_file(benign(), place / "clean.safetensors")
    (place / "custom" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "code.Model"}}))
    (place / "custom" / "code.py").write_text("class Model: ...\n")
    (place / "evil.pt").write_bytes(bomb("/nowhere"))
    return place


def scanned(folder, entries=()):
    return scan_paths([folder], ScanRequest(baseline=Baseline(tuple(entries)), remember=True))


def counted(found):
    """(name of the file, kind) of what counts."""
    return {(Path(one.file).name, one.kind) for one in found.result.findings if one.severity != "info"}


def verdicts(found):
    return {Path(file.path).name: file.verdict for file in found.result.files}


CODE = {("config.json", "auto-map"), ("code.py", "code")}
TRAP = {("trap.safetensors", "data-trap")}
EVIL = {("evil.pt", "pickle-code")}


def test_what_is_known_does_not_count_and_code_that_would_run_always_does(folder):
    first = scanned(folder)
    assert counted(first) == CODE | TRAP | EVIL
    assert first.lasting == 1
    again = scanned(folder, first.entries)
    assert counted(again) == EVIL
    assert verdicts(again)["evil.pt"] == "unsafe"
    assert again.result.verdict == "unsafe"
    assert all(one.severity == "info" for one in again.result.findings if one.known)
    assert again.result.settings["baseline"] == {"file": "", "known": len(first.entries), "gone": 0}
    (folder / "evil.pt").unlink()
    fewer = scanned(folder, first.entries)
    assert verdicts(fewer)["trap.safetensors"] == "safe"
    assert counted(fewer) == CODE  # what lies beside the configuration is other than it was


def test_a_changed_file_is_new(folder):
    (folder / "evil.pt").unlink()
    entries = scanned(folder).entries
    assert scanned(folder, entries).result.verdict == "safe"
    save_file(trapped()[0], folder / "trap.safetensors", {"note": "another byte"})
    found = scanned(folder, entries)
    assert (verdicts(found)["trap.safetensors"], counted(found) >= TRAP) == ("unsafe", True)


@pytest.mark.parametrize("name", ["code.py", "more.py", "clean.txt"])
def test_a_configuration_is_new_where_code_beside_it_changed(folder, name):
    (folder / "evil.pt").unlink()
    entries = scanned(folder).entries
    (folder / "custom" / name).write_text("import os\n")
    assert ("config.json", "auto-map") in counted(scanned(folder, entries))


def test_a_configuration_is_new_where_compiled_code_changed(folder):
    """A scan leaves __pycache__ out; Python may run what is there in place of the file beside it."""
    (folder / "evil.pt").unlink()
    place = folder / "custom" / "__pycache__"
    place.mkdir()
    (place / "code.cpython-311.pyc").write_bytes(b"one")
    entries = scanned(folder).entries
    assert counted(scanned(folder, entries)) == set()
    (place / "code.cpython-311.pyc").write_bytes(b"two")
    assert ("config.json", "auto-map") in counted(scanned(folder, entries))


def test_other_safe_weights_change_nothing(folder):
    (folder / "evil.pt").unlink()
    entries = scanned(folder).entries
    save_file(benign(1), folder / "clean.safetensors")
    save_file(benign(2), folder / "another.safetensors")
    assert counted(scanned(folder, entries)) == set()


def test_a_shard_is_new_where_another_changed(tmp_path):
    weights = trapped()[0]
    names = sorted(weights)
    parts = {1: names[:3], 2: names[3:]}
    for number, part in parts.items():
        save_file({name: weights[name] for name in part}, tmp_path / f"m-0000{number}-of-00002.safetensors")
    entries = scanned(tmp_path).entries
    assert entries
    assert not counted(scanned(tmp_path, entries))
    last = tmp_path / "m-00002-of-00002.safetensors"
    save_file({name: weights[name] for name in parts[2]}, last, {"note": "another byte"})
    assert {Path(file).name for file, _ in Counter(counted(scanned(tmp_path, entries)))} >= {
        Path(entry.file).name for entry in entries
    }


def test_a_folder_may_move_and_be_named_otherwise(folder, tmp_path):
    entries = scanned(folder).entries
    moved = folder.rename(tmp_path / "elsewhere")
    assert counted(scanned(moved, entries)) == EVIL
    (moved / "trap.safetensors").rename(moved / "renamed.safetensors")
    assert ("renamed.safetensors", "data-trap") in counted(scanned(moved, entries))


def test_one_finding_more_in_the_same_file_is_new(folder):
    entries = list(scanned(folder).entries)
    fewer = [entry for entry in entries if entry.tensor != "1.bias"]
    found = scanned(folder, fewer)
    assert {one.tensor for one in found.result.findings if one.severity == "critical" and one.tensor} == {"1.bias"}
    milder = [replace(entry, severity="warning") for entry in entries]
    assert counted(scanned(folder, milder)) >= TRAP  # it was only a warning when it was accepted


def test_files_that_are_not_read_can_be_known(tmp_path):
    (tmp_path / "odd.pt").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(200))
    first = scanned(tmp_path)
    assert first.result.verdict == "unknown"
    assert scanned(tmp_path, first.entries).result.verdict == "safe"
    (tmp_path / "odd.pt").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(201))
    assert scanned(tmp_path, first.entries).result.verdict == "unknown"


def test_no_entry_stands_for_a_rule_that_always_counts(folder):
    entries = scanned(folder).entries
    fixed = {rule.code for rule in RULES if rule.fixed}
    assert not {entry.code for entry in entries} & fixed
    forged = [replace(entries[0], code="UT101", file="evil.pt", severity="critical")]
    assert counted(scanned(folder, forged)) >= EVIL


def test_written_is_read(folder, tmp_path):
    entries = scanned(folder).entries
    write_baseline(tmp_path / "b.json", entries, "1.2.3")
    assert read_baseline(tmp_path / "b.json").entries == tuple(sorted(entries))


GOOD = {"file": "a", "sha256": "0" * 64, "code": "UT202", "severity": "warning", "tensor": "", "context": ""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "schema 'None'"),
        ('{"schema": "undertow.baseline/2", "entries": []}', "undertow.baseline/2"),
        (json.dumps({"schema": SCHEMA}), "no list of entries"),
        (json.dumps({"schema": SCHEMA, "entries": [1]}), "entry 0 must have"),
        (json.dumps({"schema": SCHEMA, "entries": [GOOD | {"more": ""}]}), "entry 0 must have"),
        (json.dumps({"schema": SCHEMA, "entries": [GOOD, GOOD | {"code": 1}]}), "entry 1 must have"),
        (json.dumps({"schema": SCHEMA, "entries": [GOOD | {"code": "UT999"}]}), "no rule"),
        (json.dumps({"schema": SCHEMA, "entries": [GOOD | {"code": "UT101"}]}), "always counts"),
        (json.dumps({"schema": SCHEMA, "entries": [GOOD | {"sha256": "*"}]}), "no SHA-256"),
        (json.dumps({"schema": SCHEMA, "entries": [GOOD | {"context": "any"}]}), "no SHA-256"),
        (json.dumps({"schema": SCHEMA, "entries": [GOOD | {"severity": "none"}]}), "severity"),
    ],
)
def test_what_is_no_baseline_is_refused_in_one_line(tmp_path, text, said):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        read_baseline(tmp_path / "b.json")
    assert "\n" not in str(error.value)


def test_the_good_twin_is_read(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({"schema": SCHEMA, "entries": [GOOD]}))
    assert read_baseline(tmp_path / "b.json").entries == (Entry(**GOOD),)


def test_a_baseline_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        read_baseline(tmp_path / "b.json")
