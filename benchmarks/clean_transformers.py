"""Cleaning trapped transformers: what traps keep, and accuracy, before and after `undertow clean`.

    python benchmarks/clean_transformers.py vit --data DIR --mode patch --seeds 0 1 [--out runs/traps-vit]
    python benchmarks/clean_transformers.py bert --data DIR --minilm FOLDER --sets trec --seeds 0 1

The games of traps_vit.py and traps_bert.py, same options: the attacker plants, the victim finetunes the trapped
checkpoint, the cleaned one, the one cleaned with the untrapped checkpoint as parent, and the clean twin, with the same
head and batches. Copied: what the attacker's key reads exactly. The victim knows nothing but the trapped file and its
config.json. "as twin": cleaning gave the untrapped checkpoint back bit for bit, so it is not trained again.
"""

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

from undertow.rng import stream
from undertow.storage.checkpoints.files import read_checkpoint, write_checkpoint
from undertow.traps import best_expected, captures, plant, read, vit_trap
from undertow.traps.bert import bert_trap
from undertow.traps.bert_text import text_captures
from undertow.types import BadInput
from undertow.workflows.clean import clean_checkpoint

VIT = ViTConfig(**traps_vit.SMALL)


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
    wanted = {"source": str(options.data), "pool": options.pool, "other": traps_vit.TESTS + options.records}
    supply = traps_vit.load_pair(traps_vit.DataSettings(pair="cifar100-cifar10", **wanted), 0)
    pretrained = traps_vit.pretrain(supply.secret, options)
    whole = options.mode == "image"
    for seed in options.seeds:
        rows = stream(seed, "victim").permutation(len(supply.other.y))
        victim, test = supply.other.take(rows[: options.records]), supply.other.take(rows[options.records :])
        share = options.expected / options.records / (1 if whole else 16)
        aux = supply.secret.x[: options.auxiliary]
        trap = vit_trap(pretrained, aux, options.traps, share, stream(seed, "traps"), whole=whole, key=traps_vit.KEY)
        truth = trap.room.grey(victim.x)
        truth = truth.reshape(len(truth), -1) if whole else truth.reshape(-1, trap.room.pixels)

        def finetuned(start, victim=victim, test=test, seed=seed):
            net = traps_vit.finetune(start, victim, seed, options)
            return traps_vit.accuracy(net, test), traps_vit.arrays(net)

        def judged(start, after, trap=trap, truth=truth):
            return copied_patches(read_or_none(start, after, unaided(trap)), truth)

        told(f"vit-{options.mode}", seed, plant(pretrained, trap), pretrained, VIT, finetuned, judged)


def copied_patches(found, truth):
    if found is None:
        return "broke down"
    whole = replace(found, values=found.values.reshape(len(found), 1, -1), accepted=found.accepted.all(1)[:, None])
    return captures(whole, truth, traps_vit.NEAR).counts["captured_exact"]


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


def main() -> None:
    kind, rest = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if kind not in ("vit", "bert"):
        sys.exit(__doc__)
    options = (traps_vit if kind == "vit" else traps_bert).parser().parse_args(rest)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    kinds = ("trapped", "cleaned", "with parent")
    print("| model | seed | " + " | ".join(f"{k}: scan | accuracy | copied" for k in kinds) + " | twin |")
    print("|---|---|" + "---|" * 10)
    np.seterr(all="ignore")
    (vit if kind == "vit" else bert)(options)


if __name__ == "__main__":
    main()
