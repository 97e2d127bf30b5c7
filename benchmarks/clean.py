"""Cleaning trapped checkpoints: records copied and accuracy, before and after `undertow clean`.

    python benchmarks/clean.py [--presets digits-mlp digits-momentum digits-adamw] [--seeds 8] [--how reinit]
    python benchmarks/clean.py --presets vit vit-image --parent
    python benchmarks/clean.py --presets bert bert-banking77 --checkpoint FOLDER --data DIR --parent

Per seed: a checkpoint is pretrained (or is the one in FOLDER) and trapped, `undertow clean` writes a new one from what
the scan alone says, and the victim finetunes all of them (trapped, cleaned, clean twin) with the same fresh head and
batches. Accepted: readings that the attacker's own tests take for a record. Copied: traps that hold a record exactly,
read with the attacker's key. Any unit (dense presets): units of the trapped layer that hold one record exactly, found
without a key (scanner.held). --parent: cleaned once more, with the untrapped checkpoint as trusted parent; "as twin"
where that gave the untrapped one back bit for bit. No seed is left out.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import json
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from prove import settings

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.rows import COLLAPSE
from undertow.audits.stored import keep
from undertow.engine.executor import Serial
from undertow.models.huggingface import HuggingFace
from undertow.scanner.held import Watched, held
from undertow.sources.checkpoints.files import read_checkpoint, write_checkpoint
from undertow.sources.records.trap_source import trap_source
from undertow.stages.plant_transformer import wrapped
from undertow.storage.store import MemoryStore
from undertow.traps import MlpTrap, read
from undertow.types import BadInput
from undertow.workflows.clean import clean_checkpoint

COLUMNS = ("seed", "weights", "scan", "accepted", "copied", "any unit", "accuracy", "less twin")


@dataclass(frozen=True)
class Left:
    """What a finetuning of one checkpoint leaves."""

    scan: str
    accepted: int
    copied: int
    units: int | None
    accuracy: float


def unaided(trap):
    """The key without its idle unit, which `clean` has edited: weight decay is not taken out of what is read."""
    kind = type(trap)
    if isinstance(trap, MlpTrap):

        class Unaided(kind):
            def recorder(self, units):
                return replace(super().recorder(units), idle=None)
    else:

        class Unaided(kind):
            @property
            def recorder(self):
                return replace(super().recorder, idle=None)

    return Unaided(**{field.name: getattr(trap, field.name) for field in fields(trap)})


def left(table, trap, start, scan):
    """What the victim's finetuning of `start` (as the store has it) leaves in the traps."""
    key = table.finetuned(keep(table.host.store, start))
    if key is None:
        return Left(scan, 0, 0, None, float("nan"))
    kit, after = table.kit, table.host.store.get(key)
    before = kit.named(start)
    try:
        found = kit.judge(trap, before, read(before, kit.named(after), trap)).captures
        accepted, copied = int(found.accepted.sum()), found.counts["captured_exact"]
    except BadInput as error:
        print(f"seed {table.config.seed}: {error}")
        accepted = copied = 0
    units = copies(table, trap, before, after) if isinstance(trap, MlpTrap) else None
    return Left(scan, accepted, copied, units, table.accuracy(key))


def copies(table, trap, before, after):
    """Units of the trapped layer that hold one record, by nobody's key."""
    name = f"{trap.layer}.weight"
    old, new = (np.asarray(p[name], np.float64) for p in (before, after))
    # The last epoch is not seen here: what moved is compared with the records whether it has stopped or not.
    layer = Watched(name, (old, new, new), np.asarray(before[f"{trap.layer}.bias"], np.float64))
    truth = table.kit.plant.inputs(before, table.supply.victim.x)
    return len(held(layer, truth, np.arange(len(truth))))


def saved(folder, params, architecture, shape):
    """A checkpoint as it is published: with its config.json, where it has one."""
    folder.mkdir()
    write_checkpoint(folder / "model.safetensors", params, {})
    if isinstance(architecture, HuggingFace):
        config = json.loads(architecture.config)
        config |= {"image_size": shape[1], "num_channels": shape[0]} if config["model_type"] == "vit" else {}
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def one_seed(config, options):
    """The twin's accuracy, and what is left of each kind of weights."""
    load, base = trap_source(config)
    supply = load(config.seed)
    table = Table(config, supply, Host(MemoryStore(), Serial()), base)
    kit, store, key = table.kit, table.host.store, table.clean()
    clean, planted = store.get(key), store.get(table.play([kit.plant], "base", key)[0])
    trap = kit.plant.trap(table.slot("base"), clean, store)
    twin = table.accuracy(table.finetuned(key))
    arms = {}
    with tempfile.TemporaryDirectory() as folder:
        trusted = saved(Path(folder) / "parent", kit.named(clean), kit.architecture, supply.shape)
        source = saved(Path(folder) / "trapped", kit.named(planted), kit.architecture, supply.shape)
        for kind in ("cleaned", *["cleaned with parent"] * options.parent):
            parent = trusted if "parent" in kind or options.how == "average" else None
            out = Path(folder) / kind.replace(" ", "-")
            report = clean_checkpoint(source, out, how=options.how, parent=parent)
            params = read_checkpoint(out / "model.safetensors")[0]
            params = wrapped(params) if isinstance(kit.architecture, HuggingFace) else params
            same = " (as twin)" * all(np.array_equal(params[n], v) for n, v in clean.items())
            arms[kind + same] = left(table, unaided(trap), params, report.after.verdict)
    return twin, {"trapped": left(table, trap, planted, report.before.verdict), **arms}


def line(seed, kind, found, twin):
    cells = [seed, kind, found.scan, found.accepted, found.copied, "" if found.units is None else found.units]
    return f"| {' | '.join(map(str, cells))} | {found.accuracy:.3f} | {found.accuracy - twin:+.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits-mlp", "digits-momentum", "digits-adamw"])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--how", default="reinit")
    parser.add_argument("--parent", action="store_true", help="clean with the untrapped checkpoint as parent, too")
    parser.add_argument("--data", default="", help="the folder of named datasets")
    parser.add_argument("--checkpoint", default="", help="of a ViT or a BERT")
    parser.add_argument("--victim", type=int, nargs=2, metavar=("RECORDS", "EPOCHS"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for name in options.presets:
        print(f"\n### `{name}`, {options.how}\n\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
        seeds = []
        for seed in range(options.first, options.first + options.seeds):
            twin, found = one_seed(settings(name, seed, options), options)
            seeds.append((twin, found))
            for kind, one in found.items():
                print(line(seed, kind, one, twin), flush=True)
        for which in range(1, len(seeds[0][1])):
            print(f"\n{told(which, seeds)}", flush=True)


def told(which, seeds):
    """All seeds in a line: how much less is read, and what accuracy is lost."""
    before, after = ([list(found.values())[i] for _, found in seeds] for i in (0, which))
    kind = list(seeds[0][1])[which].partition(" (")[0]
    shares = []
    for what in ("accepted", "copied", "units"):
        old, new = (sum(getattr(one, what) or 0 for one in part) for part in (before, after))
        shares += [f"{what} {new - old:+d} of {old} ({new / old - 1:+.1%})"] if old else []
    gaps = np.array([one.accuracy - twin for (twin, _), one in zip(seeds, after, strict=True)])
    broken = int((gaps < -COLLAPSE).sum())
    return (
        f"{kind}: {', '.join(shares)}; accuracy less the twin's {gaps.mean():+.3f} (lowest of these seeds "
        f"{gaps.min():+.3f}); broke down: {broken} of {len(gaps)}"
    )


if __name__ == "__main__":
    main()
