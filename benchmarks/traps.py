"""Data traps in dense layers: what is captured at every seed, as docs/results.md keeps it.

    python benchmarks/traps.py [--presets digits-mlp digits-momentum digits-adamw] [--seeds 8] [--data DIR] [--out DIR]

The same as `undertow audit datatrap --preset P --seeds 8`, with one line per seed. No seed is left out.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace
from itertools import product
from pathlib import Path

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import audit_datatrap
from undertow.audits.datatrap.presets import preset
from undertow.engine.executor import Serial
from undertow.sources.records.trap_source import trap_source
from undertow.storage.store import DiskStore
from undertow.types import Measurement

COLUMNS = ("captured_exact", "captured_unique", "mixed", "none", "accepted", "accepted_precision", "max_error",
           "similar_unique", "ssim", "psnr", "token_accuracy", "rouge_l", "identified", "identified_blind")  # fmt: skip
ARMS = ("planted", "clean_twin")


SHARES = ("accuracy", "accepted_precision", "ssim", "token_accuracy", "rouge_l")


def cell(row: Measurement) -> str:
    """One number; a mean with its interval."""
    if row.value is None:
        return row.reason or ""
    mean = row.seed == "mean"
    form = ".1e" if row.metric == "max_error" else ".3f" if row.metric in SHARES else ".1f" if mean else ".0f"
    sure = "" if row.low is None or not mean else f" [{row.low:{form}}, {row.high:{form}}]"
    return f"{row.value:{form}}{sure}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits-mlp", "digits-momentum", "digits-adamw"])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="of a BERT or a ViT, for presets that need one")
    parser.add_argument("--out", type=Path, default=Path("runs/traps"))
    parser.add_argument("--lora-rank", type=int, nargs="+", default=[0], help="of victims that train LoRA; 0: preset's")
    options = parser.parse_args()
    for name, rank in product(options.presets, options.lora_rank):
        config = replace(preset(name), seed=options.first, seeds=options.seeds)
        config = replace(config, lora_rank=rank or config.lora_rank)
        if options.data:
            config = replace(config, data=replace(config.data, folder=str(options.data)))
        if options.checkpoint:
            config = replace(config, model=replace(config.model, checkpoint=str(options.checkpoint)))
        load, base = trap_source(config)
        result, _ = audit_datatrap(config, load, Host(DiskStore(options.out), Serial()), base)
        known = {(m.metric, m.group, m.when, m.seed): m for m in result.measurements}
        columns = [(metric, None, None) for metric in COLUMNS] + [("accepted", "clean_twin", None)]
        columns += [("accuracy", arm, when) for when in ("before", "after") for arm in ARMS]
        columns = [c for c in columns if (*c, config.seed) in known]
        print(f"\n### `{name}`, {config.traps.count} traps{f', rank {rank}' * bool(rank)}\n")
        print(f"| seed | {' | '.join(' '.join(filter(None, c)) for c in columns)} |")
        print("|---" * (len(columns) + 1) + "|")
        for seed in [*range(config.seed, config.seed + config.seeds), *["mean"] * (config.seeds > 1)]:
            rows = [known.get((*c, seed)) for c in columns]
            print(f"| {seed} | {' | '.join('' if row is None else cell(row) for row in rows)} |", flush=True)
        if config.seeds > 1:
            broken = result.find("datatrap", "collapsed", seed="mean")
            print(f"\nfinetunings that broke down: {broken.value:.0f} of {broken.n}", flush=True)


if __name__ == "__main__":
    main()
