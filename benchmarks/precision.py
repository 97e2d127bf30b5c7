"""Does bfloat16 pay, and do the scores stay: TMI with products in bfloat16 against float32, same seeds.

    python benchmarks/precision.py [--presets digits ...] [--data DIR] [--seeds 0 1]
    python benchmarks/precision.py --only-times --data DIR --presets cifar100-coarse-full-small

Seconds per model-step of pretraining and finetuning, as the probe saw them (best of three, each engine's best), and
AUC in float32 and the difference in bfloat16 (paired on the same victims; 95 % interval over models drawn again).
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace
from pathlib import Path

from undertow.audits.chain import Host, Workshop
from undertow.audits.membership.presets import preset
from undertow.audits.membership.tmi import audit_tmi, lay_table
from undertow.audits.settings import LeakageConfig
from undertow.engine.executor import Serial
from undertow.metrics import difference, mean_over_runs
from undertow.sources.records.datasets import load_supply
from undertow.storage.run import open_store
from undertow.storage.store import MemoryStore
from undertow.types import AuditResult, Store

DTYPES = ("float32", "bfloat16")
STAGES = ("pretrain", "finetune")
ATTACKS = ("tmi-default", "tmi", "direct-lira")


def configured(name: str, dtype: str, seed: int, options: argparse.Namespace) -> LeakageConfig:
    """The preset without its control, in one precision."""
    config = preset("tmi", name)
    data = replace(config.data, source=str(options.data)) if options.data and name != "digits" else config.data
    engine = replace(config.engine, dtype=dtype)
    return replace(config, seed=seed, data=data, engine=engine, control=False, attacks=ATTACKS)


def run(name: str, dtype: str, seed: int, options: argparse.Namespace) -> AuditResult:
    """One audit."""
    config = configured(name, dtype, seed, options)
    store: Store = (
        MemoryStore() if options.store is None else open_store(options.store / f"{name.split('-')[0]}-{seed}")
    )
    return audit_tmi(config, load_supply("tmi", config.data, seed), Host(store, Serial()))


def times(name: str, options: argparse.Namespace) -> None:
    """What the probe sees of pretraining and finetuning, best over the seeds."""
    best: dict[tuple[str, str], float] = {}
    for seed in options.seeds:
        for dtype in DTYPES:
            config = configured(name, dtype, seed, options)
            game = lay_table(Workshop(config, load_supply("tmi", config.data, seed), Host(MemoryStore(), Serial())))
            for stage in STAGES:
                found = min(game.engines[stage].seconds.values())
                best[stage, dtype] = min(found, best.get((stage, dtype), found))
    for stage in STAGES:
        full, half = (best[stage, dtype] for dtype in DTYPES)
        print(f"  {stage}: {full * 1e3:.2f} ms per model-step in float32, {full / half:.2f}x as fast in bfloat16")


def scores(name: str, options: argparse.Namespace) -> None:
    """AUC in float32, and what bfloat16 changes."""
    runs = {dtype: [run(name, dtype, seed, options) for seed in options.seeds] for dtype in DTYPES}
    for attack in ATTACKS:
        full, half = ([s for r in results for s in r.scores if s.attack == attack] for results in runs.values())
        auc, change = mean_over_runs(full, fprs=())[0], difference(half, full, fprs=())[0]
        print(
            f"  {attack}: AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}] in float32; "
            f"bfloat16 less float32 {change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--store", type=Path, help="as of benchmarks/pairs.py: finished models are not made again")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only-times", action="store_true")
    options = parser.parse_args()
    print(f"seeds {', '.join(map(str, options.seeds))}")
    for name in options.presets:
        print(f"\n{name}")
        times(name, options)
        if not options.only_times:
            scores(name, options)


if __name__ == "__main__":
    main()
