"""Cleaning trapped transformers: what traps keep, and accuracy, before and after `undertow clean`.

    python benchmarks/clean_transformers.py vit --data DIR --mode patch --seeds 0 1 [--out runs/traps-vit]
    python benchmarks/clean_transformers.py bert --data DIR --minilm FOLDER --sets trec --seeds 0 1

The games of traps_vit.py and traps_bert.py, same options: the attacker plants, the victim finetunes the trapped
checkpoint, the cleaned one and the clean twin, with the same head and batches. Copied: what the attacker's key reads
exactly. The victim knows nothing but the trapped file; --parent also gives `clean` the untrapped one.
"""

import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
import traps_bert
import traps_vit

from undertow.rng import stream
from undertow.storage.checkpoints.files import read_checkpoint, write_checkpoint
from undertow.traps import best_expected, captures, plant, read, vit_trap
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


def cleaned(planted, clean, with_parent):
    """(weights after `undertow clean`, verdict before, verdict after)."""
    with tempfile.TemporaryDirectory() as folder:
        source, parent, out = (Path(folder) / f"{name}.safetensors" for name in ("trapped", "parent", "cleaned"))
        write_checkpoint(source, planted, {})
        write_checkpoint(parent, clean, {})
        report = clean_checkpoint(source, out, parent=parent if with_parent else None)
        return read_checkpoint(out)[0], report.before.verdict, report.after.verdict


def vit(options, with_parent):
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
        planted = plant(pretrained, trap)
        changed, *verdicts = cleaned(planted, pretrained, with_parent)
        truth = trap.room.grey(victim.x)
        truth = truth.reshape(len(truth), -1) if whole else truth.reshape(-1, trap.room.pixels)
        line = [f"vit-{options.mode}", seed, *verdicts]
        for params in (planted, changed, pretrained):
            after = traps_vit.finetune(params, victim, seed, options)
            line.append(f"{traps_vit.accuracy(after, test):.3f}")
            if params is not pretrained:
                line.append(copied_patches(read_or_none(params, traps_vit.arrays(after), unaided(trap)), truth))
        print("| " + " | ".join(map(str, line)) + " |", flush=True)


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


def bert(options, with_parent):
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
            planted = plant(clean, trap)
            changed, *verdicts = cleaned(planted, clean, with_parent)
            line = [f"bert-{name}", seed, *verdicts]
            for params in (planted, changed, clean):
                traps_bert.finetuned(model, params, ids, labels, options, seed)
                line.append(f"{traps_bert.accuracy(model, test, test_labels):.3f}")
                if params is not clean:
                    found = read_or_none(params, traps_bert.params_of(model), unaided(trap))
                    line.append("broke down" if found is None else int(text_captures(found, ids).captured.sum()))
            print("| " + " | ".join(map(str, line)) + " |", flush=True)


def main() -> None:
    kind, rest = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if kind not in ("vit", "bert"):
        sys.exit(__doc__)
    with_parent = "--parent" in rest
    parser = traps_vit.parser() if kind == "vit" else traps_bert.parser()
    options = parser.parse_args([text for text in rest if text != "--parent"])
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print("| model | seed | before | after | accuracy trapped | copied | accuracy cleaned | copied | accuracy twin |")
    print("|---|---|---|---|---|---|---|---|---|")
    np.seterr(all="ignore")
    (vit if kind == "vit" else bert)(options, with_parent)


if __name__ == "__main__":
    main()
