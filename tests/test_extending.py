"""The walks of docs/extending.md, done as they are written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from undertow.rng import stream

DOC = Path(__file__).parents[1] / "docs" / "extending.md"


def block(first):
    """The code block of the document that begins with the comment `# first`."""
    (found,) = re.findall(rf"```python\n# {re.escape(first)}\n(.*?)```", DOC.read_text(), re.DOTALL)
    return found


def shell(folder, *arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    for name in ("my_attack.py", "test_my_attack.py"):
        (tmp_path / name).write_text(block(name))
    return tmp_path


def test_an_attack_is_one_file_and_runs_from_the_shell(folder):
    rng = stream(0, "test")
    half = rng.random((8, 60)) < 0.5
    member = np.concatenate([half, ~half])
    np.savez(folder / "signals.npz", member=member, values=rng.normal(size=member.shape) + 2 * member)
    said = shell(folder, "-m", "undertow", "score", "signals.npz", "--attack", "my_attack:GAP")
    (row,) = [line for line in said.splitlines() if line.strip().startswith("gap ")]
    assert float(re.search(r"0?\.\d+", row)[0]) > 0.7


def test_its_test_is_the_contract(folder):
    said = shell(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_attack.py")
    assert re.search(r"\d\d passed", said)


def test_a_metric_is_one_value(tmp_path):
    line = block("a line of nouns/metric.py").strip().removesuffix(",")
    code = f"""
from undertow.nouns.metric import METRICS, Metric
metric = {line}
METRICS[metric.name] = metric
from undertow.metrics import apply_gate, parse_gate
from undertow.report.words import value
from undertow.types import Measurement
m = Measurement("mine", "f1", 0.731, 0.7, 0.76, 16, "models")
print(m.label, value(m))
print(apply_gate(parse_gate("f1>0.5"), [m], frozenset(), None))
"""
    first, second = shell(tmp_path, "-c", code).splitlines()
    assert first == "F1 73.1"
    assert "f1" in second.lower()
    assert "0.5" in second or "50" in second


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`([a-z_]+/[\w/.]+)`", DOC.read_text()))))
def test_every_place_that_is_named_exists(place):
    root = DOC.parents[1]
    real = place.replace("NAME", "vit" if place.startswith("traps/") else "bert").removesuffix("/")
    assert any((base / real).exists() for base in (root, root / "src" / "undertow"))
