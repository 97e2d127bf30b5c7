"""The `score` table: what `undertow score` costs as a command, all attacks that run unasked, intervals and page.

    python -m benchmarks run score [--json OUT] [--rounds 3] [--jobs 64x1000 ...]

Models x records, complementary halves, two classes, a weak leak. One thread; the median over interleaved runs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from command_cost import report

from undertow.rng import stream

SHAPES = ((16, 1000), (64, 1000), (256, 1000), (64, 10_000))


def signals(models: int, points: int, folder: Path) -> Sequence[str]:
    """Write the file; the arguments of the command."""
    rng = stream(0, "score speed", models, points)
    member = np.array([rng.permutation(points) < points // 2 for _ in range(models // 2)])
    member = np.stack([member, ~member], 1).reshape(models, points)
    margin = rng.normal(1.5, 1.0, points) + rng.normal(0, 0.7, member.shape) + 0.4 * member
    logits = np.stack([margin / 2, -margin / 2], -1).astype(np.float32)
    np.savez(folder / "signals.npz", logits=logits, labels=np.zeros(points, np.int64), member=member)
    return "score", "signals.npz", "--out", "run", "--quiet"


JOBS = {f"{m}x{n}": lambda folder, m=m, n=n: signals(m, n, folder) for m, n in SHAPES}

if __name__ == "__main__":
    report(__doc__, JOBS)
