"""Planted bugs of DP training and correct pipelines: which test finds which bug, and who is accused wrongly.

    python benchmarks/dp_zoo.py run zoo.jsonl [--seeds 0] [--correct-seeds 0 1 2] [--only WORD]
    python benchmarks/dp_zoo.py show zoo.jsonl

Each line of the file is a run of `check_pipeline` at 99.9 % confidence; runs that the file has are not made again. The
pipelines are those of tests/audits/dp/dp_zoo. A bug is *found*, or the verdict says that it was NOT TESTED (or that the
smallest violation it could have found is larger), or it is MISSED.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import time

from tests.audits.dp.dp_zoo.broken import broken
from tests.audits.dp.dp_zoo.correct import correct
from tests.audits.dp.dp_zoo.models import Specimen
from tests.audits.dp.dp_zoo.reports import reports
from tests.audits.dp.dp_zoo.rows import rows
from tests.audits.dp.dp_zoo.styles import styles

from undertow.audits.dp.conformance import Conformance, check_pipeline
from undertow.types import AuditError

KINDS = {"bug": (broken, rows), "report": (reports,), "correct": (correct, styles)}


def specimens() -> Iterator[tuple[str, Specimen]]:
    for kind, makers in KINDS.items():
        for make in makers:
            yield from ((kind, s) for s in make())


def checked(kind: str, s: Specimen, seed: int) -> dict:
    """One line of the file."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = check_pipeline(s.train, s.checkpoint, s.data, s.claim, seed=seed, head=s.head)
        except AuditError as error:
            return refused(kind, s, seed, str(error))
    ranked = sorted(result.findings, key=lambda c: (c.test not in s.expected, c.p_value))
    return {
        "kind": kind,
        "name": s.name,
        "seed": seed,
        "source": s.source,
        "outcome": outcome(s, result),
        "findings": [[c.test, c.about, c.measured, c.p_value] for c in ranked],
        "differences": [[c.test, c.about, c.measured, c.p_value] for c in result.differences],
        "smallest_p": min(c.p_value for c in result.checks),
        "not_tested": list(result.not_tested),
        "least": {f"{c.test} ({c.about})": c.least for c in result.checks},
        "trainings": result.trainings,
        "seconds": round(time.process_time() - begin, 2),
    }


def refused(kind: str, s: Specimen, seed: int, why: str) -> dict:
    """The line of a pipeline that could not be checked."""
    empty = {"findings": [], "differences": [], "smallest_p": 1.0, "seconds": 0.0}
    about = {"kind": kind, "name": s.name, "seed": seed, "source": s.source}
    return about | {"outcome": "refused", "not_tested": [why]} | empty


def outcome(s: Specimen, result: Conformance) -> str:
    if result.findings:
        return "found" if s.expected or s.hidden else "accused"
    if not s.expected and not s.hidden:
        return "differs" if result.differences else "passed"
    if s.hidden == "size":
        return "smaller than said"
    if s.hidden == "differs":
        return "differs" if result.differences else "MISSED"
    return "NOT TESTED" if s.hidden and any(s.hidden in reason for reason in result.not_tested) else "MISSED"


def run(path: Path, seeds: list[int], correct_seeds: list[int], only: str) -> None:
    known = {(line["name"], line["seed"]) for line in lines(path)}
    with path.open("a") as file:
        for kind, s in specimens():
            for seed in correct_seeds if kind == "correct" else seeds:
                if (s.name, seed) in known or only not in s.name:
                    continue
                line = checked(kind, s, seed)
                print(f"{kind} | {s.name} | {seed} | {line['outcome']} | {line['seconds']} s", flush=True)
                print(json.dumps(line), file=file, flush=True)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(path: Path) -> None:
    every = lines(path)
    show_bugs([line for line in every if line["kind"] != "correct"])
    show_correct([line for line in every if line["kind"] == "correct"])


def show_bugs(every: list[dict]) -> None:
    print("\n| bug | public report | seed | outcome | found by | measured | p-value | also | CPU-s |\n|" + "---|" * 9)
    for line in every:
        first = (line["findings"] or line["differences"] or [["", "", None, None]])[0]
        cells = (first[0], f"{first[2]:.3g}", f"{first[3]:.1e}") if first[0] else ("-", "", "")
        also = ", ".join(sorted({c[0] for c in line["findings"][1:]} - {first[0]})) or "-"
        head = f"{line['name']} | {line['source'] or '-'} | {line['seed']} | {line['outcome']}"
        print(f"| {head} | {' | '.join(cells)} | {also} | {line['seconds']} |")
    count = {word: sum(line["outcome"] == word for line in every) for word in sorted({x["outcome"] for x in every})}
    print(f"\n{len(every)} runs: {', '.join(f'{n} {word}' for word, n in count.items())}.")


def show_correct(every: list[dict]) -> None:
    print("\n| correct pipeline | audits | accused | differs | smallest p-value | CPU-s each |\n|" + "---|" * 6)
    for name in dict.fromkeys(line["name"] for line in every):
        mine = [line for line in every if line["name"] == name]
        wrong, other = (sum(line["outcome"] == word for line in mine) for word in ("accused", "differs"))
        mean = sum(line["seconds"] for line in mine) / len(mine)
        least = min(line["smallest_p"] for line in mine)
        print(f"| {name} | {len(mine)} | {wrong} | {other} | {least:.2g} | {mean:.1f} |")
    wrong = sum(line["outcome"] == "accused" for line in every)
    print(f"\nAccused wrongly: {wrong} of {len(every)} audits of {len({x['name'] for x in every})} pipelines.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--correct-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="pipelines whose name contains this")
    options = parser.parse_args()
    if options.what == "run":
        run(options.file, options.seeds, options.correct_seeds, options.only)
    show(options.file)


if __name__ == "__main__":
    main()
