"""How fast `undertow scan` is as a command, beside SHA-256 of the same bytes: wall and processor seconds.

    python benchmarks/scan_speed.py [--gb 1.0] [--rounds 5] [--shards 4] [--python PYTHON] [--folder DIR]

One file and the same bytes in shards, float32 and bfloat16, from the page cache; by turns, in one run, so that whatever
else the machine does falls on all of them. Start-up is that of a scan of 40 KB; it is taken off the rates, in processor
seconds of all threads and in wall seconds. Medians of the rounds are given, and the least behind them. `--python`: one
with the base dependencies only, as `pip install undertow` makes it; extras add second opinions on pickles.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections import defaultdict
from pathlib import Path

import numpy as np

from undertow.rng import stream

ROOT = Path(__file__).parents[1]
SIDE = 2048
HASH = """
import hashlib, sys
raw = memoryview(bytearray(1 << 20))
for name in sys.argv[1:]:
    digest = hashlib.sha256()
    with open(name, "rb", buffering=0) as file:
        while count := file.readinto(raw):
            digest.update(raw[:count])
"""
EVIL = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R." + bytes(1000)


def matrices(path: Path, size: float, dtype: str) -> None:
    """A safetensors file of square matrices of random weights."""
    width = {"F32": 4, "BF16": 2}[dtype]
    each = SIDE * SIDE * width
    count = max(1, round(size / each))
    spans = {f"layers.{i}.mlp.weight": [i * each, (i + 1) * each] for i in range(count)}
    header = {name: {"dtype": dtype, "shape": [SIDE, SIDE], "data_offsets": span} for name, span in spans.items()}
    raw = json.dumps(header).encode()
    rng = stream(0, "benchmark", "speed")
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for _ in range(count):
            weights = rng.standard_normal(SIDE * SIDE, np.float32).view("<u4")
            file.write((weights if dtype == "F32" else (weights >> 16).astype("<u2")).tobytes())


def timed(command: list[str]) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, MB at most) of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def commands(folder: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """What is measured, by name; the files are written."""
    from safetensors.numpy import save_file

    save_file({"w.weight": np.ones((100, 100), np.float32)}, folder / "small.safetensors")
    (folder / "evil.pt").write_bytes(EVIL)
    scan = [str(options.python), "-m", "undertow", "scan", "-q"]
    found = {
        "python -c pass": [str(options.python), "-c", "pass"],
        "import numpy": [str(options.python), "-c", "import numpy"],
        "start-up: 40 KB safetensors": [*scan, str(folder / "small.safetensors")],
        "start-up: malicious 1 KB .pt": [*scan, str(folder / "evil.pt")],
    }
    for dtype in ("F32", "BF16"):
        one, shards = folder / f"{dtype}.safetensors", folder / f"shards-{dtype}"
        shards.mkdir()
        matrices(one, options.gb * 1e9, dtype)
        for i in range(options.shards):
            path = shards / f"model-{i + 1:05d}-of-{options.shards:05d}.safetensors"
            matrices(path, options.gb * 1e9 / options.shards, dtype)
        found |= {
            f"SHA-256, {dtype}": [str(options.python), "-c", HASH, str(one)],
            f"scan, one file, {dtype}": [*scan, str(one)],
            f"scan --no-hash, one file, {dtype}": [*scan, "--no-hash", str(one)],
            f"scan, {options.shards} shards, {dtype}": [*scan, str(shards)],
            f"scan --no-hash, {options.shards} shards, {dtype}": [*scan, "--no-hash", str(shards)],
        }
    return found


def table(times: dict[str, list[tuple[float, float, float]]], gb: float) -> None:
    """Seconds, and the rate after start-up against that of SHA-256."""
    middle = {name: np.median(rows, 0) for name, rows in times.items()}
    start = middle["start-up: 40 KB safetensors"]
    print(
        "| command | wall: median (least) | CPU: median (least) | MB | GB/s of wall | of CPU | CPU, of SHA-256's |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name, rows in times.items():
        (wall, cpu, _), least, cells = middle[name], np.min(rows, 0), ["", "", ""]
        if name.endswith(("F32", "BF16")):
            off = middle["python -c pass"] if name.startswith("SHA") else start
            sha = (middle[f"SHA-256, {name.split()[-1]}"] - middle["python -c pass"])[1]
            after = np.maximum(1e-3, middle[name] - off)
            cells = [f"{gb / after[0]:.2f}", f"{gb / after[1]:.2f}", f"{after[1] / sha:.2f}"]
        print(f"| {name} | {wall:.2f} ({least[0]:.2f}) | {cpu:.2f} ({least[1]:.2f}) "
              f"| {np.max(rows, 0)[2]:.0f} | {' | '.join(cells)} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    os.environ.setdefault("PYTHONPATH", str(ROOT / "src"))
    times: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        wanted = commands(Path(place), options)
        for _ in range(options.rounds):
            for name, command in wanted.items():
                times[name].append(timed(command))
    table(times, options.gb)


if __name__ == "__main__":
    main()
