"""The benchmarks are run by hand; what they import must exist all the same."""

import ast
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from undertow.rng import stream
from undertow.workflows.score import run_score

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("benchmarks/**/*.py"))


def test_there_are_benchmarks():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_benchmark_imports_exists(file):
    missing = []
    for node in ast.walk(ast.parse(file.read_text("utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("undertow"):
            missing += [f"{node.module}.{name.name}" for name in node.names if not exists(node.module, name.name)]
    assert not missing


def exists(module, name):
    found = import_module(module)
    return hasattr(found, name) or (hasattr(found, "__path__") and find_spec(f"{module}.{name}") is not None)


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


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("real.checking"), import_module("real.slowly")


def audited(folder, tool, member, attack):
    """One attack on random numbers, and the slow rules of the same file."""
    arrays = {"member": member, "values": stream(0, "values").normal(size=member.shape)}
    np.savez(folder / "signals.npz", **arrays)
    result = run_score(folder / "signals.npz", [attack], 0, None, False, None)
    return result, tool[1].Rules(arrays, 0, tool[1].Constants(24, 1.0, 0.3, 0.1)), [*map(str, range(member.shape[1]))]


def test_one_wrong_score_in_the_eighth_digit_is_a_fault(tmp_path, tool):
    half = stream(0, "test").random((3, 40)) < 0.5
    result, rules, names = audited(tmp_path, tool, np.concatenate([half, ~half]), "lira")
    right, wrong = tool[0].Row("right", False), tool[0].Row("wrong", False)
    tool[0].compare(right, result.scores[0], rules, names, result)
    assert right.faults == []
    values = result.scores[0].values.copy()
    values[2, 7] *= 1 + 1e-8
    tool[0].compare(wrong, replace(result.scores[0], values=values), rules, names, result)
    assert [fault for fault in wrong.faults if "1 of 240 scores differ; target 2, record 7" in fault]


def test_a_pair_that_is_scored_without_enough_models_is_a_fault(tmp_path, tool):
    result, rules, names = audited(tmp_path, tool, stream(0, "test").random((7, 40)) < 0.5, "lira")
    right, wrong = tool[0].Row("right", False), tool[0].Row("wrong", False)
    tool[0].usable(right, rules, names, result, ["lira"])
    assert right.faults == []
    assert right.unscored > 0
    (scores,) = result.scores
    tool[0].usable(wrong, rules, names, replace(result, scores=(replace(scores, scored=None),)), ["lira"])
    assert f"lira: {scores.values.size} pairs are scored, {scores.scored.sum()} have enough models" in wrong.faults


def test_the_search_for_blocks_finds_pairs_and_folds_in_any_order(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from tests.oracles.dealing import balanced, blocks

    rng = stream(0, "test")
    half, fold = rng.random(30) < 0.5, rng.permutation(30) % 3
    member = np.array([fold != 0, half, fold != 1, rng.random(30) < 0.5, ~half, fold != 2, fold == 1])
    assert sorted(blocks(member)) == [[0], [1, 4], [2, 6], [3], [5]]  # a complement comes first
    assert sorted(blocks(member[:6])) == [[0, 2, 5], [1, 4], [3]]
    assert not balanced(member)
    assert balanced(np.argsort(rng.random((6, 30)), 0) < 3)
