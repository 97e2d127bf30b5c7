"""The command line as a user meets it: what it writes, how it resumes, what it refuses, how it exits."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))
from commands import QUICK, undertow
from tests.sources.records.toy_images import pictures, write_parquet

import undertow as package
from undertow.rng import stream


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A finished small run of both audits, and its configuration."""
    folder = tmp_path_factory.mktemp("quick")
    config = folder / "both.toml"
    body = QUICK.replace('["tmi-lda", "confidence"]', '["lira", "confidence"]')
    config.write_text(_table("mia", body) + _table("tmi", QUICK))
    code, said, errors = undertow("audit", "--config", config, "--out", folder / "run")
    assert code == 0, errors
    return folder, said


def _table(audit, body):
    lines = [line.replace("[", f"[{audit}.", 1) if line.startswith("[") else line for line in body.splitlines()]
    return f"[{audit}]\n" + "\n".join(lines) + "\n"


def test_a_run_leaves_everything_it_promises(quick):
    folder, said = quick
    run = folder / "run"
    assert (run / "report.html").is_file()
    for audit in ("mia", "tmi"):
        for name in ("result.json", "report.html", "scores.npz", "records.csv"):
            assert (run / audit / name).is_file(), name
        for private in ("scores.npz", "records.csv"):
            assert (run / audit / private).stat().st_mode & 0o777 == 0o600
    assert str(run / "report.html") in said
    assert not [p for p in run.rglob("*") if p.suffix in (".pkl", ".pt", ".pth", ".joblib", ".part")]


