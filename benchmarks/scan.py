"""What `undertow scan` flags, and how fast its one pass is.

    python benchmarks/scan.py detect --corpus DIR          benign and trapped checkpoints with seeds below 100
    python benchmarks/scan.py speed [--file F] [--gb 1.3]  against read() and against the naive statistics in torch

Made by scan_corpus.py, scan_trapped.py and scan_adaptive.py. Shares come with Clopper and Pearson's 95 % intervals.
Recall: of the trap rows of a checkpoint, how many are named; precision: of the rows named in that tensor, how many are
a trap's (or its idle unit). Both are means over checkpoints that are flagged.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from undertow.metrics.binomial import proportion
from undertow.rng import stream
from undertow.scanner import Tensor, inspect, of_arrays
from undertow.scanner.findings import Finding
from undertow.scanner.statistics import statistics

WIDTH = 4096
PEAK = """
import sys
import numpy as np
from undertow.scanner import Tensor, inspect

def most():  # of this process; getrusage would count its parent's too
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024

def read(start, stop):
    block = np.empty((stop - start, 4096), np.float32)
    file.seek(4 * 4096 * start)
    file.readinto(block)
    return block

before = most()
with open(sys.argv[1], "rb", buffering=0) as file:
    rows = file.seek(0, 2) // 4 // 4096
    inspect({"w.weight": Tensor("w.weight", (rows, 4096), "F32", "", read)})
print(f"peak memory {most():.0f} MB, of which {before:.0f} MB are the imports")
"""  # in a process of its own, which has no torch


def share(hits: int, of: int) -> str:
    """Hits of n, the share and its interval."""
    if not of:
        return "0 of 0"
    row = proportion(hits, of)
    return f"{hits} of {of} = {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def critical(path: Path) -> list[Finding]:
    """What makes it unsafe, and the rows named beside that; nothing where nothing does."""
    found = inspect(of_arrays(load_file(path))).findings
    return [one for one in found if one.kind == "data-trap"] if any(f.severity == "critical" for f in found) else []


def evaluated(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.safetensors")) if int(path.stem.rsplit("-", 1)[1]) < 100]


def rows_named(path: Path, found: list[Finding]) -> tuple[float, float]:
    """(recall, precision) in the tensors that hold traps."""
    truth = json.loads(path.with_suffix(".json").read_text())
    idle = set(truth.pop("idle", []))
    named = {one.tensor: set(one.rows) for one in found}
    hits = sum(len(named.get(tensor, set()) & set(rows)) for tensor, rows in truth.items())
    right = sum(len(named.get(tensor, set()) & (set(rows) | idle)) for tensor, rows in truth.items())
    said = sum(len(named.get(tensor, set())) for tensor in truth)
    return hits / sum(len(rows) for rows in truth.values()), right / said if said else float("nan")


def detect(options: argparse.Namespace) -> None:
    """False alarms by family, hits by family with the rows that are named."""
    flagged: dict[str, list[bool]] = defaultdict(list)
    for path in evaluated(options.corpus / "benign"):
        found = critical(path)
        flagged[path.stem.split("-")[0]].append(bool(found))
        if found:
            print("false alarm:", path.stem, [(one.tensor, one.explanation, round(one.score or 0, 2)) for one in found])
    print("\n| benign family | flagged |\n|---|---|")
    for family, hits in flagged.items():
        print(f"| {family} | {share(sum(hits), len(hits))} |")
    print(f"| all | {share(sum(map(sum, flagged.values())), sum(map(len, flagged.values())))} |")
    table: dict[str, list[tuple[bool, float, float]]] = defaultdict(list)
    for path in evaluated(options.corpus / "trapped"):
        found = critical(path)
        recall, precision = rows_named(path, found)
        table[path.stem.rsplit("-", 1)[0]].append((bool(found), recall, precision))
        if not found or recall < 0.9:
            print("missed rows:" if found else "missed:", path.stem, f"recall {recall:.2f}")
    print("\n| trapped | flagged | recall of rows | precision |\n|---|---|---|---|")
    everything = [one for several in table.values() for one in several]
    for name, several in [*table.items(), ("all", everything)]:
        hit = [one for one in several if one[0]]
        mean = [float(np.nanmean([one[i] for one in hit])) if hit else float("nan") for i in (1, 2)]
        print(f"| {name} | {share(len(hit), len(several))} | {mean[0]:.3f} | {mean[1]:.3f} |")


def big_file(options: argparse.Namespace) -> Path:
    """A file of random float32 weights."""
    path = options.file or Path(tempfile.gettempdir()) / f"undertow-scan-{options.gb}.bin"
    if not path.is_file():
        rng = stream(0, "benchmark", "scan")
        with path.open("wb") as file:
            for _ in range(int(options.gb * 1e9) // (4 << 20)):
                file.write(rng.standard_normal(1 << 20, np.float32).tobytes())
    return path


def mapped(path: Path) -> Tensor:
    """The file as one matrix, read through the page cache."""
    weights = np.memmap(path, np.float32, "r")
    matrix = weights[: len(weights) // WIDTH * WIDTH].reshape(-1, WIDTH)
    return Tensor("w", matrix.shape, "F32", "", lambda a, b: np.asarray(matrix[a:b]))


def read_all(path: Path) -> None:
    """Plain read(), 4 MB at a time, into one buffer."""
    buffer = memoryview(bytearray(4 << 20))
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def naive(path: Path) -> None:
    """Statistics of the rows as one would ask torch for them."""
    import torch

    torch.set_num_threads(1)
    weights = torch.from_file(str(path), size=path.stat().st_size // 4)
    matrix = weights[: len(weights) // WIDTH * WIDTH].reshape(-1, WIDTH)
    matrix.std(dim=1), matrix.amin(dim=1), matrix.amax(dim=1), matrix.norm(dim=1)


def speed(options: argparse.Namespace) -> None:
    """CPU seconds of each, interleaved; memory in a process of its own."""
    path = big_file(options)
    gb = path.stat().st_size / 1e9
    ways = {"read": read_all, "scan": lambda p: statistics(mapped(p)), "torch": naive}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            began = time.process_time()
            way(path)
            times[name].append(time.process_time() - began)
    best = {name: min(several) for name, several in times.items()}
    for name, several in times.items():
        print(
            f"{name}: {gb / best[name]:.2f} GB/s (best of {len(several)}; median {gb / float(np.median(several)):.2f})"
        )
    print(
        f"share of read() bandwidth {best['read'] / best['scan']:.2f}; times torch {best['torch'] / best['scan']:.1f}"
    )
    subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["detect", "speed"])
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--gb", type=float, default=1.3)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    {"detect": detect, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()
