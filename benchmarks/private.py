"""What private finetuning does for the *pretraining* data: TMI on the digits against the epsilon of the finetuning.

    python benchmarks/private.py [--seeds 0 1 2 3 4] [--epsilons 0 10 3 1 0.5]

Linear probe by DP-SGD (Poisson batches of 100 of 500 records, 12 epochs, clip 1, delta 1e-5), accounted by privacy loss
distributions; epsilon 0 stands for the same schedule without privacy. One pretrained ensemble per seed serves all.
AUC: mean ± standard deviation over seeds (95 % prediction interval of another seed).
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace

import numpy as np
from digits import spread

from undertow.audits.chain import Host
from undertow.audits.membership.presets import preset
from undertow.audits.membership.tmi import audit_tmi
from undertow.engine.executor import Serial
from undertow.sources.records.datasets import load_supply
from undertow.storage.store import MemoryStore
from undertow.training.privacy import Privacy
from undertow.training.schedule import Fit

ATTACKS = ("tmi", "tmi-lda", "adapted-lira-averaged", "confidence")
FIT = Fit(epochs=12, batch=100, lr=1.0, momentum=0.0, decay="constant")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0, 10, 3, 1, 0.5])
    options = parser.parse_args()
    stores = {seed: MemoryStore() for seed in options.seeds}
    print(f"| target | claimed | noise | accuracy | {' | '.join(ATTACKS)} |\n|---|---|---|---|{'---|' * len(ATTACKS)}")
    for epsilon in options.epsilons:
        results = []
        for seed, store in stores.items():
            config = replace(preset("tmi", "digits"), seed=seed, privacy=Privacy(epsilon=epsilon), finetune=FIT)
            config = replace(config, attacks=ATTACKS, control=False)
            supply = load_supply("tmi", config.data, seed)
            results.append(audit_tmi(config, supply, Host(store, Serial())))
        noise = results[0].environment.get("privacy")
        claimed = (f"{noise['epsilon']:.3f}", f"{noise['multiplier']:.2f}") if noise else ("none", "0")
        accuracy = np.mean([r.utility["finetuned model, accuracy on test records"] for r in results])
        auc = [[r.find(name, "auc").value for r in results] for name in ATTACKS]
        cells = [spread(values) for values in auc]
        target = f"{epsilon:g}" if epsilon else "not private"
        print(f"| {target} | {' | '.join(claimed)} | {accuracy:.3f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
