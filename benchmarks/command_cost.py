"""Processor and wall seconds, and memory, of whole commands: a part of the tables `score` and `end-to-end`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def cost(arguments: Sequence[str], folder: Path) -> dict[str, float]:
    """One run of `undertow ARGUMENTS` in `folder`: CPU seconds, wall seconds, MiB at most; RuntimeError if it fails."""
    command = [sys.executable, "-m", "undertow", *arguments]
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, env={**os.environ, **ONE_THREAD}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
    if child.returncode not in (0, 1):
        raise RuntimeError(f"undertow {' '.join(arguments)} ended with {child.returncode}")
    wall = time.perf_counter() - start
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall, "mib": used.ru_maxrss / 1024}


def rows(jobs: Mapping[str, Callable[[Path], Sequence[str]]], rounds: int) -> list[dict[str, Any]]:
    """The median cost of each job over interleaved rounds, each in a new folder."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, prepare in jobs.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(cost(prepare(Path(folder)), Path(folder)))
    return [
        {"job": name, "rounds": rounds, "device": "cpu"}
        | {key: round(median(run[key] for run in runs), 1) for key in ("cpu_s", "wall_s", "mib")}
        for name, runs in found.items()
    ]


def report(about: str | None, jobs: Mapping[str, Callable[[Path], Sequence[str]]]) -> None:
    """The command line of a table: its options, its JSON, its Markdown."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each job; default 3")
    parser.add_argument("--jobs", nargs="+", default=list(jobs), choices=list(jobs))
    options = parser.parse_args()
    found = rows({name: jobs[name] for name in options.jobs}, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    print("| job | CPU s | wall s | MiB |\n|---|---|---|---|")
    for row in found:
        print(f"| {row['job']} | {row['cpu_s']:.1f} | {row['wall_s']:.1f} | {row['mib']:.0f} |")
