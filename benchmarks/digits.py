"""The embedded default over several seeds: mean and spread of every attack, as docs/results.md keeps them.

    python benchmarks/digits.py [--seeds 0 1 2 3 4] [--audit tmi|mia]

One row per attack: AUC and TPR@1% as mean over seeds, standard deviation over seeds, and the interval in which another
seed falls with probability 95 % (a prediction interval; it takes seeds as roughly normal). A seed decides everything:
which records, which memberships, which models. No seed is left out.
"""

import argparse
import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.membership.mia import audit_mia
from undertow.audits.membership.presets import preset
from undertow.audits.membership.tmi import audit_tmi
from undertow.engine.executor import Serial
from undertow.metrics.student import prediction_interval
from undertow.sources.records.datasets import load_supply
from undertow.storage.store import MemoryStore
from undertow.types import AuditResult


def run(audit: str, seed: int) -> AuditResult:
    """One audit of the digits preset, in memory."""
    config = replace(preset(audit, "digits"), seed=seed)
    supply = load_supply(audit, config.data, seed)
    return {"tmi": audit_tmi, "mia": audit_mia}[audit](config, supply, Host(MemoryStore(), Serial()))


def spread(values: list[float]) -> str:
    """mean ± standard deviation (95 % prediction interval of another seed, within 0 to 1); one seed: its value."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    new = prediction_interval(np.array(values))
    low, high = max(0.0, new["low"]), min(1.0, new["high"])
    return f"{new['value']:.3f} ± {np.std(values, ddof=1):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--audit", choices=["tmi", "mia"], nargs="+", default=["tmi", "mia"])
    options = parser.parse_args()
    for audit in options.audit:
        start = time.perf_counter()
        results = [run(audit, seed) for seed in options.seeds]
        print(f"\n### `{audit}`, digits, seeds {', '.join(map(str, options.seeds))}\n")
        print("| attack | AUC | TPR@1% | AUC at each seed [95 % interval] |\n|---|---|---|---|")
        for row in [m for m in (*results[0].measurements, *results[0].controls) if m.metric == "auc" and m.at is None]:
            auc = [r.find(row.attack, "auc", None, row.group) for r in results]
            tpr = [r.find(row.attack, "tpr", 0.01, row.group).value for r in results]
            each = "; ".join(f"{a.value:.3f} [{a.low:.3f}, {a.high:.3f}]" for a in auc)
            name = f"{row.attack} ({row.group})" if row.group else row.attack
            print(f"| {name} | {spread([a.value for a in auc])} | {spread(tpr)} | {each} |")
        for what in results[0].utility:
            print(f"\n{what}: {spread([r.utility[what] for r in results])}")
        print(f"\n{(time.perf_counter() - start) / len(results):.0f} s per seed on this machine, one thread.")


if __name__ == "__main__":
    main()
