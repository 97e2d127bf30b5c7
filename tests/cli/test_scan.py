"""undertow scan and clean as a user runs them: verdicts, exit codes, formats; nothing heavy is imported."""

import json
import os
import pickle  # noqa: TID251 - to write what must never be read
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.e2e import commands
from tests.scanner.perceptrons import benign, records, trapped

from undertow import BadInput, require_safe, scan
from undertow.cli import main
from undertow.rng import stream
from undertow.types import UnsafeCheckpoint


@pytest.fixture
def undertow(monkeypatch, capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["undertow", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a clean and a trapped checkpoint and a pickle that would write a file."""
    folder = tmp_path_factory.mktemp("files")
    save_file(benign(), folder / "clean.safetensors")
    save_file(trapped()[0], folder / "trap.safetensors", {"origin": "elsewhere"})
    (folder / "evil.pt").write_bytes(pickle.dumps(Evil(str(folder / "executed"))))
    return folder


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize(("name", "code", "verdict"), [("clean", 0, "safe"), ("trap", 1, "unsafe")])
def test_the_exit_code_is_the_verdict(undertow, files, name, code, verdict):
    got, out, err = undertow("scan", files / f"{name}.safetensors")
    assert (got, err) == (code, "")
    assert f"VERDICT: {verdict}" in out
    assert "\x1b" not in out


def test_a_pickle_is_unsafe_and_not_executed(undertow, files):
    code, out, _ = undertow("scan", files / "evil.pt")
    assert code == 1, out
    assert not (files / "executed").exists()


def test_the_worst_file_wins(undertow, files):
    code, out, _ = undertow("scan", files, "--format", "json")
    found = json.loads(out)
    assert (code, found["verdict"]) == (1, "unsafe")
    verdicts = {os.path.basename(file["path"]): file["verdict"] for file in found["files"]}
    assert verdicts == {"clean.safetensors": "safe", "trap.safetensors": "unsafe", "evil.pt": "unsafe"}


def test_files_of_a_folder_are_judged_one_by_one(tmp_path, files):
    """Another model beside a trapped one must not hide it, nor be blamed."""
    for i in range(3):
        save_file(benign(i), tmp_path / f"{i}.safetensors")
    save_file(trapped()[0], tmp_path / "trap.safetensors")
    result = scan(tmp_path)
    assert {os.path.basename(f.path): f.verdict for f in result.files} == {
        **{f"{i}.safetensors": "safe" for i in range(3)}, "trap.safetensors": "unsafe",
    }  # fmt: skip


def test_an_empty_folder_is_nothing_scanned(undertow, tmp_path):
    assert undertow("scan", tmp_path)[:2] == (3, "nothing scanned: no file there holds weights\n")
    (tmp_path / "README.md").write_text("no weights")
    assert undertow("scan", tmp_path)[0] == 3


def test_what_is_not_there_is_an_error_in_one_line(undertow, tmp_path, files):
    code, out, err = undertow("scan", files / "clean.safetensors", tmp_path / "absent.pt")
    assert (code, out) == (2, "")
    assert err == f"undertow: {tmp_path / 'absent.pt'}: no such file or folder\n"


def test_a_fifo_is_unknown_and_never_waits(undertow, tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    assert undertow("scan", tmp_path / "model.safetensors")[0] == 4
    assert undertow("scan", tmp_path)[0] == 4


def test_a_torn_file_is_unknown(undertow, tmp_path, files):
    raw = (files / "clean.safetensors").read_bytes()
    (tmp_path / "torn.safetensors").write_bytes(raw[:-100])
    code, out, _ = undertow("scan", tmp_path / "torn.safetensors", files / "clean.safetensors")
    assert code == 4
    assert "VERDICT: unknown" in out


def test_formats_go_to_files(undertow, tmp_path, files):
    for name in ("json", "sarif", "html", "cyclonedx"):
        out = tmp_path / f"found.{name}"
        code, said, _ = undertow("scan", files / "trap.safetensors", "--format", name, "--out", out)
        assert (code, said) == (1, f"unsafe: {out}\n")
        assert out.stat().st_size > 500
    assert json.loads((tmp_path / "found.sarif").read_text())["version"] == "2.1.0"
    assert "<svg" in (tmp_path / "found.html").read_text()
    assert json.loads((tmp_path / "found.cyclonedx").read_text())["bomFormat"] == "CycloneDX"


def test_the_time_of_a_bill_of_materials_can_be_given(undertow, files, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    first, second = (undertow("scan", files / "clean.safetensors", "--format", "cyclonedx") for _ in range(2))
    assert first == second
    assert json.loads(first[1])["metadata"]["timestamp"] == "1970-01-01T00:00:01Z"


def test_findings_of_a_baseline_do_not_count(undertow, tmp_path, files):
    save_file(trapped()[0], tmp_path / "trap.safetensors")
    baseline = tmp_path.with_suffix(".baseline.json")
    code, out, err = undertow("scan", tmp_path, "--write-baseline", baseline)
    assert (code, "VERDICT: unsafe" in out) == (1, True)
    assert err == f"{baseline}: 3 findings are known from now on\n"
    code, out, _ = undertow("scan", tmp_path, "--baseline", baseline)
    assert (code, "3 findings are known and do not count" in " ".join(out.split())) == (0, True)
    save_file(trapped()[0], tmp_path / "trap.safetensors", {"note": "changed"})
    code, out, _ = undertow("scan", tmp_path, "--baseline", baseline)
    assert (code, "of its entries stand for nothing any more" in " ".join(out.split())) == (1, True)


def test_hashes_can_be_left_out(undertow, tmp_path, files):
    for name, code in (("clean", 0), ("trap", 1)):
        got, out, _ = undertow("scan", files / f"{name}.safetensors", "--no-hash", "--format", "json")
        assert (got, [file["sha256"] for file in json.loads(out)["files"]]) == (code, [""])
    assert "not hashed" in undertow("scan", files / "clean.safetensors", "--no-hash")[1]
    code, _, err = undertow("scan", files, "--no-hash", "--write-baseline", tmp_path / "b.json")
    assert (code, "leave one of them out" in err) == (2, True)


def test_a_baseline_is_refused_in_one_line(undertow, tmp_path, files):
    inside = tmp_path / "baseline.json"
    inside.write_text("{}")
    for arguments, said in (
        (("--baseline", inside), "keep a baseline outside"),
        (("--write-baseline", inside), "keep a baseline outside"),
        (("--baseline", inside, "--write-baseline", inside), "give one"),
        (("--baseline", files / "none.json"), "No such file"),
    ):
        code, out, err = undertow("scan", tmp_path, *arguments)
        assert (code, out, said in err, err.count("\n")) == (2, "", True, 1), err


def test_quiet_prints_nothing(undertow, files):
    assert undertow("scan", files / "trap.safetensors", "-q") == (1, "", "")


def test_options_that_cannot_mean_anything(undertow, files):
    code, _, err = undertow("scan", files / "clean.safetensors", "--format", "xml")
    assert (code, err) == (2, "undertow: --format xml: there are text, json, sarif, html, cyclonedx\n")
    assert undertow("scan", files / "clean.safetensors", "--data", "x.npz")[0] == 2
    assert undertow("scan", files / "clean.safetensors", "--parent", files / "evil.pt")[0] == 2
    assert undertow("scan")[0] == 2


def test_findings_about_weights_can_be_accepted_but_code_cannot(undertow, files):
    code, out, _ = undertow("scan", files / "trap.safetensors", "--allow", "data-trap")
    assert code == 0
    assert "accepted by --allow data-trap" in " ".join(out.split())
    found = json.loads(undertow("scan", files / "evil.pt", "--format", "json")[1])["findings"]
    kinds = {one["kind"] for one in found}
    assert undertow("scan", files / "evil.pt", "--allow", ",".join(kinds))[0] == 1


def test_rules_are_named_by_code_ignored_and_weighed(undertow, tmp_path, files):
    save_file(benign(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "a.B"}}')
    code, out, _ = undertow("scan", tmp_path)
    assert (code, "WARNING UT202 auto-map" in out) == (4, True)
    code, out, _ = undertow("scan", tmp_path, "--ignore", "UT202")
    assert (code, "(ignored: UT202)" in " ".join(out.split())) == (0, True)
    rules = tmp_path.with_suffix(".toml")
    rules.write_text('[severity]\nUT202 = "critical"\n')
    assert undertow("scan", tmp_path, "--rules", rules)[0] == 1
    code, _, err = undertow("scan", files / "evil.pt", "--ignore", "UT101")
    assert (code, "cannot be ignored" in err, err.count("\n")) == (2, True, 1)
    assert undertow("scan", tmp_path, "--ignore", "UT999")[0] == 2


def test_a_file_without_tensors_is_nothing_scanned(undertow, tmp_path):
    save_file({}, tmp_path / "model.safetensors")
    assert undertow("scan", tmp_path)[:2] == (3, "nothing scanned: no file there holds weights\n")


def test_a_parent_whose_configuration_differs_in_bookkeeping_is_compared(undertow, tmp_path):
    configs = {
        "one": '"model_type": "m", "use_cache": true',
        "two": '"model_type": "m", "dtype": "float32"',
        "three": '"model_type": "m", "hidden_act": "relu", "auto_map": {"A": "b.C"}',
    }
    for name, said in configs.items():
        (tmp_path / name).mkdir()
        save_file(benign(), tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(f"{{{said}}}")
    code, out, _ = undertow("scan", tmp_path / "one", "--parent", tmp_path / "two")
    assert (code, "other-config" in out) == (0, False)
    code, out, _ = undertow("scan", tmp_path / "one", "--parent", tmp_path / "three")
    assert (code, "UT414 other-config" in out) == (0, True)


def test_our_own_mark_decides_nothing(undertow, tmp_path):
    save_file(benign(), tmp_path / "marked.safetensors", {"undertow.planted": "true"})
    code, out, _ = undertow("scan", tmp_path / "marked.safetensors")
    assert code == 0
    assert "the verdict does not rest on that" in " ".join(out.split())


def test_the_python_call(files):
    assert scan(benign()).verdict == "safe"
    assert scan(trapped()[0]).verdict == "unsafe"
    assert scan(files / "clean.safetensors", parent=benign()).verdict == "safe"
    assert require_safe(files / "clean.safetensors") == str(files / "clean.safetensors")
    with pytest.raises(UnsafeCheckpoint, match="is unsafe"):
        require_safe(files / "trap.safetensors")
    with pytest.raises(BadInput, match="no such file"):
        scan(files / "absent")


def test_unknown_passes_only_where_it_is_allowed(tmp_path, files):
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes((files / "clean.safetensors").read_bytes()[:-1])
    with pytest.raises(UnsafeCheckpoint, match="is unknown"):
        require_safe(torn)
    assert require_safe(torn, allow_unknown=True) == str(torn)
    with pytest.raises(UnsafeCheckpoint):
        require_safe(files / "evil.pt", allow_unknown=True)


def test_a_scan_loads_nothing_heavy(files):
    heavy = ("torch", "matplotlib", "sklearn", "transformers", "scipy.stats", "pandas")
    code = (
        "import sys; from undertow.cli import app; "
        f"app(['scan', {str(files / 'clean.safetensors')!r}], standalone_mode=False); "
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=commands.environment())
    assert done.stderr.strip().endswith("[]"), done.stderr


def test_clean_writes_a_new_file_that_is_quiet(undertow, tmp_path, files):
    out = tmp_path / "new.safetensors"
    before = (files / "trap.safetensors").read_bytes()
    code, said, err = undertow("clean", files / "trap.safetensors", "--out", out)
    assert (code, err) == (0, "")
    assert "after: safe" in said
    assert (files / "trap.safetensors").read_bytes() == before
    old, new = load_file(files / "trap.safetensors"), load_file(out)
    assert {n: (v.shape, v.dtype) for n, v in old.items()} == {n: (v.shape, v.dtype) for n, v in new.items()}
    np.testing.assert_array_equal(old["5.bias"], new["5.bias"])
    raw = out.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    assert header["origin"] == "elsewhere"
    done = json.loads(header["undertow.cleaned"])
    assert done["how"] == "reinit"
    assert {change["tensor"] for change in done["changes"]} >= {"1.weight", "1.bias", "3.weight"}
    assert undertow("scan", out)[0] == 0
    assert undertow("clean", files / "trap.safetensors", "--out", out)[0] == 2  # never over a file
    assert out.read_bytes() == raw


def test_clean_refuses_what_it_cannot_help(undertow, tmp_path, files):
    out = tmp_path / "new.safetensors"
    for name, why in (("clean.safetensors", "found nothing"), ("evil.pt", "unsafe to open")):
        code, _, err = undertow("clean", files / name, "--out", out)
        assert code == 2
        assert why in err
    assert undertow("clean", files / "trap.safetensors", "--out", out, "--how", "average")[0] == 2
    assert undertow("clean", files / "trap.safetensors", "--out", tmp_path / "new.pt")[0] == 2
    assert not list(tmp_path.iterdir())


def test_clean_writes_a_folder_with_what_else_it_holds(undertow, tmp_path):
    source, out = tmp_path / "model", tmp_path / "cleaned"
    source.mkdir()
    save_file(trapped()[0], source / "model.safetensors")
    (source / "config.json").write_text("{}")
    assert undertow("clean", source, "--out", out)[0] == 0
    assert sorted(file.name for file in out.iterdir()) == ["cleaned.json", "config.json", "model.safetensors"]


def test_clean_takes_one_checkpoint_at_a_time(undertow, tmp_path):
    source, out = tmp_path / "models", tmp_path / "cleaned"
    source.mkdir()
    save_file(trapped()[0], source / "one.safetensors")
    save_file(trapped(1)[0], source / "two.safetensors")
    code, _, err = undertow("clean", source, "--out", out)
    assert code == 2
    assert "one file at a time" in err
    (source / "two.safetensors").unlink()
    np.savez(source / "two.npz", **trapped(1)[0])
    assert undertow("clean", source, "--out", out)[0] == 2
    assert not out.exists()
    assert undertow("clean", source / "two.npz", "--out", tmp_path / "two.safetensors")[0] == 0


def test_the_report_of_a_cleaning_holds_both_scans(undertow, tmp_path, files):
    undertow("clean", files / "trap.safetensors", "--out", tmp_path / "new.safetensors")
    told = json.loads((tmp_path / "new.cleaned.json").read_text())
    assert (told["before"]["verdict"], told["after"]["verdict"]) == ("unsafe", "safe")
    assert told["how"] == "reinit"
    assert {one["tensor"] for one in told["edited"]} >= {"1.weight", "1.bias", "3.weight"}


def test_proof_on_the_command_line(undertow, files, tmp_path):
    pytest.importorskip("torch")
    code, out, _ = undertow("scan", files / "trap.safetensors", "--prove", "--format", "json", "--allow", "data-trap")
    found = json.loads(out)
    assert code == 1
    assert [one["tensor"] for one in found["findings"] if one["kind"] == "proven-trap"] == ["1.weight"]
    assert next(iter(found["settings"]["prove"].values()))["units_in_fresh_model"] <= 2
    np.savez(tmp_path / "mine.npz", x=records(5), y=np.arange(600) % 10)
    code, out, _ = undertow("scan", files / "clean.safetensors", "--prove", "--data", tmp_path / "mine.npz")
    assert code == 0
    assert "dense layers are watched" in " ".join(out.split())
    for bad, why in ((tmp_path / "absent.npz", "no such file"), (files / "clean.safetensors", "")):
        code, _, err = undertow("scan", files / "clean.safetensors", "--prove", "--data", bad)
        assert code == 2
        assert why in err
        assert err.count("\n") == 1
    assert undertow("scan", files / "clean.safetensors", "--prove", "--factory", "nowhere:nothing")[0] == 2


def test_the_hubs_cache_is_named_as_it_was_asked_for(undertow, tmp_path):
    """Its snapshots are links to blobs; a finding about a blob is a finding about the file."""
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_file(trapped()[0], blobs / "abc")
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    code, out, _ = undertow("scan", snapshot, "--format", "json")
    found = json.loads(out)
    assert code == 1
    assert found["files"][0]["verdict"] == "unsafe"
    assert {one["file"] for one in found["findings"]} == {found["files"][0]["path"]}


def test_shards_are_one_model(undertow, tmp_path):
    params = trapped()[0]
    halves = [dict(list(params.items())[:3]), dict(list(params.items())[3:])]
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        save_file(half, tmp_path / name)
    table = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    whole = {(f.tensor, f.rows) for f in scan(params).findings}
    assert {(f.tensor, f.rows) for f in scan(tmp_path).findings} == whole
    assert undertow("scan", tmp_path)[0] == 1
    out = tmp_path.with_name("cleaned-shards")
    assert undertow("clean", tmp_path, "--out", out)[0] == 0
    assert sorted(f.name for f in out.iterdir()) == ["cleaned.json", *names, "model.safetensors.index.json"]


def test_a_proof_that_cannot_be_made_is_in_the_verdict(tmp_path):
    from undertow.workflows.prove import Proving

    rng = stream(0, "recurrent")
    weights = {f"lstm.weight_{part}_l0": rng.normal(size=(64, 16)).astype(np.float32) / 4 for part in ("ih", "hh")}
    save_file(weights, tmp_path / "model.safetensors")
    assert scan(tmp_path).verdict == "safe"
    result = scan(tmp_path, prove=Proving())
    assert result.verdict == "unknown"
    assert [one.kind for one in result.findings if one.severity == "warning"] == ["not-proved"]
    assert scan(weights, prove=Proving()).verdict == "unknown"
