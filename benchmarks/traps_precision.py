"""Data traps in half precision: what is still read where checkpoints are stored, or products made, in fewer bits.

    python benchmarks/traps_precision.py [--preset digits-mlp] [--rows 4 0.3 0.1] [--seeds 0 1 2] [--out DIR]

Stored: the planted checkpoint is rounded to that type before the victim gets it, and what the victim makes of it is
rounded again before it is read. Trained: float32, or products in bfloat16 with weights that stay float32. `rows` is
the length of the traps' weights: shorter ones are rounded more finely, and one step moves them more. A reading is
right if it is a record once rounded to grey levels; `error` is the median over right readings. The clean twin is
stored and trained alike. No seed is left out.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import ARMS, Table
from undertow.audits.datatrap.presets import preset
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.stored import keep
from undertow.engine.executor import Serial
from undertow.sources.records.trap_source import trap_source
from undertow.storage.store import DiskStore
from undertow.traps.capture import Captures
from undertow.types import BadInput, Params

STORED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TRAINED = ("float32", "bfloat16")
COUNTS = ("captured_exact", "captured_unique", "mixed", "none", "accepted")


def rounded(params: Params, stored: str) -> Params:
    """As a file of that type gives them back."""
    return {
        name: torch.as_tensor(value).to(STORED[stored]).float().numpy() if value.dtype.kind == "f" else value
        for name, value in params.items()
    }


def play(config: DataTrapConfig, stored: str, host: Host) -> tuple[Captures, dict[str, float | None]]:
    """One experiment with checkpoints of that type: what was captured, and the accuracy of both arms."""
    load, base = trap_source(config)
    table = Table(config, load(config.seed), host, base)
    store, clean = host.store, table.clean()
    planted = table.play([table.kit.plant], "base", clean)[0]
    starts = {a: keep(store, rounded(store.get(k), stored)) for a, k in zip(ARMS, (planted, clean), strict=True)}
    ends = {a: table.finetuned(key) for a, key in starts.items()}
    ends = {a: None if key is None else keep(store, rounded(store.get(key), stored)) for a, key in ends.items()}
    trap = table.kit.plant.trap(table.slot("base"), store.get(clean), store)
    try:
        found = table.read(trap, starts["planted"], ends["planted"])
    except BadInput:  # NaN or infinite weights, where the checkpoint's type has no room for them
        found, ends["planted"] = table.read(trap, starts["planted"], None), None
    judged = table.kit.judge(trap, store.get(starts["planted"]), found)
    return judged.captures, {a: None if key is None else table.accuracy(key) for a, key in ends.items()}


def line(seen: Captures, accuracy: dict[str, float | None]) -> Iterator[str]:
    """The cells of one experiment."""
    yield from (str(seen.counts[name]) for name in COUNTS)
    yield f"{int(seen.right[seen.accepted].sum())}" if seen.accepted.any() else "none"
    yield f"{int(seen.right.sum())}"
    yield f"{np.median(seen.error[seen.right]):.1e}" if seen.right.any() else ""
    yield "" if seen.max_error is None else f"{seen.max_error:.1e}"
    yield from ("diverged" if accuracy[arm] is None else f"{accuracy[arm]:.3f}" for arm in ARMS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="digits-mlp")
    parser.add_argument("--rows", type=float, nargs="+", default=[4.0, 0.3, 0.1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stored", nargs="+", choices=STORED, default=list(STORED))
    parser.add_argument("--trained", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--out", type=Path, default=Path("runs/traps"))
    options = parser.parse_args()
    host, config = Host(DiskStore(options.out), Serial()), preset(options.preset)
    columns = ("rows", "trained", "stored", "seed", *COUNTS, "accepted and right", "right", "error", "max_error", *ARMS)
    print(f"### `{options.preset}`, {config.traps.count} traps\n\n| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for rows in options.rows:
        for trained in options.trained:
            engine, traps = replace(config.engine, dtype=trained), replace(config.traps, rows=rows)
            for stored in options.stored:
                for seed in options.seeds:
                    one = replace(config, seed=seed, engine=engine, traps=traps)
                    cells = (f"{rows:g}", trained, stored, str(seed), *line(*play(one, stored, host)))
                    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
