"""How fast pickles are read, beside `pickletools.genops`, which only splits the same bytes into instructions.

    python benchmarks/pickle_speed.py [--values 4000] [--rounds 15]

Processor seconds of one thread, the least of the rounds, by turns. "read" is what the process that reads a file does
with it: split, run on a machine that calls nothing, and collect the tensors.
"""

import argparse
import os
import pickle  # noqa: TID251 - to write what is read
import pickletools
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict

from undertow.opening import Limits
from undertow.opening.inside.child import read


def values(count: int) -> dict[str, object]:
    """By name: objects of many small values, of texts, of numbers in lists, and of a table of tables."""
    return {
        "tuples and lists": {f"w{i}": (i, [i / 3, "abc", None]) for i in range(count)},
        "texts": [f"a text of some length, number {i}" for i in range(4 * count)],
        "numbers": [i * 7 for i in range(8 * count)],
        "tables": {f"layer{i}": {"a": i, "b": {"c": None, "d": (1, 2)}} for i in range(count)},
    }


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(raw: bytes, rounds: int) -> tuple[float, float]:
    """(seconds of genops, seconds of read), the least of the rounds."""
    usual, ours = [], []
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as scratch:
        file.write(raw)
        file.flush()
        limits = asdict(Limits())
        for _ in range(rounds):
            usual.append(seconds(lambda: sum(1 for _ in pickletools.genops(raw))))
            ours.append(seconds(lambda: read(file.fileno(), len(raw), "pickle", limits, scratch.fileno())))
    return min(usual), min(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--values", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print("| pickle | protocol | KB | genops ms | read ms | ratio |\n|---|---|---|---|---|---|")
    for name, value in values(options.values).items():
        for protocol in (0, 1, 2, 4):
            raw = pickle.dumps(value, protocol)
            usual, ours = compare(raw, options.rounds)
            row = f"{len(raw) / 1000:.0f} | {1e3 * usual:.1f} | {1e3 * ours:.1f} | {ours / usual:.2f}"
            print(f"| {name} | {protocol} | {row} |", flush=True)


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    main()
