"""Cleaning trapped transformers: what traps keep, and accuracy, before and after `undertow clean`.

    python benchmarks/clean_transformers.py vit --data DIR --preset vit-cifar10 --seeds 0 1 [--out runs/traps]
    python benchmarks/clean_transformers.py bert --data DIR --minilm FOLDER --sets trec --seeds 0 1

The games of a preset of `undertow audit datatrap` and of traps_bert.py: the attacker plants, the victim finetunes the
trapped checkpoint, the cleaned one, the one cleaned with the untrapped checkpoint as parent, and the clean twin, with
the same head and batches. Copied: what the attacker's key reads exactly. The victim knows nothing but the trapped file
and its config.json. "as twin": cleaning gave the untrapped checkpoint back bit for bit, so it is not trained again.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
import traps_bert
import traps_vit
from transformers import ViTConfig

from undertow.audits.datatrap.kit_vit import judge_images
from undertow.audits.stored import keep
from undertow.rng import stream
from undertow.stages.plant_transformer import bare, wrapped
from undertow.storage.checkpoints.files import read_checkpoint, write_checkpoint
from undertow.traps import best_expected, plant, read
from undertow.traps.bert import bert_trap
from undertow.traps.bert_text import text_captures
from undertow.types import BadInput
from undertow.workflows.clean import clean_checkpoint


def unaided(trap):
    """The key without its idle unit, which `clean` has edited; these victims use no weight decay."""
    kind = type(trap)

    class Unaided(kind):
        @property
        def recorder(self):
            return replace(super().recorder, idle=None)

    return Unaided(**{field.name: getattr(trap, field.name) for field in fields(trap)})


def cleaned(planted, clean, config, with_parent):
    """(weights after `undertow clean`, verdict before, verdict after)."""
    with tempfile.TemporaryDirectory() as folder:
        source, parent, out = (Path(folder) / name for name in ("trapped", "parent.safetensors", "cleaned"))
        source.mkdir()
        write_checkpoint(source / "model.safetensors", planted, {})
        write_checkpoint(parent, clean, {})
        (source / "config.json").write_text(json.dumps(config.to_dict()))
        report = clean_checkpoint(source, out, parent=parent if with_parent else None)
        return read_checkpoint(out / "model.safetensors")[0], report.before.verdict, report.after.verdict


def compared(planted, clean, config, finetuned, judged):
    """The cells of one row. `finetuned(start)` -> (accuracy, weights); `judged(start, after)` -> copied."""
    twin, after = finetuned(clean)
    cells = []
    for kind in ("trapped", "cleaned", "cleaned with parent"):
        start, verdict = planted, "unsafe"
        if kind != "trapped":
            start, before, verdict = cleaned(planted, clean, config, "parent" in kind)
            assert before == "unsafe"
        same = all(np.array_equal(start[name], value) for name, value in clean.items())
        accuracy, weights = (twin, after) if same else finetuned(start)
        cells += [verdict, f"{accuracy:.3f}" + " as twin" * same, judged(start, weights)]
    return [*cells, f"{twin:.3f}"]


def vit(options):
    for seed in options.seeds:
        table = traps_vit.table_of(options.preset, seed, options.data, options.out)
        kit, store, images = table.kit, table.host.store, table.supply.victim.x
        key = table.clean()
        trap, clean = kit.plant.trap(table.slot("base"), store.get(key), store), bare(store.get(key))
        shape = {"image_size": table.supply.shape[1], "num_channels": table.supply.shape[0]}
        config = ViTConfig(**json.loads(kit.architecture.config), **shape, num_labels=len(clean["classifier.bias"]))

        def finetuned(start, table=table, store=store):
            end = table.finetuned(keep(store, wrapped(start)))
            return (np.nan, None) if end is None else (table.accuracy(end), bare(store.get(end)))

        def judged(start, after, trap=trap, images=images):
            found = after and read_or_none(start, after, unaided(trap))
            return judge_images(trap, found, images).captures.counts["captured_exact"] if found else "broke down"

        told(options.preset, seed, plant(clean, trap), clean, config, finetuned, judged)


def read_or_none(before, after, trap):
    """What the key reads; None where finetuning ended in NaN."""
    try:
        return read(before, after, trap)
    except BadInput:
        return None


def bert(options):
    for name in options.sets:
        for seed in options.seeds:
            rng = stream(seed, "benchmark", name)
            ids, labels, test, test_labels, auxiliary, classes = traps_bert.texts(
                options.data, name, options.length, options.minilm, rng, options.victims, options.auxiliary
            )
            model = traps_bert.model_of(options.minilm, classes, seed)
            clean = traps_bert.params_of(model)
            share = best_expected(len(ids), options.batch) / len(ids)
            trap = bert_trap(clean, auxiliary, options.traps, share, rng, heads=12, level=options.level)

            def finetuned(start, model=model, ids=ids, labels=labels, test=test, truth=test_labels, seed=seed):
                traps_bert.finetuned(model, start, ids, labels, options, seed)
                return traps_bert.accuracy(model, test, truth), traps_bert.params_of(model)

            def judged(start, after, trap=trap, ids=ids):
                found = read_or_none(start, after, unaided(trap))
                return "broke down" if found is None else int(text_captures(found, ids).captured.sum())

            told(f"bert-{name}", seed, plant(clean, trap), clean, model.config, finetuned, judged)


def told(kind, seed, planted, clean, config, finetuned, judged):
    cells = compared(planted, clean, config, finetuned, judged)
    print("| " + " | ".join(map(str, [kind, seed, *cells])) + " |", flush=True)


def vit_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="vit-cifar10")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("runs/traps"))
    return parser


def main() -> None:
    kind, rest = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if kind not in ("vit", "bert"):
        sys.exit(__doc__)
    options = (vit_parser() if kind == "vit" else traps_bert.parser()).parse_args(rest)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    kinds = ("trapped", "cleaned", "with parent")
    print("| model | seed | " + " | ".join(f"{k}: scan | accuracy | copied" for k in kinds) + " | twin |")
    print("|---|---|" + "---|" * 10)
    np.seterr(all="ignore")
    (vit if kind == "vit" else bert)(options)


if __name__ == "__main__":
    main()
