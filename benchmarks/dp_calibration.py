"""How often `check_pipeline` accuses a trainer that keeps its word, check by check.

    python benchmarks/dp_calibration.py run FILE [--audits 1000] [--only WORD]
    python benchmarks/dp_calibration.py show FILE

Every audit is a whole `check_pipeline` at 95 % confidence (not at its default of 99.9 %, where 1,000 audits would show
next to nothing) of a small linear head that is trained by DP-SGD in NumPy, with a seed and a checkpoint of its own. The
file holds one line an audit; those that it has are not made again. Intervals are Clopper and Pearson's, at 95 % for all
rows of the table together. The trainer of twice the declared step size is not as declared: its rows say how often it is
called weaker instead of different.
"""

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from scipy.stats import beta

from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.conformance import check_pipeline
from undertow.rng import stream
from undertow.types import Array, Examples, Params

CONFIDENCE = 0.95
WIDTH, CLASSES = 12, 3
BASE = DpClaim(noise_multiplier=1.0, clip=1.0, batch=8, records=32, steps=3, lr=0.2)
LARGER = replace(BASE, batch=32, records=128, steps=4)
SCALED = "twice the declared step size, 128 records"  # not as declared: it may differ, and is not to be called weaker


@dataclass(frozen=True, eq=False)
class Trainer:
    """DP-SGD of a linear head as `claim` says; `scale`: times the declared step size, so of noise and records alike."""

    claim: DpClaim
    scale: float = 1.0

    def __call__(self, checkpoint: Params, data: Examples, seed: int) -> Params:
        c, rng = self.claim, np.random.Generator(np.random.SFC64(seed))
        w = np.column_stack([checkpoint["weight"], checkpoint["bias"]]).astype(float)
        x = np.column_stack([data.x, np.ones(len(data))])
        mass = np.zeros_like(w)
        for step, rows in enumerate(self._batches(len(x), rng)):
            error = _softmax(x[rows] @ w.T)
            error[np.arange(rows.size), data.y[rows]] -= 1
            norm = np.sqrt(np.square(error).sum(1) * np.square(x[rows]).sum(1))
            total = (error * np.minimum(1, c.clip / np.maximum(norm, 1e-12))[:, None]).T @ x[rows]
            total += c.noise_multiplier * c.clip * rng.standard_normal(w.shape)
            mass = (c.momentum * mass if step else 0) + self.scale * total / c.batch + c.weight_decay * w
            w -= c.rates[step] * mass
        return {"weight": w[:, :-1].copy(), "bias": w[:, -1].copy()}

    def _batches(self, records: int, rng: np.random.Generator) -> Iterator[Array]:
        c, order = self.claim, np.arange(records)
        for step in range(c.steps):
            if c.sampling == "poisson":
                yield np.flatnonzero(rng.random(records) < c.rate)
                continue
            each = round(records * c.rate)
            place = step % (records // each)
            order = rng.permutation(records) if place == 0 else order
            yield order[place * each : (place + 1) * each]


def _softmax(logits: Array) -> Array:
    found = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(found / found.sum(1, keepdims=True))


def trainers() -> dict[str, Trainer]:
    return {
        "as declared": Trainer(BASE),
        "momentum, weight decay": Trainer(replace(BASE, momentum=0.8, weight_decay=0.1)),
        "shuffled": Trainer(replace(BASE, sampling="shuffle", steps=4)),
        SCALED: Trainer(LARGER, scale=2.0),
    }


def audit(name: str, trainer: Trainer, seed: int) -> dict:
    rng, records = stream(seed, "calibration", name), trainer.claim.records
    start = {"weight": 0.3 * rng.standard_normal((CLASSES, WIDTH)), "bias": 0.3 * rng.standard_normal(CLASSES)}
    data = Examples(rng.random((records, WIDTH)), rng.integers(0, CLASSES, records), "made-up records")
    result = check_pipeline(trainer, start, data, trainer.claim, head="weight", seed=seed, confidence=CONFIDENCE)
    return {
        "trainer": name,
        "seed": seed,
        "made": sorted({c.test for c in result.checks}),
        "found": sorted({c.test for c in result.findings}),
        "differs": sorted({c.test for c in result.differences}),
    }


def run(path: Path, audits: int, only: str) -> None:
    known = {(line["trainer"], line["seed"]) for line in lines(path)}
    with path.open("a") as file:
        for seed in range(audits):
            for name, trainer in trainers().items():
                if (name, seed) not in known and only in name:
                    print(json.dumps(audit(name, trainer, seed)), file=file, flush=True)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(path: Path) -> None:
    every, table = lines(path), []
    for name in dict.fromkeys(line["trainer"] for line in every):
        mine = [line for line in every if line["trainer"] == name]
        for test in ["any", *sorted({t for line in mine for t in line["made"]})]:
            made = [line for line in mine if test == "any" or test in line["made"]]
            table.append(
                (name, test, sum(bool(x["found"]) if test == "any" else test in x["found"] for x in made), len(made))
            )
    error = 0.05 / max(1, len(table))
    print("| trainer | check | accused | share [95 % for all rows together] |\n|---|---|---|---|")
    for name, test, hits, n in table:
        low = beta.ppf(error / 2, hits, n - hits + 1) if hits else 0.0
        high = beta.ppf(1 - error / 2, hits + 1, n - hits) if hits < n else 1.0
        mark = " **over**" if low > 1 - CONFIDENCE else ""
        print(f"| {name} | {test} | {hits} of {n}{mark} | {hits / n:.4f} [{low:.4f}, {high:.4f}] |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--only", default="", help="trainers whose name contains this")
    options = parser.parse_args()
    if options.what == "run":
        run(options.file, options.audits, options.only)
    show(options.file)


if __name__ == "__main__":
    main()
