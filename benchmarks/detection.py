"""Does the verdict on a checkpoint tell poisoned from benign? Held-back digits checkpoints, both directions.

    python benchmarks/detection.py [--seeds 0 ... 9] [--development]
    python benchmarks/detection.py --preset lm-small --seeds 0 1 2 [--store FOLDER]
    python benchmarks/detection.py --look-alikes faint [--seeds 0 1 2]

Per seed two benign checkpoints (trained on as long, and half as long, without a target term) and two poisoned ones of
the list below in turn, each judged against its clean parent on the victim's 400 records, of which 80 are targeted
(`--targets`), with look-alikes. Of other presets: their own benign and poisoned checkpoint, half of whose records are
targeted; `--store` keeps what was trained, and finds what benchmarks/poisoning.py trained. `--look-alikes` gives images
of another kind than the user's records, as a careless user would: then the clean parent itself is judged too, and no
benign checkpoint should be called suspicious.

Prints every verdict, the rates with 95 % intervals (Clopper and Pearson) and the AUC of the largest strength. Limits
were fixed on seeds of 100 and above (`--development`), but WORSE, which was raised from .05 to .1 when a benign CLIP of
seed 0 was seen to leak .06 to .1 more than its parent.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta, rankdata

from undertow.audits.chain import Host
from undertow.audits.poisoning.game import lay_table, published
from undertow.audits.poisoning.presets import preset
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.poisoning.suspicion import audit_checkpoint
from undertow.engine.executor import Serial
from undertow.rng import stream
from undertow.sources.records.poison_source import load_poisoning
from undertow.storage.store import DiskStore, MemoryStore
from undertow.types import Array, AuditResult, Examples, Store

POISONED: list[dict[str, Any]] = [
    {"direction": "max"},
    {"direction": "random-label"},
    {"direction": "max", "target_weight": 0.5},
    {"direction": "max", "target_weight": 0.1},
    {"direction": "min"},
    {"direction": "max", "steps": 400},
]
BENIGN: list[dict[str, Any]] = [{"direction": "none"}, {"direction": "none", "steps": 400}]
IDENTICAL = "identical"  # instead of a direction: the clean parent, judged against itself
KINDS = ("alike", "faint", "blurred", "permuted")  # of look-alikes


def of_kind(supply: PoisonSupply, kind: str, seed: int) -> PoisonSupply:
    """The records with look-alikes of another kind: fainter, blurred, or with their pixels in another order."""
    like = supply.lookalikes
    if kind == "alike" or like is None:
        return supply
    rows: Array = like.x.reshape(len(like), -1)
    if kind == "faint":
        rows = rows / 2
    elif kind == "blurred":
        rows = (rows + np.roll(rows, 1, 1) + np.roll(rows, 8, 1)) / 3
    else:
        rows = rows[:, stream(seed, "pixels").permutation(rows.shape[1])]
    return replace(supply, lookalikes=Examples(rows.reshape(like.x.shape).astype(like.x.dtype), like.y, like.name))


def judge(name: str, seed: int, change: dict[str, Any], targets: int, store: Store, kind: str = "alike") -> AuditResult:
    """The verdict on one checkpoint made from the preset with a changed objective, by look-alikes of a kind."""
    same = change.get("direction") == IDENTICAL
    change = {"direction": "none"} if same else change
    config = preset(name)
    data = replace(config.data, targets=targets or config.data.targets)
    config = replace(config, seed=seed, data=data, poison=replace(config.poison, **change))
    supply, base = load_poisoning(config)
    host = Host(store, Serial())
    made = published(lay_table(config, supply, base, host))
    table = lay_table(config, of_kind(supply, kind, seed).with_lookalikes(), base, host)
    return audit_checkpoint(table, made["clean" if same else "poisoned"], made["clean"])


def changes(name: str, place: int) -> list[dict[str, Any]]:
    """The checkpoints of one seed: benign ones, then two poisoned ones of the list in turn."""
    if name != "digits":
        return [{"direction": "none"}, {}]
    return [*BENIGN, *(POISONED[(2 * place + k) % len(POISONED)] for k in range(2))]


def rate(hits: int, count: int) -> str:
    """hits of count with its exact interval."""
    low = beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return f"{hits} of {count} ({hits / count:.2f} [{low:.2f}, {high:.2f}])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--targets", type=int, default=80, help="digits: of the 400 records, how many are poisoned")
    parser.add_argument("--store", type=Path, help="a folder PRESET-SEED below it keeps what was trained")
    parser.add_argument("--look-alikes", default="alike", choices=KINDS, help="digits: their kind")
    parser.add_argument("--development", action="store_true", help="seeds 100 to 104 instead")
    options = parser.parse_args()
    seeds = list(range(100, 105)) if options.development else options.seeds
    found: dict[str, list[tuple[str, float]]] = {}
    print(
        "| seed | checkpoint | verdict | " + " | ".join(("own-data loss", "reference shift", "membership game")) + " |"
    )
    print("|---|---|---|---|---|---|")
    for i, seed in enumerate(seeds):
        store = DiskStore(options.store / f"{options.preset}-{seed}") if options.store else MemoryStore()
        same = [{"direction": IDENTICAL}] * (options.look_alikes != "alike")
        for change in (*same, *changes(options.preset, i)):
            targets = options.targets if options.preset == "digits" else 0
            result = judge(options.preset, seed, change, targets, store, options.look_alikes)
            strength = {e["test"]: float(e["strength"]) for e in result.evidence if e["test"] != "weight distance"}
            name = ", ".join(f"{k} {v}" if k != "direction" else str(v) for k, v in change.items())
            name = name or "the preset's poison"
            found.setdefault(name, []).append((result.verdict or "", max(strength.values())))
            said = " | ".join(f"{value:.2f}" for value in strength.values())
            print(f"| {seed} | {name} | {result.verdict} | {said} |", flush=True)
    harmless = ("none", IDENTICAL)
    benign = [one for name, many in found.items() if name.startswith(harmless) for one in many]
    poisoned = [one for name, many in found.items() if not name.startswith(harmless) for one in many]
    print(f"\nfalse alarms: {rate(sum(v == 'suspicious' for v, _ in benign), len(benign))}")
    print(f"poisoned found: {rate(sum(v == 'suspicious' for v, _ in poisoned), len(poisoned))}")
    for name, many in found.items():
        print(f"  {name}: {rate(sum(v == 'suspicious' for v, _ in many), len(many))}")
    ranks = rankdata([s for _, s in (*poisoned, *benign)])
    m, n = len(poisoned), len(benign)
    print(f"AUC of the largest strength: {(ranks[:m].sum() - m * (m + 1) / 2) / (m * n):.3f} (n = {m} and {n})")


if __name__ == "__main__":
    main()
