"""What the attacker must know of the finetuning: its rows, and its strategy. TMI on the digits.

    python benchmarks/knowledge.py [--seeds 0 1 2]

First table: the attacker's and the victims' finetuning rows are the same, draws of one pool, or disjoint. Second: how
the attacker finetunes its shadows against how the victims are finetuned. AUC of tmi-default and of the released recipe:
mean over seeds [95 % interval over models drawn again within each seed]. One pretrained ensemble per seed serves all.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace

from undertow.audits.chain import Host
from undertow.audits.membership.presets import preset
from undertow.audits.membership.tmi import audit_tmi
from undertow.audits.settings import LeakageConfig
from undertow.engine.executor import Serial
from undertow.metrics import mean_over_runs
from undertow.sources.records.datasets import load_supply
from undertow.storage.store import MemoryStore

ATTACKS = ("tmi-default", "tmi")
STRATEGIES = ("linear", "last-k", "full")


def cells(config: LeakageConfig, stores: dict[int, MemoryStore]) -> str:
    """AUC of both attacks over the seeds."""
    runs = []
    for seed, store in stores.items():
        one = replace(config, seed=seed, control=False, attacks=ATTACKS)
        runs.append(audit_tmi(one, load_supply("tmi", one.data, seed), Host(store, Serial())))
    found = []
    for attack in ATTACKS:
        scores = [s for r in runs for s in r.scores if s.attack == attack]
        row = mean_over_runs(scores, fprs=())[0]
        found.append(f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]")
    return " | ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    stores = {seed: MemoryStore() for seed in options.seeds}
    base = preset("tmi", "digits")
    print(f"seeds {', '.join(map(str, options.seeds))}\n\n| finetuning rows | {' | '.join(ATTACKS)} |\n|---|---|---|")
    for relation in ("same", "subset", "disjoint"):
        config = replace(base, data=replace(base.data, relation=relation))
        print(f"| {relation} | {cells(config, stores)} |", flush=True)
    print(f"\n| shadows by | victims by | {' | '.join(ATTACKS)} |\n|---|---|---|---|")
    for attacker in STRATEGIES:
        for victim in STRATEGIES:
            config = replace(base, strategy=attacker, victim_strategy=victim)
            print(f"| {attacker} | {victim} | {cells(config, stores)} |", flush=True)


if __name__ == "__main__":
    main()
