"""The GitHub Action's own shell script, run as the runner runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from tests.scanner.perceptrons import benign, trapped

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def act(tmp_path):
    """Run the step `scan` with these inputs: (exit code, outputs)."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    step = next(one for one in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"] if "id" in one)
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "undertow"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m undertow "$@"\n')
    shim.chmod(0o755)

    def run(**inputs):
        given = {"PATHS": "", "PARENT": "", "ALLOW": "", "SARIF": "found.sarif", "ALLOW_UNKNOWN": "false", **inputs}
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        env = {**os.environ, **given, "PATH": path, "GITHUB_OUTPUT": str(tmp_path / "outputs")}
        done = subprocess.run(
            [bash, "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env=env, cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, (tmp_path / "outputs").read_text().splitlines()[-1]

    return run


def test_the_action_fails_where_a_file_is_not_safe(act, tmp_path):
    save_file(benign(), tmp_path / "a b.safetensors")
    save_file(trapped()[0], tmp_path / "trap.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "a b.safetensors").read_bytes()[:-1])
    assert act(PATHS="a b.safetensors\n") == (0, "verdict=safe")
    assert act(PATHS="a b.safetensors\ntrap.safetensors") == (1, "verdict=unsafe")
    assert act(PATHS="trap.safetensors", ALLOW="data-trap") == (0, "verdict=safe")
    assert act(PATHS="torn.safetensors") == (4, "verdict=unknown")
    assert act(PATHS="torn.safetensors", ALLOW_UNKNOWN="true") == (0, "verdict=unknown")
    assert act(PATHS="$(touch executed)") == (2, "verdict=")
    assert not (tmp_path / "executed").exists()
    assert (tmp_path / "found.sarif").is_file()


def test_the_hook_looks_at_files_that_often_hold_weights():
    import re

    hook = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]
    assert (hook["id"], hook["entry"]) == ("undertow-scan", "undertow scan")
    wanted = re.compile(hook["files"])
    for name in ("model.safetensors", "a/pytorch_model.bin", "x.pt", "x.ckpt", "x.pkl", "x.npz", "x.gguf"):
        assert wanted.search(name)
    assert not wanted.search("README.md")
