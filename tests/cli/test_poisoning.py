"""undertow audit poisoning on the screen: what is asked for, what is refused, how it exits. No model is trained."""

import json
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
from tests.report import poisoned

from undertow.audits.base import Base
from undertow.audits.poisoning import estimate, suspicion
from undertow.audits.poisoning import game as audits
from undertow.cli import app
from undertow.sources.checkpoints import judged
from undertow.sources.checkpoints.judged import Judged
from undertow.sources.records import poison_source

RESULT = poisoned.build()
SUPPLY = SimpleNamespace(notes=(), describe=dict)


@pytest.fixture
def parts(monkeypatch):
    """The audit's parts played by stand-ins; what they were given."""
    seen = SimpleNamespace(result=RESULT, planted=True)

    def load_poisoning(config):
        seen.loaded = config
        return SUPPLY, Base(architecture=None)

    def audit_poisoning(config, supply, base, host):
        seen.config, seen.supply, seen.host = config, supply, host
        return seen.result

    def load_judged(config, suspect):
        seen.config, seen.suspect = config, suspect
        reference = {"w": np.zeros(2)} if suspect.reference else None
        return Judged(config, SUPPLY, Base(None, {"w": np.ones(2)}), reference, seen.planted)

    def lay_table(config, supply, base, host):
        return SimpleNamespace(config=config, supply=supply, host=host)

    def audit_checkpoint(game, suspect, reference):
        seen.keys = [None if key is None else game.host.store.get(key)["w"].tolist() for key in (suspect, reference)]
        return seen.result

    for module, function in (
        (poison_source, load_poisoning),
        (audits, audit_poisoning),
        (audits, lay_table),
        (judged, load_judged),
        (suspicion, audit_checkpoint),
    ):
        monkeypatch.setattr(module, function.__name__, function)
    monkeypatch.setattr(estimate, "estimate", lambda game, workers: {"checkpoints": 1.0, "finetune, full": 60.0})
    monkeypatch.setattr(audits, "design_of", lambda config, supply: None)
    return seen


def undertow(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def poisoning(*arguments):
    return undertow("audit", "poisoning", *arguments)


def test_a_run_leaves_its_files_and_says_what_it_means(parts, tmp_path):
    code, said, _ = poisoning("--out", tmp_path / "run", "--workers", 1)
    assert code == 0
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"result.json", "report.html", "scores.npz", "records.csv", "undertow.json", "store"} <= names
    assert json.loads((tmp_path / "run" / "result.json").read_text())["audit"] == "poisoning"
    assert "poisoned" in said
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said
    assert parts.supply is SUPPLY
    assert parts.host.environment["workers"] == 1


def test_quiet_says_nothing(parts, tmp_path):
    assert poisoning("--out", tmp_path / "run", "--quiet")[:2] == (0, "")


def test_a_finished_run_can_be_drawn_again_and_is_no_other_audits(parts, tmp_path):
    run = tmp_path / "run"
    assert poisoning("--out", run, "-q")[0] == 0
    page = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert undertow("report", run)[0] == 0
    assert (run / "report.html").read_bytes() == page


