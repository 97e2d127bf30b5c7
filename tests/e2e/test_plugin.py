"""A package that adds an attack and an audit, installed as its users install it, and run from the shell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from undertow.rng import stream

pytest.importorskip("setuptools")

SOURCE = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the package, without a network."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(SOURCE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", folder / "site", folder / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site, folder, *arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_attack_runs_unasked_where_its_evidence_is_there(site, tmp_path):
    rng = stream(0, "test")
    half = rng.random((8, 80)) < 0.5
    member = np.concatenate([half, ~half])
    np.savez(tmp_path / "signals.npz", member=member, values=rng.normal(size=member.shape) + 2 * member)
    run(site, tmp_path, "undertow", "score", "signals.npz", "--out", "out", "--quiet")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    (row,) = [m for m in result["measurements"] if (m["attack"], m["metric"]) == ("median-calibrated", "auc")]
    assert row["value"] > 0.8
    assert "the signal less the median of OUT models" in (tmp_path / "out" / "report.html").read_text()


def test_its_audit_is_a_command_like_any_other(site, tmp_path):
    assert "released-means" in run(site, tmp_path, "undertow", "audit", "--help")
    plan = run(site, tmp_path, "undertow", "audit", "released-means", "--releases", 30, "--plan")
    assert "30 means of 20 records" in plan
    said = run(site, tmp_path, "undertow", "audit", "released-means", "--releases", 30, "--out", "run")
    assert "inner-product" in said
    assert (tmp_path / "run" / "report.html").is_file()
    written = run(site, tmp_path, "undertow", "init-config", "released-means")
    assert "releases = 100" in written
    assert "report: run/report.html" in run(site, tmp_path, "undertow", "report", "run")


def test_it_keeps_the_contracts(site, tmp_path):
    shutil.copytree(SOURCE / "tests", tmp_path / "tests")
    run(site, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "tests")
