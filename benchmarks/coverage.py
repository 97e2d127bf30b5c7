"""How often do the 95 % intervals hold the truth, and how often is a leak shown where there is none?

    python benchmarks/coverage.py run --out DIR [--audits 300] [--workers 2]    # resumes; an hour of CPU time
    python benchmarks/coverage.py doubtful --out DIR [--audits 2000]   # cells that may cover less, with fresh audits
    python benchmarks/coverage.py table --out DIR                      # the tables of docs/coverage.md

Nothing here draws scores: records are drawn, membership is dealt by one of sixteen designs, models are trained on what
they were dealt (coverage_world.py), and `undertow score` attacks and measures them; every attack reads the same models.
Without a leak (`null`), the membership that is audited is dealt anew after training. The truth is that of other models
and other records: an AUC of .5 and a TPR of (k + 1) / (n + 1) on null, else the mean over all audits of a cell.
"""

import argparse
import json
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from coverage_tables import doubtful, tables
from coverage_world import CELLS, EFFECTS, Cell, learn, real, records

from undertow.audits.membership.evidence import SignalSet
from undertow.audits.membership.score import audit_score
from undertow.metrics import difference
from undertow.rng import stream
from undertow.types import Array, AuditResult, Measurement, Scores

ATTACKS = ("loss", "lira", "lira-offline", "rmia", "bavaria")
FPR = 0.01
CHUNK = 50  # audits between two writes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "doubtful", "dev", "table"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the audits")
    parser.add_argument("--audits", type=int, default=0, help="per cell; 0: 300, doubtful: 2,000")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--only", default="", help="designs whose title holds this")
    parser.add_argument("--effects", nargs="+", default=list(EFFECTS), choices=list(EFFECTS))
    parser.add_argument("--stream", default="", help="worlds of their own for a rerun; default: the name of the step")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "table":
        print(tables(load(options.out / "run.jsonl"), load(options.out / "doubtful.jsonl")))
        return
    again = options.what == "doubtful"
    cells = [
        (c, e)
        for c in CELLS
        for e in options.effects
        if options.only in c.title and (c.name != "digits" or e == "null")
    ]
    if again:
        wanted = doubtful(load(options.out / "run.jsonl"))
        cells = [(c, e) for c, e in cells if (c.title, e) in wanted]
    fill(
        cells,
        options.audits or (2000 if again else 300),
        options.out / f"{options.what}.jsonl",
        options.workers,
        options.stream,
    )


def fill(cells: Iterable[tuple[Cell, str]], audits: int, file: Path, workers: int, fresh: str = "") -> None:
    """Play what is not in `file` yet; chunks are appended as they are finished."""
    done = {(a["cell"], a["effect"], a["audit"]) for a in load(file)}
    chunks = [
        (cell, effect, todo, fresh or file.stem)
        for start in range(0, audits, CHUNK)
        for cell, effect in cells
        if (todo := [i for i in range(start, min(start + CHUNK, audits)) if (cell.title, effect, i) not in done])
    ]
    with ProcessPoolExecutor(workers) as pool, file.open("a") as sink:
        for lines in pool.map(play_chunk, chunks):
            sink.write("".join(json.dumps(line) + "\n" for line in lines))
            sink.flush()


def load(file: Path) -> list[dict[str, Any]]:
    """What was played so far; a line that was cut off by a kill is left."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def play_chunk(chunk: tuple[Cell, str, list[int], str]) -> list[dict[str, Any]]:
    """Some audits of one cell."""
    cell, effect, audits, fresh = chunk
    return [play(cell, effect, i, fresh) for i in audits]


def play(cell: Cell, effect: str, index: int, fresh: str = "run") -> dict[str, Any]:
    """One audit, from records to verdict: every interval it gives, and whether it shows a leak."""
    rng = stream(zlib.crc32(fresh.encode()), "coverage", cell.title, effect, index)
    if cell.name == "digits":
        member, logits, labels = real(rng)
    else:
        data, trained = records(cell.points, rng, cell.groups), cell.deal(cell.models, cell.points, rng)
        member = cell.deal(cell.models, cell.points, rng) if effect == "null" else trained
        logits, labels = learn(data, trained, rng, effect, cell.background), data.labels
    result = audited(cell, labels, logits, member, index)
    rows = {f"{m.attack} {m.label}": numbers(m) for m in result.measurements if m.fpr in (None, FPR)}
    by = {s.attack: s for s in result.scores}
    rows |= paired(by)
    if "lira" in by and cell.name == "pairs" and cell.models == 16:
        arm = audited(cell, labels, learn(data, trained, rng, effect, cell.background), member, index)
        rows |= compared([s for s in arm.scores if s.attack == "lira"], [by["lira"]], "arms")
    leak = result.leak or {}
    return {
        "cell": cell.title,
        "effect": effect,
        "audit": index,
        "rows": {k: v for k, v in rows.items() if v},
        "leak": [bool(leak.get("shown")), leak.get("p")],
    }


def audited(cell: Cell, labels: Array, logits: Array, member: Array, seed: int) -> AuditResult:
    """What `undertow score` makes of the models' answers."""
    arrays = {"member": member, "logits": logits, "labels": labels}
    if cell.targets:
        arrays["target"] = np.arange(cell.models - cell.targets, cell.models)
    if cell.groups:
        arrays["group"] = np.arange(cell.points) // cell.groups
    return audit_score(SignalSet("simulated", "", arrays), ATTACKS, seed)


def paired(by: Mapping[str, Scores]) -> dict[str, Any]:
    """LiRA less the loss, on the same models and points."""
    if "lira" not in by or by["lira"].member.shape != by["loss"].member.shape:
        return {}
    return compared([by["lira"]], [by["loss"]], "lira - loss")


def compared(first: list[Scores], second: list[Scores], name: str) -> dict[str, Any]:
    """Rows of a difference."""
    rows = difference(first, second, fprs=(FPR,))
    return {f"{name} {replace(m, metric=f'{m.metric}_difference').label}": numbers(m) for m in rows}


def numbers(m: Measurement) -> list[float] | None:
    """value, low, high, degrees of freedom, what guessing gives."""
    if m.value is None or m.low is None or m.high is None:
        return None
    guess = 0.0 if " - " in m.attack else m.chance or 0.5
    return [round(float(x), 6) for x in (m.value, m.low, m.high, m.df or 0.0, guess)]


if __name__ == "__main__":
    main()
