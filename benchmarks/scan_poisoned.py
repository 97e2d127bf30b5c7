"""Does `undertow scan` see checkpoints poisoned for membership (Wen et al. 2024)? Mostly not, and this says how little.

    python benchmarks/scan_poisoned.py [--seeds 0 1 2 3 4 5]

The arms of `undertow audit poisoning` on the digits: the clean checkpoint, one trained on without poison, the poisoned
one. Flagged alone and against the clean parent; size, rank and row profile of the difference to the parent, with the
AUC by which each tells poisoned from benign training on.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace

import numpy as np
from scan import share

from undertow.audits.chain import Host
from undertow.audits.poisoning.game import lay_table, published
from undertow.audits.poisoning.presets import preset
from undertow.engine.executor import Serial
from undertow.scanner import inspect, of_arrays
from undertow.scanner.difference import difference
from undertow.sources.records.poison_source import load_poisoning
from undertow.storage.store import MemoryStore
from undertow.types import Params

SEEN = ("relative size", "first layer's share", "largest row over median")


def profile(params: Params, parent: Params) -> tuple[float, ...]:
    """What the difference shows: its size, how it lies over the layers, how over the rows."""
    ours, theirs = of_arrays(params), of_arrays(parent)
    found = [difference(ours[name], theirs[name]) for name in params if params[name].ndim == 2]
    size = [float(np.sqrt((one.rows**2).sum())) for one in found]
    moved = np.concatenate([one.rows / one.parent for one in found])
    return float(np.mean([one.size for one in found])), size[0] / sum(size), float(moved.max() / np.median(moved))


def auc(poisoned: list[float], benign: list[float]) -> float:
    """The chance that a poisoned one shows more than a benign one."""
    above = [(a > b) + (a == b) / 2 for a in poisoned for b in benign]
    return float(np.mean(above))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(6)))
    options = parser.parse_args()
    flagged: dict[str, list[bool]] = {}
    seen: dict[str, list[tuple[float, ...]]] = {}
    for seed in options.seeds:
        config = replace(preset("digits"), seed=seed)
        host = Host(MemoryStore(), Serial())
        supply, base = load_poisoning(config)
        arms = {name: host.store.get(key) for name, key in published(lay_table(config, supply, base, host)).items()}
        parent = arms["clean"]
        for name, params in arms.items():
            for against in (None, parent):
                found = inspect(of_arrays(params), parent=of_arrays(against) if against else None).findings
                where = f"{name}, {'alone' if against is None else 'with the parent'}"
                bad = [one for one in found if one.severity != "info" and one.kind != "dead-layer"]
                flagged.setdefault(where, []).append(bool(bad))
            if params is not parent:
                seen.setdefault(name, []).append(profile(params, parent))
    print("| checkpoint | anything above info |\n|---|---|")
    for where, hits in flagged.items():
        print(f"| {where} | {share(sum(hits), len(hits))} |")
    benign, poisoned = list(seen.values())
    print("\n| of the difference | benign training on | poisoned | AUC |\n|---|---|---|---|")
    for i, what in enumerate(SEEN):
        one, other = ([row[i] for row in rows] for rows in (benign, poisoned))
        print(f"| {what} | {np.mean(one):.3g} | {np.mean(other):.3g} | {auc(other, one):.2f} |")


if __name__ == "__main__":
    main()