def test_result_json_keeps_its_schema(quick):
    folder, _ = quick
    text = (folder / "run" / "tmi" / "result.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    body = json.loads(text)
    assert body["schema"] == "undertow.result/2"
    for key in ("audit", "config", "seed", "environment", "data", "measurements", "controls", "timing"):
        assert key in body
    for row in [*body["measurements"], *body["controls"]]:
        assert {"attack", "metric", "value", "low", "high", "n", "unit"} <= row.keys()
        assert row["metric"] in ("auc", "balanced_accuracy", "tpr")
        assert ("fpr" in row) == (row["metric"] == "tpr")
        if row["value"] is None:
            assert "not resolvable" in row["reason"]
        else:
            assert row["low"] <= row["value"] <= row["high"]
    assert {row["group"] for row in body["controls"]} == {"no-pretraining"}
    assert {row["attack"] for row in body["measurements"]} == {"tmi-lda", "confidence"}
    assert body["data"]["sha256"]["audited"]


def test_the_result_loads_with_its_scores(quick):
    result = package.load_result(quick[0] / "run" / "tmi")
    assert result.find("tmi-lda", "auc").unit == "models"
    assert result.scores[0].values.shape == (4, 40)
    assert len(result.ids) == 40


def test_records_csv_ranks_every_record_of_every_attack(quick):
    with (quick[0] / "run" / "mia" / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "score", "rank", "attack"]
    lira = [r for r in rows if r["attack"] == "lira"]
    assert [int(r["rank"]) for r in lira] == list(range(1, len(lira) + 1))
    scores = [float(r["score"]) for r in lira]
    assert scores == sorted(scores, reverse=True)


def test_running_again_trains_nothing_and_changes_no_number(quick):
    run = quick[0] / "run"
    before = {p: p.stat().st_mtime_ns for p in (run / "store").rglob("*") if p.is_file()}
    numbers = json.loads((run / "tmi" / "result.json").read_text())["measurements"]
    code, _, errors = undertow("audit", "--config", quick[0] / "both.toml", "--out", run, "--quiet")
    assert code == 0, errors
    assert {p: p.stat().st_mtime_ns for p in (run / "store").rglob("*") if p.is_file()} == before
    assert json.loads((run / "tmi" / "result.json").read_text())["measurements"] == numbers


def test_growing_trains_only_the_new_shadows(quick, tmp_path):
    run = tmp_path / "run"
    config = tmp_path / "c.toml"
    config.write_text(QUICK.replace("[data]", "control = false\n[data]"))
    small = undertow("audit", "tmi", "--config", config, "--out", run, "--quiet")
    assert small[0] == 0, small[2]
    before = set((run / "store").rglob("*.safetensors"))
    more = ("audit", "tmi", "--config", config, "--shadows", 12, "--quiet")
    code, _, said = undertow(*more, "--out", run)
    assert code == 2
    assert "shadows (8 there, 12 now); choose another --out" in said
    assert undertow(*more, "--out", tmp_path / "larger", "--store", run / "store")[0] == 0
    new = set((run / "store").rglob("*.safetensors")) - before
    assert len(new) == 3 * 4  # pretrained, its answers, the finetuned one's answers: four new models each


def test_reports_can_be_drawn_again(quick):
    run = quick[0] / "run"
    page = (run / "tmi" / "report.html").read_bytes()
    (run / "tmi" / "report.html").unlink()
    code, said, errors = undertow("report", run)
    assert code == 0, errors
    assert said.count("report:") == 3
    assert (run / "tmi" / "report.html").read_bytes() == page


def test_quiet_prints_nothing(quick):
    code, said, errors = undertow("audit", "--config", quick[0] / "both.toml", "--out", quick[0] / "run", "--quiet")
    assert (code, said, errors) == (0, "", "")


@pytest.mark.parametrize(("gate", "code"), [("auc>0.99", 0), ("auc>0.01", 1), ("tpr@0.01%>0.5", 2)])
def test_the_gate_exits_0_within_1_over_2_undecided(quick, gate, code):
    run = quick[0] / "run"
    found, _, said = undertow("audit", "--config", quick[0] / "both.toml", "--out", run, "--quiet", "--fail-if", gate)
    assert found == code, said
    if code == 1:
        assert "tmi-lda" in said
        assert "[" in said  # the interval


def test_plan_prints_and_writes_nothing(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(QUICK)
    code, said, _ = undertow("audit", "tmi", "--config", config, "--out", tmp_path / "run", "--plan")
    assert code == 0
    assert "48 models" in said  # 12 pretrained, 12 finetuned, and the same without pretraining
    assert not (tmp_path / "run").exists()


def test_presets_are_listed():
    code, said, _ = undertow("audit", "tmi", "--list-presets")
    assert code == 0
    assert "digits" in said
    assert "folder" in said
    assert "cifar100-cifar10-last-k-small | -medium | -paper" in said
    both = undertow("audit", "--list-presets")[1]
    assert both.startswith("mia")
    assert both.endswith(said)


def test_a_printed_configuration_is_accepted(tmp_path):
    code, said, _ = undertow("init-config", "tmi")
    assert code == 0
    (tmp_path / "my.toml").write_text(said)
    assert undertow("audit", "tmi", "--config", tmp_path / "my.toml", "--plan")[0] == 0


def test_doctor_knows_this_machine():
    code, said, _ = undertow("doctor")
    assert code == 0
    assert "torch" in said
    assert "engine, perceptrons" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["audit", "tmi", "--preset", "nonsense"], "no preset 'nonsense'"),
        (["audit", "tmi", "--preset", "omniglot-fashion-dp-smal"], "did you mean omniglot-fashion-dp-small"),
        (["audit", "--preset", "omniglot-fashion-dp-small"], "undertow audit tmi --preset"),
        (["audit", "tmi", "--preset", "cifar100-coarse-full-small"], "--data DIR, or download it, --data hub"),
        (["audit", "tmi", "--data", "hub"], "name one, e.g. --preset cifar100"),
        (["audit", "tmi", "--preset", "cifar100-coarse-full-small", "--data", "."], "cifar100 is missing"),
        (["audit", "tmi", "--shadows", "7"], "even"),
        (["audit", "tmi", "--shadows", "many"], "'--shadows'"),
        (["audit", "tmi", "--data", "/nowhere"], "no such folder"),
        (["audit", "--seed", "1", "tmi"], "options go after"),
        (["audit", "tmi", "--fail-if", "tpr@0.1>0.01"], "%"),
        (["score", "/nowhere.npz"], "no such file"),
        (["report", "/nowhere"], "no finished run"),
        (["init-config", "nonsense"], "mia, tmi"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, arguments, says):
    code, _, said = undertow(*arguments, cwd=tmp_path)
    assert code == 2
    assert says in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_unknown_config_key_names_the_nearest(tmp_path):
    (tmp_path / "c.toml").write_text("shadow = 8\n")
    code, _, said = undertow("audit", "tmi", "--config", tmp_path / "c.toml", cwd=tmp_path)
    assert code == 2
    assert said.strip() == "undertow: unknown key 'shadow'; did you mean 'shadows'?"


def test_an_odd_pool_names_the_fix(tmp_path):
    (tmp_path / "c.toml").write_text("[data]\npool = 399\n")
    code, _, said = undertow("audit", "mia", "--config", tmp_path / "c.toml", "--out", tmp_path / "run")
    assert code == 2
    assert "398" in said


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    code, _, said = undertow("audit", "tmi", "--out", tmp_path)
    assert code == 2
    assert "is no run of undertow" in said
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def make_folder(path, count=80, twin=False):
    """Two small sets of records of two classes, as a user would bring them."""
    path.mkdir()
    for stage in ("pretrain", "finetune"):
        rng = stream(0, stage)
        y = rng.integers(3, size=count)
        x = rng.normal(size=(count, 6)) + y[:, None]
        if twin and stage == "pretrain":
            x[9] = x[4]
        np.savez(path / f"{stage}.npz", x=x, y=y, id=np.array([f"person-{i}" for i in range(count)]))
    return path


def test_own_records_run_and_stay_out_of_the_report(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("shadows = 8\nvictims = 3\nviews = 2\nattacks = ['tmi-lda']\n[pretrain]\nepochs = 3\n"
                      "[finetune]\nepochs = 3\n")  # fmt: skip
    data = make_folder(tmp_path / "data")
    code, _, said = undertow("audit", "tmi", "--config", config, "--data", data, "--out", tmp_path / "run")
    assert code == 0, said
    assert "data:image/png" not in (tmp_path / "run" / "report.html").read_text()


def test_own_pictures_are_shown_only_on_request(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("shadows = 4\nvictims = 2\nviews = 1\nattacks = ['loss']\n[finetune]\nepochs = 2\n")
    (tmp_path / "data").mkdir()
    rng = stream(0, "images")
    np.savez(tmp_path / "data" / "finetune.npz", x=rng.random((20, 1, 6, 6)), y=rng.integers(2, size=20))
    run = ("audit", "mia", "--config", config, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert undertow(*run)[0] == 0
    assert "data:image/png" not in (tmp_path / "run" / "report.html").read_text()
    code, _, said = undertow("report", tmp_path / "run", "--include-examples")
    assert code == 0, said
    assert "data:image/png" in (tmp_path / "run" / "report.html").read_text()


TOY_PAIR = """
shadows = 4
victims = 2
challenge = 20
views = 2
control = false
attacks = ["confidence"]
[data]
classes = 4
pool = 40
other = 30
draw = 20
[model]
kind = "mlp"
hidden = [8]
[pretrain]
epochs = 1
shift = 0
[finetune]
epochs = 1
[engine]
name = "fused_mlp"
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two tiny datasets in the form of the hub, and a configuration to match."""
    pytest.importorskip("pyarrow")
    root = tmp_path_factory.mktemp("pair")
    (root / "c.toml").write_text(TOY_PAIR)
    for name, labels in (("cifar100", ("fine_label", "coarse_label")), ("cifar10", ("label",))):
        y = np.repeat(np.arange(4), 20)
        columns = dict(zip(labels, (y, y // 2), strict=False))
        write_parquet(root / "data" / name / "train-00000.parquet", pictures(80, 32, seed=len(name)), **columns)
    return root


def audited_pair(pair, of):
    """Audit one downstream task; the models that are in the store afterwards, and when they were written."""
    common = ("--config", pair / "c.toml", "--data", pair / "data", "--store", pair / "store", "--quiet")
    code, _, said = undertow("audit", "tmi", "--preset", f"{of}-linear-small", *common, "--out", pair / of)
    assert code == 0, said
    return {p: p.stat().st_mtime_ns for p in (pair / "store").rglob("*.safetensors")}


@pytest.fixture(scope="module")
def coarse(pair):
    """The pair, and the models of its first audit: each test below may run alone, or in a process of its own."""
    return pair, audited_pair(pair, "cifar100-coarse")


def test_downstream_tasks_of_one_pretraining_set_share_its_models(coarse):
    pair, before = coarse
    after = audited_pair(pair, "cifar100-cifar10")
    assert before.items() <= after.items()
    assert len(after) - len(before) == 6 + 2  # the answers of six finetuned models; finetuning and test records


def test_the_pictures_of_a_pair_are_not_ours_to_show_unasked(coarse):
    pair, _ = coarse
    assert "data:image/png" not in (pair / "cifar100-coarse" / "report.html").read_text()
    code, _, said = undertow("report", pair / "cifar100-coarse", "--include-examples")
    assert code == 0, said
    page = (pair / "cifar100-coarse" / "report.html").read_text()
    assert "data:image/png" in page
    assert "cifar100-train-" in page


def test_duplicates_are_refused_and_removed_on_request(tmp_path):
    data = make_folder(tmp_path / "data", twin=True)
    code, _, said = undertow("audit", "tmi", "--data", data, "--out", tmp_path / "run")
    assert code == 2
    assert "person-9" in said
    assert "--drop-duplicates" in said
    plan = undertow("audit", "tmi", "--data", data, "--drop-duplicates", "--plan")
    assert plan[0] == 0, plan[2]


def test_the_users_own_model_is_found_by_name(tmp_path):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\ndef make(shape, classes):\n"
        "    return nn.Sequential(nn.Linear(shape[0], 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, classes))\n"
    )
    config = tmp_path / "c.toml"
    config.write_text(QUICK + "[model]\nfactory = 'nets:make'\n")
    code, _, said = undertow("audit", "tmi", "--config", config, "--out", tmp_path / "run", cwd=tmp_path)
    assert code == 0, said
    engines = json.loads((tmp_path / "run" / "result.json").read_text())["environment"]["engines"]
    assert engines["pretrain"]["plan"]["engine"] == "sequential"


def pairs(rng, count, points):
    """`count` pairs of complementary halves."""
    halves = [rng.permutation(points) < points // 2 for _ in range(count)]
    return np.stack([row for half in halves for row in (half, ~half)])


def test_score_writes_the_same_kind_of_result(tmp_path):
    rng = stream(0, "cli score")
    member = pairs(rng, 8, 60)
    np.savez(tmp_path / "s.npz", member=member, values=rng.normal(size=member.shape) + member)
    code, said, errors = undertow("score", tmp_path / "s.npz", "--attack", "lira,threshold", "--out", tmp_path / "out")
    assert code == 0, errors
    assert "lira" in said
    result = package.load_result(tmp_path / "out")
    assert result.audit == "score"
    assert (tmp_path / "out" / "report.html").is_file()


def test_score_needs_no_torch(tmp_path):
    """The base install: torch is not there at all."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    rng = stream(0, "no torch")
    member = pairs(rng, 4, 40)
    z = rng.normal(size=(*member.shape, 2, 3))
    np.savez(tmp_path / "s.npz", member=member, logits=z, labels=rng.integers(3, size=40))
    hidden = {"PYTHONPATH": str(tmp_path)}
    code, said, errors = undertow("score", tmp_path / "s.npz", "--out", tmp_path / "out", env=hidden)
    assert code == 0, errors
    assert "tmi" in said


def test_an_audit_without_torch_names_the_pip_command(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    code, _, said = undertow("audit", "--out", tmp_path / "run", env={"PYTHONPATH": str(tmp_path)})
    assert code == 2
    assert said.strip() == "undertow: torch is not installed; run: pip install 'undertow[train]'"
    assert not (tmp_path / "run").exists()


def test_the_store_may_lie_elsewhere(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(QUICK.replace("[data]", "control = false\n[data]"))
    common = ("audit", "tmi", "--config", config, "--store", tmp_path / "models", "--quiet")
    assert undertow(*common, "--out", tmp_path / "a")[0] == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "models").rglob("*.safetensors")}
    assert not (tmp_path / "a" / "store").exists()
    assert undertow(*common, "--out", tmp_path / "b")[0] == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "models").rglob("*.safetensors")} == before


def test_a_read_only_folder_is_one_clear_line(tmp_path):
    mount = _mount(tmp_path / "mnt", "size=4m")
    try:
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        code, _, said = undertow("audit", "tmi", "--out", mount / "run")
        assert code == 2
        assert "read-only" in said
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_full_disk_loses_nothing_and_resume_works(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(QUICK)
    mount = _mount(tmp_path / "mnt", "size=1m")
    try:
        command = ("audit", "tmi", "--config", config, "--out", mount / "run", "--quiet")
        code, _, said = undertow(*command)
        assert code == 2
        assert "disk full" in said
        kept = {p: p.read_bytes() for p in (mount / "run" / "store").rglob("*.safetensors")}
        assert kept
        subprocess.run(["mount", "-o", "remount,size=64m", mount], check=True)
        code, _, said = undertow(*command)
        assert code == 0, said
        assert all(path.read_bytes() == raw for path, raw in kept.items())
    finally:
        subprocess.run(["umount", mount], check=True)


def _mount(path, options):
    """A small file system of its own, or a skip where we may not have one."""
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    return path
