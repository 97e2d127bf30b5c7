"""What is kept of each audit: a stored result of the embedded run, its text and its page; and numbers computed anew.

`python tests/golden/goldens.py` writes them again: look at the difference before you
commit it, and name it in the changelog.
`results/*.json` are runs of the commands in COMMANDS, at seed 0 unless they say another.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from undertow.rng import stream

HERE = Path(__file__).parent
RESULTS = HERE / "results"
COMMANDS = {
    "mia": "undertow audit mia --seed 0",
    "tmi": "undertow audit tmi --seed 0",
    "poisoning": "undertow audit poisoning --seed 0",
    "datatrap": "undertow audit datatrap --seed 0",
    "dp": "undertow audit dp --seed 0",
    "extraction": "undertow audit extraction --seed 2",
    "lm": "undertow audit lm, on a tiny model of its own",
}


def readings():
    """{file name: text} of what each stored result is read as."""
    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    from outline import outline

    from undertow.report.reading import page_of, reading_of
    from undertow.storage.results import load_result

    for name in sorted(COMMANDS):
        result = load_result(RESULTS / f"{name}.json")
        yield f"{name}.text.txt", reading_of(result).text(result) + "\n"
        yield f"{name}.page.txt", outline(page_of(result))


def halves(seed=5, models=16, points=60, leak=0.8):
    """Logits of complementary pairs of models, and who was a member; members score higher by `leak`."""
    rng = stream(seed, "halves")
    member = np.empty((models, points), bool)
    for i in range(0, models, 2):
        member[i] = rng.permutation(points) < points // 2
        member[i + 1] = ~member[i]
    p = 1 / (1 + np.exp(-(rng.normal(1.0, 1.0, member.shape) + leak * member)))
    logits = np.stack([np.log(p), np.log1p(-p)], -1)
    return {"logits": logits, "labels": np.zeros(points, np.int64), "member": member}


def numbers(folder):
    """(name, rows) computed now: `score` and `epsilon` through their commands, scans of seeded weights."""
    from typer.testing import CliRunner

    from undertow.cli import app

    np.savez(folder / "signals.npz", **halves())
    rng = stream(7, "trials")
    trials = np.concatenate([rng.normal(1.5, 1.0, 300), rng.normal(0.0, 1.0, 300)])
    np.savez(folder / "scores.npz", score=trials, member=np.arange(600) < 300)
    for name, given in {"score": ["signals.npz"], "epsilon": ["scores.npz", "--claim-epsilon", "1"]}.items():
        out = folder / name
        done = CliRunner().invoke(app, [name, str(folder / given[0]), *given[1:], "--out", str(out), "--quiet"])
        assert done.exit_code == 0, done.output
        yield name, json.loads((out / "result.json").read_text(encoding="utf8"))["measurements"]
    yield "scan", dict(_scans())


def _scans():
    """A perceptron with ordinary weights, and the same with 24 data traps planted into it."""
    from tests.scanner.perceptrons import benign, trapped

    import undertow

    for name, weights in {"benign": benign(3), "trapped": trapped(3)[0]}.items():
        result = undertow.scan(dict(weights))
        findings = [asdict(finding) for finding in result.findings]
        yield name, json.loads(json.dumps({"verdict": result.verdict, "findings": findings}, default=str))


if __name__ == "__main__":
    import tempfile

    for file, text in readings():
        (HERE / file).write_text(text, encoding="utf8")
    with tempfile.TemporaryDirectory() as made:
        rows = dict(numbers(Path(made)))
    (HERE / "numbers.json").write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf8")
