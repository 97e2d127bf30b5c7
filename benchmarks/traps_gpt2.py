"""Data traps in a GPT-2-style classifier made from its configuration: how many texts short finetunings leave in them.

    python benchmarks/traps_gpt2.py [--seeds 0 1 2] [--traps 16] [--rate 1e-4]

Random weights (256 wide, 4 blocks, 8 heads), synthetic texts by Zipf's law with arbitrary labels, plain SGD with a
fresh head: it shows whether planting and reading work, not what they cost a real decoder, for no pretrained one is at
hand. Victim (320) and auxiliary texts (600) are drawn apart. A trap is captured where 9 in 10 of the tokens it can keep
(the first 8) are accepted and right. The last columns are the training loss of the planted model and its clean twin.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2ForSequenceClassification

from undertow.rng import stream
from undertow.traps import gpt2_trap, plant, read
from undertow.types import BadInput

VOCABULARY, LENGTH, HEADS, CLASSES = 300, 12, 8, 4


def texts(count, rng):
    odds = 1 / np.arange(5, VOCABULARY + 1)
    ids = np.zeros((count, LENGTH), int)
    for row in ids:
        size = rng.integers(6, LENGTH)
        row[:size] = rng.choice(np.arange(4, VOCABULARY), size, p=odds / odds.sum())
    return ids


def params_of(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def loss(model, ids, labels):
    seen = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor((ids != 0).astype(int)))
    return cross_entropy(seen.logits, labels)


def finetuned(model, params, ids, labels, options, seed):
    model.load_state_dict({name: torch.tensor(value) for name, value in params.items()})
    torch.manual_seed(seed)
    model.score.weight.data.normal_(0, 0.02)
    body = [p for name, p in model.named_parameters() if "score" not in name]
    heads = {"params": model.score.parameters(), "lr": options.head_rate}
    sgd, order = torch.optim.SGD([{"params": body, "lr": options.rate}, heads]), torch.Generator().manual_seed(seed)
    for _ in range(options.epochs):
        for rows in torch.randperm(len(ids), generator=order).split(options.batch):
            sgd.zero_grad()
            loss(model, ids[rows.numpy()], labels[rows]).backward()
            sgd.step()
    with torch.no_grad():
        return params_of(model), float(loss(model, ids, labels))


def run(seed, options):
    rng = stream(seed, "benchmark", "gpt2")
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=256, n_layer=4, n_head=HEADS, num_labels=CLASSES,
        pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    model = GPT2ForSequenceClassification(config).eval()
    clean, ids = params_of(model), texts(320, rng)
    labels = torch.tensor(rng.integers(0, CLASSES, len(ids)))
    trap = gpt2_trap(clean, texts(600, rng), options.traps, options.share, rng, heads=HEADS)
    planted = plant(clean, trap)
    after, worth = finetuned(model, planted, ids, labels, options, seed)
    twin = finetuned(model, clean, ids, labels, options, seed)[1]
    try:
        found = read(planted, after, trap)
    except BadInput:
        return ["diverged"] * 5 + [f"{worth:.3f}", f"{twin:.3f}"]
    agree = ((found.tokens[:, None] == ids[:, :HEADS]) & found.accepted[:, None]).sum(-1)
    right, nearest, accepted = agree.max(1), agree.argmax(1), found.accepted.sum(1)
    kept = np.minimum((ids[nearest] != 0).sum(1), HEADS)
    captured = (accepted > 0) & (right >= 0.9 * np.maximum(kept, accepted))
    fired = ((trap.seen(planted, ids) @ trap.directions.T) > trap.thresholds).any(0).sum()
    cells = [str(fired), str(captured.sum()), str(len(np.unique(nearest[captured]))), str(accepted.sum())]
    share = f"{right.sum() / accepted.sum():.3f}" if accepted.sum() else "none"
    return [*cells, share, f"{worth:.3f}", f"{twin:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for option, value in {"traps": 16, "epochs": 5, "batch": 16}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    for option, value in {"rate": 1e-4, "head-rate": 0.03, "share": 0.01}.items():
        parser.add_argument(f"--{option}", type=float, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| seed | traps that fire | captured | distinct | tokens accepted | right | loss | loss of the twin |")
    print("|---" * 8 + "|")
    for seed in options.seeds:
        print(f"| {seed} | {' | '.join(run(seed, options))} |", flush=True)


if __name__ == "__main__":
    main()
