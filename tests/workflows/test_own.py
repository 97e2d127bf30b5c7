"""The settings of the demonstration stay with the demonstration."""

import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from undertow.cli import app
from undertow.rng import stream

AUDITS = ("mia", "tmi", "poisoning", "datatrap", "dp")


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def folder(tmp_path):
    """Records of a user, for every audit: a folder and one file."""
    for stage, count in (("pretrain", 60), ("finetune", 50)):
        rng = stream(0, stage)
        np.savez(tmp_path / f"{stage}.npz", x=rng.normal(size=(count, 5)), y=rng.integers(3, size=count))
    rng = stream(0, "mine")
    np.savez(tmp_path / "mine.npz", x=rng.random((200, 64)), y=rng.integers(3, size=200))
    return tmp_path


def printed(*arguments):
    done = run("init-config", *arguments)
    assert done.exit_code == 0, done.stderr
    return tomllib.loads(done.stdout)


@pytest.mark.parametrize("audit", AUDITS)
def test_a_configuration_names_its_audit_and_changes_no_record(audit):
    config = printed(audit)
    assert config["audit"] == audit
    for key, neutral in {"label_noise": 0, "pool": 0, "draw": 0, "same_labels": False, "noise": 0}.items():
        assert config["data"].get(key, neutral) == neutral


@pytest.mark.parametrize("audit", AUDITS)
def test_a_configuration_of_another_audit_is_refused_by_its_name(tmp_path, audit):
    other = "mia" if audit != "mia" else "tmi"
    (tmp_path / "other.toml").write_text(run("init-config", other).stdout)
    done = run("audit", audit, "--config", tmp_path / "other.toml", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert f"holds settings of the audit {other!r}, not of {audit!r}" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("audit", ["mia", "tmi"])
def test_settings_are_written_for_a_folder(folder, audit):
    config = printed(audit, "--data", folder)
    assert config["data"]["source"] == str(folder)
    (folder / "my.toml").write_text(run("init-config", audit, "--data", folder).stdout)
    plan = run("audit", audit, "--config", folder / "my.toml", "--plan")
    assert plan.exit_code == 0, plan.stderr


def test_settings_of_images_choose_a_model_of_images(tmp_path):
    x = stream(0, "x").random((40, 12, 12, 3))
    np.savez(tmp_path / "finetune.npz", x=x, y=np.arange(40) % 2)
    assert printed("mia", "--data", tmp_path)["model"]["kind"] == "cnn"


@pytest.mark.parametrize(("audit", "keys"), [("poisoning", ("points", "targets")), ("datatrap", ("victim", "test")),
                                             ("dp", ("records", "auxiliary"))])  # fmt: skip
def test_settings_of_one_file_fit_its_records(folder, audit, keys):
    data = printed(audit, "--data", folder / "mine.npz")["data"]
    assert data["source"] == str(folder / "mine.npz")
    assert 0 < sum(data[key] for key in keys) <= 200
    assert data.get("noise", 0) == 0


@pytest.mark.parametrize("audit", ["mia", "tmi", "poisoning"])
@pytest.mark.parametrize("how", ["file", "preset"])
def test_settings_of_the_demonstration_are_refused_for_own_records(folder, audit, how):
    own = folder / "mine.npz" if audit == "poisoning" else folder
    (folder / "demo.toml").write_text(run("init-config", audit, "--preset", "digits").stdout)
    given = ("--config", folder / "demo.toml") if how == "file" else ("--preset", "digits")
    done = run("audit", audit, *given, "--data", own, "--out", folder / "run")
    assert done.exit_code == 2
    assert ("data.noise = 0.25" if audit == "poisoning" else "data.label_noise = 0.3") in done.stderr
    assert f"undertow init-config {audit} --data" in done.stderr
    assert not (folder / "run").exists()


def test_a_change_that_is_asked_for_is_said_in_plan_text_and_page(folder):
    (folder / "c.toml").write_text(
        "shadows = 4\nvictims = 2\nviews = 1\nattacks = ['confidence']\ncontrol = false\n"
        "[data]\nlabel_noise = 0.3\npool = 40\nchange_records = true\n[pretrain]\nepochs = 1\n[finetune]\nepochs = 1\n"
    )
    common = ("audit", "tmi", "--config", folder / "c.toml", "--data", folder)
    plan, done = run(*common, "--plan"), run(*common, "--out", folder / "run")
    assert done.exit_code == 0, done.stderr
    page = (folder / "run" / "report.html").read_text()
    for said in (plan.stdout, done.stdout, page):
        flat = " ".join(said.split())
        assert "40 of 60 records of pretrain.npz are used" in flat
        assert "30% of the audited pool have a random label" in flat


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell, monkeypatch):
    import os
    import subprocess
    import sys

    assert "--install-completion" in run("--help").stdout
    code = "import sys; sys.argv = ['undertow']; from undertow.cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "_UNDERTOW_COMPLETE": f"complete_{shell}", "COMP_WORDS": "undertow ini", "COMP_CWORD": "1",
             "_TYPER_COMPLETE_ARGS": "undertow ini", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    )  # fmt: skip
    assert "init-config" in said.stdout, said.stderr
