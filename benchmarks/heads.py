"""How much passes through a linear head, by how long the head is trained: for every pair of datasets, with a picture.

    python benchmarks/heads.py --data DIR [--pairs ...] [--epochs 1 5 20 80] [--seeds 0 1] [--out runs/pairs]

The `small` preset of each pair, linear probe, all else equal; one pretrained ensemble per seed serves all lengths (and
benchmarks/pairs.py). AUC of tmi-default: mean over seeds, 95 % interval over models drawn again within each seed.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace
from pathlib import Path

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.membership.presets import PAIRS, preset
from undertow.audits.membership.tmi import audit_tmi
from undertow.engine.executor import choose_executor
from undertow.metrics import mean_over_runs
from undertow.sources.records.datasets import load_supply
from undertow.storage.run import open_store
from undertow.types import AuditResult, Measurement

ATTACK = "tmi-default"
PICTURE = Path("docs/leak-by-head.svg")


def run(pair: str, epochs: int, seed: int, options: argparse.Namespace) -> AuditResult:
    """One audit without its control: the head is trained for so many epochs."""
    config = preset("tmi", f"{pair}-linear-small")
    data = replace(config.data, source=str(options.data))
    config = replace(config, seed=seed, data=data, control=False, attacks=(ATTACK, "direct-lira"))
    config = replace(config, finetune=replace(config.finetune, epochs=epochs))
    store = open_store(options.out / "store" / f"{pair.split('-')[0]}-{seed}")
    return audit_tmi(config, load_supply("tmi", config.data, seed), Host(store, choose_executor(options.workers)))


def auc(results: list[AuditResult]) -> Measurement:
    """Mean AUC over the seeds."""
    return mean_over_runs([s for r in results for s in r.scores if s.attack == ATTACK])[0]


def draw(curves: dict[str, list[Measurement]], epochs: list[int], path: Path) -> None:
    """AUC against the epochs of the head, one curve with its interval per pair."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "undertow"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for pair, rows in curves.items():
        value = np.array([row.value for row in rows])
        reach = np.abs(np.array([[row.low for row in rows], [row.high for row in rows]]) - value)
        axes.errorbar(epochs, value, reach, marker="o", capsize=3, label=pair)
    axes.axhline(0.5, color="grey", linewidth=1, linestyle=":")
    axes.set(xscale="log", xlabel="epochs the head is trained", ylabel=f"AUC of {ATTACK}")
    axes.set_xticks(epochs, [str(e) for e in epochs])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", default=[p for p in PAIRS if not p.startswith("wikitext2")])
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 5, 20, 80])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"))
    options = parser.parse_args()
    curves: dict[str, list[Measurement]] = {}
    print(f"seeds {', '.join(map(str, options.seeds))}\n")
    print(f"| pair | epochs | AUC of {ATTACK} | accuracy |\n|---|---|---|---|")
    for pair in options.pairs:
        for epochs in options.epochs:
            results = [run(pair, epochs, seed, options) for seed in options.seeds]
            row = auc(results)
            curves.setdefault(pair, []).append(row)
            accuracy = np.mean([r.utility["finetuned model, accuracy on test records"] for r in results])
            print(
                f"| {pair} | {epochs} | {row.value:.3f} [{row.low:.3f}, {row.high:.3f}] | {accuracy:.3f} |", flush=True
            )
    draw(curves, options.epochs, PICTURE)


if __name__ == "__main__":
    main()
