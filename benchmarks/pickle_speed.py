"""How long the pickle reader takes, as a multiple of pickletools.genops on the same bytes.

    python benchmarks/pickle_speed.py

One thread; the median of interleaved runs of CPU time. The goal is at most 5 at every protocol.
"""

import os
import pickle  # noqa: TID251 - to write what is read
import pickletools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from undertow.opening.inside.child import read
from undertow.opening.opened import Limits

ENTRIES, REPEATS = 4000, 9


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def ratio(protocol: int, folder: Path) -> tuple[int, float, float]:
    """(bytes, seconds of our reader, its multiple of pickletools.genops) for a dictionary of many small values."""
    value = {f"w{i}": (i, [i / 3, "abc", None]) for i in range(ENTRIES)}
    raw = pickle.dumps(value, protocol)
    file = folder / "m.pkl"
    file.write_bytes(raw)
    fd, scratch = os.open(file, os.O_RDONLY), os.open(folder / "scratch", os.O_RDWR | os.O_CREAT)
    ours, usual = [], []
    for _ in range(REPEATS):
        usual.append(seconds(lambda: sum(1 for _ in pickletools.genops(raw))))
        ours.append(seconds(lambda: read(fd, len(raw), "pickle", asdict(Limits()), scratch)))
    os.close(fd)
    os.close(scratch)
    return len(raw), statistics.median(ours), statistics.median(a / b for a, b in zip(ours, usual, strict=True))


def main() -> None:
    print("| protocol | bytes | seconds | times pickletools.genops |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for protocol in (0, 1, 2, 4):
            size, time_, times = ratio(protocol, Path(folder))
            print(f"| {protocol} | {size:,} | {time_:.3f} | {times:.2f} |")


if __name__ == "__main__":
    main()
