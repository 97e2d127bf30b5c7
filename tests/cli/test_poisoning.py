"""undertow audit poisoning on the screen: what is asked for, what is refused, how it exits. No model is trained."""

import json
import sys
import tomllib
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
from tests.report import poisoned

from undertow.cli import app
from undertow.storage.checkpoint_files import PLANTED, write_checkpoint

RESULT = poisoned.build()


@pytest.fixture
def parts(monkeypatch):
    """The audit's parts played by stand-ins; what they were given."""
    seen = SimpleNamespace(result=RESULT)

    def load_candidates(config, look_alikes):
        seen.look_alikes = look_alikes
        return "supply"

    def audit_poisoning(config, supply, host):
        seen.config, seen.supply, seen.host = config, supply, host
        return seen.result

    def audit_checkpoint(config, supply, host, **given):
        seen.config, seen.given = config, given
        return seen.result

    for module, function in (
        ("storage.candidates", load_candidates),
        ("audits.poisoning", audit_poisoning),
        ("audits.suspicion", audit_checkpoint),
    ):
        made = ModuleType(f"undertow.{module}")
        setattr(made, function.__name__, function)
        monkeypatch.setitem(sys.modules, f"undertow.{module}", made)
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
    assert parts.supply == "supply"
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
    assert poisoning("--out", tmp_path / "run", "-q", "--data", tmp_path, "--models", 6)[0] == 0
    assert (parts.config.data.source, parts.config.data.folder, parts.config.models) == ("digits", str(tmp_path), 6)


def test_init_config_is_read_back_as_the_preset(parts, tmp_path):
    from undertow.audits.poisoning_presets import preset

    code, text, _ = undertow("init-config", "poisoning")
    assert code == 0
    assert tomllib.loads(text)["poison"]["target_weight"] == 0.2
    assert all("#" in line for line in text.splitlines() if "=" in line)
    (tmp_path / "c.toml").write_text(text)
    assert poisoning("--config", tmp_path / "c.toml", "--out", tmp_path / "run", "-q")[0] == 0
    assert parts.config == preset("digits")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "digit"], "did you mean 'digits'?"),
        (["--recipes", "full,lra"], "no recipe 'lra'; did you mean 'lora'?"),
        (["--recipes", ""], "recipes is empty"),
        (["--recipes", "lora,lora"], "names 'lora' twice"),
        (["--views", "int5"], "no view 'int5'"),
        (["--models", "7"], "models = 7; it must be even"),
        (["--data", "absent.jsonl"], "absent.jsonl: no such file"),
        (["--config", "absent.toml"], "no such file"),
        (["--reference", "x"], "--reference goes with --checkpoint"),
        (["--look-alikes", "x"], "--look-alikes goes with --checkpoint"),
        (["--factory", "a:b"], "--factory goes with --checkpoint"),
        (["--checkpoint", "absent"], "absent: no such file"),
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
    assert not hasattr(parts, "supply")


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


@pytest.fixture
def planted(tmp_path):
    write_checkpoint(tmp_path / "bad" / "model.safetensors", {"w": np.ones(2)}, {PLANTED: "true"})
    write_checkpoint(tmp_path / "good.safetensors", {"w": np.zeros(2)}, {})
    return tmp_path


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
def test_a_checkpoint_is_read_judged_and_the_exit_follows_the_gate(parts, planted, verdict, gate, code):
    parts.result = poisoned.judged(verdict)
    arguments = ["--checkpoint", planted / "bad", "--reference", planted / "good.safetensors", "--factory", "a.b:c"]
    arguments += ["--fail-if", gate] if gate else []
    found, said, errors = poisoning("--out", planted / "run", *arguments)
    assert found == code, errors
    np.testing.assert_array_equal(parts.given["suspect"]["w"], np.ones(2))
    np.testing.assert_array_equal(parts.given["reference"]["w"], np.zeros(2))
    assert parts.given["factory"] == "a.b:c"
    assert parts.config.model.checkpoint == str(planted / "bad")
    assert "Undertow poisoned it on purpose" in said
    assert json.loads((planted / "run" / "result.json").read_text())["verdict"] == verdict


def test_a_pickle_is_refused_before_anything_else(parts, tmp_path):
    (tmp_path / "m.bin").write_bytes(b"\x80\x04.")
    code, _, errors = poisoning("--checkpoint", tmp_path / "m.bin", "--out", tmp_path / "run")
    assert code == 2
    assert "pickle" in errors
    assert not (tmp_path / "run").exists()


def test_an_installation_without_a_part_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "undertow.storage.candidates", None)
    code, _, errors = poisoning("--out", tmp_path / "run")
    assert code == 2
    assert "has no storage.candidates" in errors
    assert errors.count("\n") == 1
