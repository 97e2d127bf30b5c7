"""What leaks through finetuning, for every pair of datasets and every strategy, as docs/results.md keeps it.

    python benchmarks/pairs.py --data DIR [--pairs ...] [--strategies ...] [--seeds 0 1 2 3 4] [--out runs/pairs]

One row per pair and strategy: AUC, TPR@1% and TPR@0.1%, each the mean over seeds with a 95 % interval (models drawn
again within each seed). `linear` runs on all seeds, the other strategies on the first two, from the same pretrained
models. No seed is left out. A finished run is read again from --out, so the command resumes.
"""

import argparse
import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace
from pathlib import Path

import numpy as np

from undertow.attacks.catalog import ATTACKS
from undertow.audits.membership.presets import PAIRS, preset
from undertow.audits.membership.tmi import CONTROL
from undertow.metrics import difference, mean_over_runs
from undertow.storage.results import load_result
from undertow.types import AuditResult, Scores
from undertow.workflows.audit import Request, run_audit
from undertow.workflows.leakage import TMI

STRATEGIES = ("linear", "last-k", "full", "lora", "dp")
OURS, RELEASED = "tmi-default", "tmi"
COLUMNS = (OURS, RELEASED, "tmi-lda", "adapted-lira", "adapted-lira-averaged")


def run(pair: str, strategy: str, seed: int, options: argparse.Namespace) -> AuditResult:
    """The audit of one row at one seed, or what it left behind."""
    out = options.out / f"{pair}-{strategy}" / f"seed-{seed}"
    if not (out / "result.json").is_file():
        config = preset("tmi", f"{pair}-{strategy}-{options.budget}")
        config = replace(config, seed=seed, data=replace(config.data, source=str(options.data)))
        store = options.out / "store" / f"{pair.split('-')[0]}-{seed}"  # one pretrained ensemble for all strategies
        run_audit(TMI, config, Request(out, store, options.workers))
    return load_result(out)


def scores(results: list[AuditResult], attack: str, group: str | None = None) -> list[Scores]:
    """The scores of one attack in every run."""
    return [next(s for s in r.scores if (s.attack, s.group) == (attack, group)) for r in results]


def cell(results: list[AuditResult], attack: str, group: str | None = None) -> list[str]:
    """AUC, TPR@1% and TPR@0.1% as text: value [low, high]."""
    rows = mean_over_runs(scores(results, attack, group))
    return [f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in rows]


def best(results: list[AuditResult], kind: str, metric: str = "auc") -> str:
    """The attack of this kind with the largest mean AUC: chosen after the fact, so it flatters the baseline."""
    names = [m.attack for m in results[0].measurements if m.metric == metric and ATTACKS[m.attack].kind == kind]
    return max(names, key=lambda name: np.mean([r.find(name, metric).value for r in results]))


def table(results: list[AuditResult]) -> list[str]:
    """The lines of one pair and strategy."""
    baseline = best(results, "baseline")
    lines = ["| attack | AUC | TPR@1% | TPR@0.1% |", "|---|---|---|---|"]
    for name in (*COLUMNS, baseline, "blind", "direct-lira"):
        title = f"{name} (best without shadows)" if name == baseline else name
        lines.append(f"| {title} | {' | '.join(cell(results, name))} |")
    for name in (OURS, RELEASED):
        lines.append(f"| {name}, no pretraining | {' | '.join(cell(results, name, CONTROL))} |")
    return lines


def compared(results: list[AuditResult]) -> list[str]:
    """tmi-default less every rival, paired: AUC difference with its interval, and whether it is significant."""
    lines = []
    for rival in (RELEASED, "adapted-lira", "adapted-lira-averaged", "tmi-lda"):
        row = difference(scores(results, OURS), scores(results, rival), fprs=())[0]
        verdict = "better" if row.low > 0 else "worse" if row.high < 0 else "no significant difference"
        lines.append(f"{OURS} - {rival}: {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}], {verdict}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS))
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--budget", default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"))
    options = parser.parse_args()
    for strategy in options.strategies:
        for pair in options.pairs:
            start = time.perf_counter()
            seeds = options.seeds if strategy == "linear" else options.seeds[:2]
            results = [run(pair, strategy, seed, options) for seed in seeds]
            minutes = (time.perf_counter() - start) / 60
            print(f"\n### `{pair}-{strategy}-{options.budget}`, seeds {', '.join(map(str, seeds))}\n")
            print("\n".join(table(results)))
            for what in results[0].utility:
                print(f"\n{what}: {np.mean([r.utility[what] for r in results]):.3f}")
            epsilon = {m.epsilon for r in results for m in r.measurements} - {None}
            if epsilon:
                print(f"\nepsilon, as accounted: {max(epsilon):.3f}")
            print("\n" + "; ".join(compared(results)) + f".\n\n{minutes:.1f} minutes in all, read or run.", flush=True)


if __name__ == "__main__":
    main()
