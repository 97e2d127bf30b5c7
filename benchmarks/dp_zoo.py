"""Planted bugs of DP training and correct pipelines: which test finds which bug, and who is accused wrongly.

    python benchmarks/dp_zoo.py [--seeds 0] [--correct-seeds 0 1 2 3 4] [--only WORD]

Each line is a run of `check_pipeline` at 99.9 % confidence. The pipelines are those of tests/audits/dp/dp_zoo.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import time

from tests.audits.dp.dp_zoo.broken import broken
from tests.audits.dp.dp_zoo.correct import correct
from tests.audits.dp.dp_zoo.models import Specimen

from undertow.audits.dp.conformance import Conformance, check_pipeline


def checked(s: Specimen, seed: int) -> tuple[Conformance, float]:
    """The verdict and its CPU seconds."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_pipeline(s.train, s.checkpoint, s.data, s.claim, seed=seed)
    return found, time.process_time() - begin


def show_bugs(seeds: list[int], only: str) -> None:
    print("\n| bug | seed | found by | measured / declared | p-value | also | trainings | CPU-s |\n|" + "---|" * 8)
    hits = runs = 0
    for s in broken():
        for seed in seeds if only in s.name else ():
            result, seconds = checked(s, seed)
            ranked = sorted(result.findings, key=lambda c: (c.test not in s.expected, c.p_value))
            runs, hits = runs + 1, hits + bool(ranked)
            first = ranked[0] if ranked else None
            cells = (first.test, f"{first.measured:.3g}", f"{first.p_value:.1e}") if first else ("MISSED", "", "")
            also = ", ".join(sorted({c.test for c in ranked[1:]} - {cells[0]})) or "-"
            print(
                f"| {s.name} | {seed} | {' | '.join(cells)} | {also} | {result.trainings} | {seconds:.1f} |", flush=True
            )
    print(f"\nFound: {hits} of {runs}.")


def show_correct(seeds: list[int], only: str) -> None:
    print("\n| correct pipeline | audits | accused | smallest p-value | not tested | CPU-s each |\n|" + "---|" * 6)
    accused = runs = 0
    for s in correct():
        if only not in s.name:
            continue
        results = [checked(s, seed) for seed in seeds]
        least = min(c.p_value for r, _ in results for c in r.checks)
        wrong = sum(bool(r.findings) for r, _ in results)
        silent = {reason.split(":")[0] for r, _ in results for reason in r.not_tested[:-3]} - {"accounting"}
        runs, accused = runs + len(results), accused + wrong
        mean = sum(t for _, t in results) / len(results)
        print(
            f"| {s.name} | {len(results)} | {wrong} | {least:.2g} | {', '.join(sorted(silent)) or '-'} | {mean:.1f} |"
        )
        sys.stdout.flush()
    print(f"\nAccused wrongly: {accused} of {runs}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--correct-seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", default="", help="pipelines whose name contains this")
    options = parser.parse_args()
    show_bugs(options.seeds, options.only)
    show_correct(options.correct_seeds, options.only)


if __name__ == "__main__":
    main()
