"""The benchmarks are run by hand; what they import must exist all the same."""

import ast
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from undertow.rng import stream
from undertow.workflows.audit import run_score

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("benchmarks/**/*.py"))


def test_there_are_benchmarks():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_benchmark_imports_exists(file):
    missing = []
    for node in ast.walk(ast.parse(file.read_text("utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("undertow"):
            module = import_module(node.module)
            missing += [f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name)]
    assert not missing


@pytest.mark.slow
def test_real_signals_equal_the_slow_implementation(tmp_path):
    """A random forest on a bundled table, 4 models and a version without a leak, from training to the table."""
    pytest.importorskip("sklearn")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}

    def run(*arguments):
        command = [sys.executable, str(ROOT / "benchmarks" / "real_signals.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)

    made = run("make", "--out", str(tmp_path), "--only", "breast_cancer-4")
    assert made.returncode == 0, made.stderr
    checked = run("check", str(tmp_path))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 files, 12 attacks, 0 faults" in checked.stdout


def test_one_wrong_score_in_the_tenth_digit_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from real.checking import Row, compare
    from real.slowly import Constants, Rules

    rng = stream(0, "test")
    half = rng.random((3, 40)) < 0.5
    arrays = {"member": np.concatenate([half, ~half]), "values": rng.normal(size=(6, 40))}
    np.savez(tmp_path / "signals.npz", **arrays)
    result = run_score(tmp_path / "signals.npz", ["lira"], 0, None, False, None)
    rules, names = Rules(arrays, 0, Constants(24, 1.0, 0.3, 0.1)), [str(q) for q in range(40)]
    right, wrong = Row("right", False), Row("wrong", False)
    compare(right, result.scores[0], rules, names, result)
    assert right.faults == []
    values = result.scores[0].values.copy()
    values[2, 7] *= 1 + 1e-8
    compare(wrong, replace(result.scores[0], values=values), rules, names, result)
    assert [fault for fault in wrong.faults if "1 of 240 scores differ; target 2, record 7" in fault]
