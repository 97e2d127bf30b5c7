"""kill -9 while somebody's own training runs: no finished answer is lost or made again, and the scores are the same."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from commands import environment

from undertow.rng import stream

SHADOWS = 12
SCRIPT = f"""
import sys, time
import numpy as np
import undertow as ut

def train(records, seed):
    time.sleep(0.2)
    rng = np.random.RandomState(seed)
    seen = {{row.tobytes() for row in records.x}}
    def predict(x):
        bonus = np.array([row.tobytes() in seen for row in x])
        return rng.normal(size=(len(x), 2)) + 2 * bonus[:, None] * np.array([-1, 1])
    return predict

if __name__ == "__main__":
    x = np.random.RandomState(0).normal(size=(40, 3))
    ut.audit_mia(train=train, records=(x, np.arange(40) % 2), shadows={SHADOWS}, attacks=("lira", "loss"),
                 out=sys.argv[1], workers=int(sys.argv[2]))
"""


def start(script, out, workers):
    command = [sys.executable, script, out, str(workers)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended_well(process):
    _, said = process.communicate()
    assert process.returncode == 0, said


def finished(out):
    """Every stored answer: name, content, and when it was written."""
    files = sorted((out / "store").rglob("*.safetensors"))
    return {f.name: (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def scores(out):
    with np.load(out / "scores.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def survive(tmp_path, trials):
    script, reference = tmp_path / "own.py", tmp_path / "reference"
    script.write_text(SCRIPT)
    ended_well(start(script, reference, 1))
    rng, counts = stream(0, "kill own"), []
    lost, again, differing = 0, 0, 0
    for trial in range(trials):
        out, workers = tmp_path / f"run-{trial}", 1 + trial % 2
        process = start(script, out, workers)
        wanted = int(rng.integers(SHADOWS))
        while process.poll() is None and sum(1 for _ in (out / "store").rglob("*.safetensors")) < wanted:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.1)))
        process.kill()
        process.communicate()
        time.sleep(0.8)  # copies notice that their parent is gone
        before = finished(out)
        counts.append(len(before))
        ended_well(start(script, out, workers))
        after = finished(out)
        lost += sum(name not in after for name in before)
        again += sum(after[name] != value for name, value in before.items() if name in after)
        ours, theirs = scores(out), scores(reference)
        differing += not all(np.array_equal(ours[name], theirs[name]) for name in theirs)
        assert not list(out.rglob("*.part"))
    print(f"{trials} kills with {counts} answers stored: {lost} lost, {again} made again, {differing} differ")
    assert (lost, again, differing) == (0, 0, 0)
    return counts


def test_kill_9_loses_no_finished_answer(tmp_path):
    survive(tmp_path, 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_at_20_moments_loses_no_finished_answer(tmp_path):
    assert len(set(survive(tmp_path, 20))) > 5  # the moments were spread over the run
