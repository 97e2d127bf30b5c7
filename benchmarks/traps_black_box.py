"""Black-box membership of a chosen record through a trap of its own, as docs/results.md keeps it.

    python benchmarks/traps_black_box.py [--trials 200] [--seed 0]

Every trial: a record of the digits is chosen, a trap for it is planted, a coin decides whether the victim has it (else
another record is in its place), the model is finetuned with a fresh head, and one query decides by a threshold that was
fixed beforehand. TPR and FPR with Clopper and Pearson's intervals over trials.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.kit import sequential_plan
from undertow.audits.datatrap.presets import preset
from undertow.audits.poisoning.worth import proportion
from undertow.engine.executor import Serial
from undertow.rng import stream
from undertow.sources.records.trap_data import load_traps
from undertow.stages.plant import trapped_layers
from undertow.stages.query import Query
from undertow.storage.store import MemoryStore
from undertow.traps import plant
from undertow.traps.dense.black_box import OPEN, membership_trap, open_score
from undertow.types import Array, Examples, Slot

SHOWN = 100  # auxiliary records whose answers the chosen one's is compared with


def trial(table: Table, base: dict[str, Array], index: int, member: bool) -> tuple[float, float]:
    """The score of one trial, and the finetuned model's accuracy on test records."""
    supply, config, store = table.supply, table.config, MemoryStore()
    record, spare = supply.victim.x[index % len(supply.victim)], supply.test.x[index % len(supply.test)]
    x, y = supply.victim.x.copy(), supply.victim.y.copy()
    if not member:
        place = index % len(supply.victim)
        x[place], y[place] = spare, supply.test.y[index % len(supply.test)]
    layer, following = trapped_layers(table.kit.architecture.build(supply.shape, supply.classes))
    rate = config.finetune.lr / config.finetune.batch
    trap = membership_trap(base, supply.auxiliary.x, record, layer=layer, following=following, rate=rate)
    own = Table(config, replace(supply, victim=Examples(x, y, supply.name)), Host(store, Serial()))
    slot = Slot("victim", index, config.seed, None)
    state = own.kit.finetune([slot], [plant(base, trap)], store)[0]
    asked = np.concatenate([record[None], supply.auxiliary.x[:SHOWN]])[:, None]
    store.put("views", {"x": asked})
    store.put("test", {"x": supply.test.x, "y": supply.test.y})
    query = Query("views", "test", own.kit.architecture, supply.shape, supply.classes, sequential_plan(config))
    answers = query([slot], [state], store)[0]
    return open_score(answers["logits"][0, 0], answers["logits"][1:, 0]), float(answers["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = replace(preset("digits-mlp"), seed=options.seed)
    table = Table(config, load_traps(config.data, options.seed), Host(MemoryStore(), Serial()))
    key = table.clean()
    base = table.host.store.get(key)
    member = stream(options.seed, "black box", "coins").random(options.trials) < 0.5
    found = np.array([trial(table, base, i, bool(one)) for i, one in enumerate(member)])
    said = found[:, 0] > OPEN
    tpr, fpr = (
        proportion(int(said[member].sum()), int(member.sum())),
        proportion(int(said[~member].sum()), int((~member).sum())),
    )
    for name, row, n in (("TPR", tpr, member.sum()), ("FPR", fpr, (~member).sum())):
        print(f"{name} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] of {n} trials")
    print(
        f"score of members: median {np.median(found[member, 0]):.2f}; of the others {np.median(found[~member, 0]):.1f}"
    )
    print(f"accuracy after finetuning: {found[:, 1].mean():.3f}, lowest {found[:, 1].min():.3f}")


if __name__ == "__main__":
    main()
