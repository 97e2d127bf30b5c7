"""Cleaning trapped checkpoints: records copied and accuracy, before and after.

    python benchmarks/clean.py [--presets digits-mlp digits-momentum digits-adamw] [--seeds 8] [--how reinit]

Per seed: a checkpoint is pretrained and trapped, `undertow clean` writes a new one from what the scan alone says, and
the victim finetunes all three (trapped, cleaned, clean twin) with the same fresh head and batches. Accepted: readings
that the attacker's own tests take for a record. Copied: traps that hold a record exactly, read with the attacker's key.
Any unit: units of the trapped layer that hold one record exactly, found without a key (scanner.held). No seed is left
out.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.audits.stored import keep
from undertow.engine.executor import Serial
from undertow.scanner.held import Watched, held
from undertow.storage.checkpoints.files import read_checkpoint, write_checkpoint
from undertow.storage.data.trap_data import load_traps
from undertow.storage.store import MemoryStore
from undertow.traps import MlpTrap, captures, read
from undertow.workflows.clean import clean_checkpoint

COLUMNS = (
    "seed", "verdict before", "after", "accepted before", "after", "copied before", "after", "any unit before", "after",
    "accuracy trapped", "cleaned", "twin",
)  # fmt: skip


class Unaided(MlpTrap):
    """The key without its idle unit, which `clean` has edited: weight decay is not taken out of what is read."""

    def recorder(self, units):
        return replace(super().recorder(units), idle=None)


def judged(table, trap, before):
    """(accepted readings, copied, units that hold one record, accuracy) after the victim finetuned `before`."""
    key = table.finetuned(keep(table.host.store, before))
    if key is None:
        return 0, 0, 0, float("nan")
    after = table.host.store.get(key)
    found = read(before, after, trap)
    truth = table.kit.plant.inputs(before, table.supply.victim.x)
    copied = captures(found, truth, grid=trap.domain.grid)
    name = f"{trap.layer}.weight"
    old, new = (np.asarray(p[name], np.float64) for p in (before, after))
    # The last epoch is not seen here: what moved is compared with the records whether it has stopped or not.
    layer = Watched(name, (old, new, new), np.asarray(before[f"{trap.layer}.bias"], np.float64))
    units = len(held(layer, truth, np.arange(len(truth))))
    return int(found.accepted.sum()), copied.counts["captured_exact"], units, table.accuracy(key)


def one_seed(config, data, how, folder):
    supply = load_traps(data, config.seed)
    table = Table(replace(config, data=data), supply, Host(MemoryStore(), Serial()))
    clean = table.clean()
    planted = table.host.store.get(table.play([table.kit.plant], "base", clean)[0])
    trap = table.kit.plant.trap(table.slot("base"), table.host.store.get(clean), table.host.store)
    source, out = folder / f"{config.seed}.safetensors", folder / f"{config.seed}-clean.safetensors"
    write_checkpoint(source, planted, {})
    parent = folder / f"{config.seed}-parent.safetensors"
    write_checkpoint(parent, table.host.store.get(clean), {})
    report = clean_checkpoint(source, out, how=how, parent=parent if how == "average" else None)
    unaided = Unaided(**{field.name: getattr(trap, field.name) for field in fields(trap)})
    old, new = judged(table, trap, planted), judged(table, unaided, read_checkpoint(out)[0])
    twin = table.accuracy(table.finetuned(clean))
    counts = [value for pair in zip(old[:3], new[:3], strict=True) for value in pair]
    return [config.seed, report.before.verdict, report.after.verdict, *counts, old[3], new[3], twin]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits-mlp", "digits-momentum", "digits-adamw"])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--how", default="reinit")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    for name in options.presets:
        config = preset(name)
        data = replace(config.data, folder=str(options.data)) if options.data else config.data
        print(f"\n### `{name}`, {options.how}\n\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(options.first, options.first + options.seeds):
                rows.append(one_seed(replace(config, seed=seed), data, options.how, Path(folder)))
                print(f"| {' | '.join(f'{x:.3f}' if isinstance(x, float) else str(x) for x in rows[-1])} |", flush=True)
        sums = np.array([row[3:] for row in rows], float)
        less = [1 - after / before if before else float("nan") for before, after in sums[:, :6].sum(0).reshape(3, 2)]
        print(
            f"\nfewer readings accepted {less[0]:.1%}, records copied {less[1]:.1%}, units that hold a record "
            f"{less[2]:.1%}; accuracy cleaned less twin {np.mean(sums[:, 7] - sums[:, 8]):+.3f} "
            f"(lowest {np.min(sums[:, 7] - sums[:, 8]):+.3f})"
        )


if __name__ == "__main__":
    main()