def test_options_win_over_the_file_and_the_file_over_the_preset(parts, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("models = 8\nseed = 5\nrecipes = ['linear']\n[poison]\nsteps = 10\n")
    records = tmp_path / "mine.npz"
    np.savez(records, x=np.ones((4, 2)), y=np.arange(4))
    arguments = ("--config", file, "--seed", 9, "--recipes", "full, lora", "--views", "exact,int4", "--data", records)
    assert poisoning("--out", tmp_path / "run", "-q", *arguments)[0] == 0
    config = parts.config
    assert (config.models, config.seed, config.poison.steps, config.poison.lr) == (8, 9, 10, 1e-3)
    assert (config.recipes, config.views) == (("full", "lora"), ("exact", "int4"))
    assert (config.data.source, config.data.folder) == (str(records), "")
    assert poisoning("--out", tmp_path / "other", "-q", "--data", tmp_path, "--models", 6)[0] == 0
    assert (parts.config.data.source, parts.config.data.folder, parts.config.models) == ("digits", str(tmp_path), 6)


def test_init_config_is_read_back_as_the_preset(parts, tmp_path):
    from undertow.audits.poisoning.presets import preset
    from undertow.config import override

    code, text, _ = undertow("init-config", "poisoning")
    assert code == 0
    assert tomllib.loads(text)["poison"]["target_weight"] == 0.3
    assert all("#" in line for line in text.splitlines() if "=" in line)
    (tmp_path / "c.toml").write_text(text)
    assert poisoning("--config", tmp_path / "c.toml", "--out", tmp_path / "run", "-q")[0] == 0
    assert parts.config == override(preset("digits"), {"data": {"noise": 0.0}})  # records are used as they are


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "digit"], "did you mean 'digits'?"),
        (["--recipes", "full,lra"], "no recipe is called 'lra'; did you mean 'lora'?"),
        (["--recipes", ""], "recipes is empty"),
        (["--recipes", "lora,lora"], "names 'lora' twice"),
        (["--views", "int5"], "no view is called 'int5'"),
        (["--models", "7"], "models = 7; it must be even"),
        (["--data", "absent.jsonl"], "absent.jsonl: no such file"),
        (["--config", "absent.toml"], "no such file"),
        (["--reference", "x"], "--reference goes with --checkpoint"),
        (["--look-alikes", "x"], "--look-alikes goes with --checkpoint"),
        (["--factory", "a:b"], "--factory goes with --checkpoint"),
        (["--checkpoint", "x", "--plan"], "--plan"),
        (["--fail-if", "tpr@1>0.1"], "no % sign"),
        (["--fail-if", "verdict!=unknown"], "cannot be asked for"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2_before_a_file_is_written(parts, tmp_path, arguments, says):
    code, said, errors = poisoning("--out", tmp_path / "run", *arguments)
    assert (code, said) == (2, "")
    assert says in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_names_are_listed_and_a_plan_is_printed_and_nothing_is_written(parts, tmp_path):
    for arguments in (["--list-presets"], ["--list-recipes"], ["--plan", "--recipes", "full,lora"]):
        code, said, _ = poisoning("--out", tmp_path / "run", *arguments)
        assert code == 0
        assert {"--list-presets": "digits", "--list-recipes": "neftune", "--plan": "192"}[arguments[0]] in said
    assert not (tmp_path / "run").exists()
    assert not hasattr(parts, "supply")  # nothing was played


def test_a_plan_says_how_long_and_counts_each_value_of_a_sweep_once(parts, tmp_path):
    assert "about 61 seconds\n" in poisoning("--plan", "--out", tmp_path / "run")[1]
    said = poisoning("--plan", "--out", tmp_path / "run", "--preset", "digits-targets")[1]
    assert "288 finetuned models (3 arms x 32 models x 1 recipe x 3 values of data.targets)" in " ".join(said.split())
    assert "about 3 minutes" in " ".join(said.split())


@pytest.mark.parametrize(
    ("gate", "code", "says"),
    [
        ("tpr_difference@1%>0.05", 1, "lira (targets, full, exact) TPR@1%, difference"),
        ("tpr_difference@1%>0.9", 0, ""),
        ("auc_difference>0.05", 1, "AUC, difference"),
        ("tpr@0.01%>0.5", 2, "no attack measured it"),
        ("verdict!=safe", 2, "there is no verdict"),
    ],
)
def test_gates(parts, tmp_path, gate, code, says):
    found, _, errors = poisoning("--out", tmp_path / "run", "-q", "--fail-if", gate)
    assert found == code, errors
    assert says in errors


@pytest.mark.parametrize(
    ("verdict", "gate", "code"),
    [
        ("suspicious", None, 0),
        ("suspicious", "verdict!=safe", 1),
        ("safe", "verdict!=safe", 0),
        ("unknown", "verdict!=safe", 2),
        ("unknown", "verdict==suspicious", 2),
    ],
)
def test_a_checkpoint_is_judged_and_the_exit_follows_the_gate(parts, tmp_path, verdict, gate, code):
    parts.result = poisoned.judged(verdict)
    arguments = ["--checkpoint", "bad", "--reference", "good", "--factory", "a.b:c", "--look-alikes", "like.npz"]
    arguments += ["--fail-if", gate] if gate else []
    found, said, errors = poisoning("--out", tmp_path / "run", *arguments)
    assert found == code, errors
    assert parts.keys == [[1, 1], [0, 0]]
    assert parts.suspect == judged.Suspect("bad", "good", "like.npz", "a.b:c")
    assert "Undertow poisoned it on purpose" in " ".join(said.split())
    assert json.loads((tmp_path / "run" / "result.json").read_text())["verdict"] == verdict


def test_without_a_reference_none_is_made_up_and_an_unmarked_checkpoint_is_not_called_planted(parts, tmp_path):
    parts.result, parts.planted = poisoned.judged("unknown"), False
    code, said, _ = poisoning("--out", tmp_path / "run", "--checkpoint", "bad")
    assert code == 0
    assert parts.keys == [[1, 1], None]
    assert "on purpose" not in " ".join(said.split())


def test_a_clip_is_judged_with_the_settings_of_a_clip(parts, tmp_path):
    for model_type, kind in (("clip", "clip"), ("vit", "image-classifier")):
        folder = tmp_path / model_type
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        assert poisoning("--out", tmp_path / f"run-{model_type}", "-q", "--checkpoint", folder)[0] == 0
        assert parts.config.model.kind == kind
    assert poisoning("--out", tmp_path / "run", "-q", "--preset", "digits", "--checkpoint", tmp_path / "clip")[0] == 0
    assert parts.config.model.kind == "mlp"
