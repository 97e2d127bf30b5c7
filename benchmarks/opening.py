"""How fast and in how much memory are the tensors of a large file read, against a plain read() of the same bytes?

    python benchmarks/opening.py [--gigabytes 1.3] [--rounds 5] [--folder /tmp]

Writes a safetensors file of transformer-like matrices, reads it once so that it is in the page cache, and then by
turns: plain read() into one buffer; all blocks; all blocks with a sum over each; and the same with the sha256 that a
scan takes beside it. Wall time and processor time (which other programs disturb less). The file is deleted.
"""

import argparse
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from undertow.opening import open_checkpoint
from undertow.opening.safe_file import reading_safetensors
from undertow.scanner.tensors import BLOCK_BYTES

WIDTH = 1024


def write(path: Path, size: int, dtype: str) -> None:
    """Matrices of (4 WIDTH, WIDTH), a few at a time in memory."""
    width = {"F32": 4, "BF16": 2}[dtype]
    count = size // (4 * WIDTH * WIDTH * width)
    each = 4 * WIDTH * WIDTH * width
    entries = {
        f"layers.{i}.weight": {"dtype": dtype, "shape": [4 * WIDTH, WIDTH], "data_offsets": [i * each, (i + 1) * each]}
        for i in range(count)
    }
    header = json.dumps(entries).encode()
    one = (np.arange(4 * WIDTH * WIDTH) % 1000 / 1000).astype(np.float32).view("<u4")
    body = (one if dtype == "F32" else (one >> 16).astype("<u2")).tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(count):
            file.write(body)


def plain(path: Path) -> None:
    """read() into one buffer."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def blocks(path: Path, reduce: bool) -> None:
    """All blocks, summed or not."""
    with reading_safetensors(path) as (tensors, _):
        for tensor in tensors.values():
            for _, block in tensor.blocks():
                if reduce:
                    block.sum()


def hashed(path: Path) -> None:
    """As a scan does: all blocks, summed, while the file is hashed."""
    with open_checkpoint(path) as opened:
        for tensor in opened.tensors.values():
            for _, block in tensor.blocks():
                block.sum()
        assert opened.files[0].complete


def timed(way: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    args = parser.parse_args()
    for dtype in ("F32", "BF16"):
        path = args.folder / f"opening-benchmark-{os.getpid()}.safetensors"
        try:
            write(path, int(args.gigabytes * 1e9), dtype)
            plain(path)
            ways: dict[str, Callable[[], None]] = {
                "read()": partial(plain, path),
                "blocks": partial(blocks, path, False),
                "blocks, sum": partial(blocks, path, True),
                "blocks, sum, sha256": partial(hashed, path),
            }
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(args.rounds):
                for name, way in ways.items():
                    times[name].append(timed(way))
            size, base = path.stat().st_size / 1e9, np.min(times["read()"], axis=0)
            for name, taken in times.items():
                wall, processor = np.min(taken, axis=0)
                shares = f"{base[0] / wall:4.0%} of read() (processor: {base[1] / processor:4.0%})"
                print(f"{dtype:5} {name:20} {size / wall:6.2f} GB/s = {shares}")
        finally:
            path.unlink(missing_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
