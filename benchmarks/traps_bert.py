"""Data traps in MiniLM (BERT, real weights): what they keep of TREC-50 and banking77, and what they cost.

    python benchmarks/traps_bert.py --data DIR --minilm FOLDER [--sets trec banking77] [--seeds 0 1 2]

DIR holds text/trec.csv.gz and text/banking77.csv.gz, FOLDER config.json, model.safetensors and tokenizer.json. Per
seed: victim and auxiliary texts are disjoint parts of the training split, the head is fresh, SGD without momentum
finetunes everything in shuffled batches, with rates that fall to zero linearly; dropout is off. Twins share the head
and the order of the batches: "clean" is the untouched checkpoint, "reserved" has the same dims, heads and units given
up but traps that cannot fire.
"""

import argparse
import csv
import gzip
import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import BertForSequenceClassification

from undertow.rng import stream
from undertow.traps import best_expected, plant, read
from undertow.traps.text.bert import LEVEL, bert_trap
from undertow.traps.text.bert_text import text_captures

LABEL = {"trec": "fine", "banking77": "intent"}


def texts(data, name, length, folder, rng, victims, auxiliary):
    """Token ids and labels of victim and test texts, ids of auxiliary ones; a text occurs once in all of them."""
    with gzip.open(Path(data) / "text" / f"{name}.csv.gz", "rt", encoding="utf8", newline="") as file:
        rows = list({row["text"].strip().lower(): row for row in csv.DictReader(file)}.values())
    tokens = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokens.enable_truncation(length)
    tokens.enable_padding(length=length)
    ids = np.array([e.ids for e in tokens.encode_batch([row["text"] for row in rows])])
    labels = np.unique([row[LABEL[name]] for row in rows], return_inverse=True)[1]
    train = rng.permutation([i for i, row in enumerate(rows) if row["split"] == "train"])
    test = rng.permutation([i for i, row in enumerate(rows) if row["split"] != "train"])[:500]
    mine, other = train[:victims], train[victims : victims + auxiliary]
    return ids[mine], labels[mine], ids[test], labels[test], ids[other], int(labels.max()) + 1


def model_of(folder, classes, seed):
    torch.manual_seed(seed)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=classes)
    return model.eval()  # no dropout: the encoder's own is 0.1


def params_of(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def logits(model, ids):
    ids = ids[:, : (ids != 0).sum(1).max()]
    return model(input_ids=torch.tensor(ids), attention_mask=torch.tensor((ids != 0).astype(int))).logits


def finetuned(model, params, ids, labels, options, seed):
    """Plain SGD on `model` from `params`; the same batches for the same seed."""
    model.load_state_dict({name: torch.tensor(value) for name, value in params.items()})
    head, body = list(model.classifier.parameters()), [p for n, p in model.named_parameters() if "classifier" not in n]
    sgd = torch.optim.SGD([{"params": body, "lr": options.rate}, {"params": head, "lr": options.head_rate}])
    order = torch.Generator().manual_seed(seed)
    steps = options.epochs * -(-len(ids) // options.batch)
    decay = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 1 - step / steps)
    for _ in range(options.epochs):
        for part in torch.randperm(len(ids), generator=order).split(options.batch):
            sgd.zero_grad()
            loss = cross_entropy(logits(model, ids[part.numpy()]), torch.tensor(labels[part.numpy()]))
            loss.backward()
            sgd.step()
            decay.step()


@torch.no_grad()
def accuracy(model, ids, labels):
    order = np.argsort((ids != 0).sum(1))
    parts = np.array_split(order, 10)
    return sum((logits(model, ids[p]).argmax(1).numpy() == labels[p]).sum() for p in parts) / len(ids)


def run(name, seed, options):
    rng = stream(seed, "benchmark", name)
    ids, labels, test, test_labels, auxiliary, classes = texts(
        options.data, name, options.length, options.minilm, rng, options.victims, options.auxiliary
    )
    model = model_of(options.minilm, classes, seed)
    clean = params_of(model)
    share = best_expected(len(ids), options.batch) / len(ids)
    trap = bert_trap(clean, auxiliary, options.traps, share, rng, heads=12, level=options.level)
    planted = plant(clean, trap)
    deaf = plant(clean, trap.deaf())
    results = {}
    for twin, params in (("trapped", planted), ("reserved", deaf), ("clean", clean)):
        if twin in options.twins:
            finetuned(model, params, ids, labels, options, seed)
            results[twin] = accuracy(model, test, test_labels)
            if twin == "trapped":
                found = read(planted, params_of(model), trap)
                over = (trap.keys(planted, ids) @ trap.directions.T - trap.thresholds) / trap.excess
    return results, found, text_captures(found, ids), (over > 0).sum(0)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minilm", required=True)
    parser.add_argument("--sets", nargs="+", default=["trec", "banking77"])
    parser.add_argument("--twins", nargs="+", default=["trapped", "reserved", "clean"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    sizes = {"victims": 640, "auxiliary": 1500, "length": 20, "traps": 8, "epochs": 3, "batch": 32}
    for option, value in sizes.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--head-rate", type=float, default=0.5)
    parser.add_argument("--level", type=float, default=LEVEL, help="of a channel: smaller latches further")
    return parser


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(1)
    print("| set | seed | traps captured | tokens accepted | right | trapped | reserved | clean | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.sets:
        for seed in options.seeds:
            start = time.process_time()
            results, found, seen, fired = run(name, seed, options)
            share = seen.token_accuracy
            cells = [
                f"{seen.captured.sum()} of {len(found)} ({(fired > 0).sum()} fired)", str(seen.accepted.sum()),
                "none" if share is None else f"{share:.3f}",
                *(f"{results[twin]:.3f}" if twin in results else "" for twin in ("trapped", "reserved", "clean")),
            ]  # fmt: skip
            print(f"| {name} | {seed} | {' | '.join(cells)} | {time.process_time() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
