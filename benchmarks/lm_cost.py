"""What the token statistics of `undertow audit lm` cost beside a plain forward pass of the same texts.

    python benchmarks/lm_cost.py --model FOLDER --texts FILE.jsonl [--count 40] [--rounds 3] [--json OUT]

`log_p`: a pass that keeps logits and takes the log-probability of each token, as plain code does. `statistics`: the
pass of the audit, which keeps log-probability, scaled logit, mean, deviation and rank. CPU seconds of one thread,
interleaved; the median over rounds of the ratio to the forward pass. Memory: the most that a process of its own held.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import torch

from undertow.integrations.model_files import language_model
from undertow.integrations.token_pass import _batches, token_ids, token_pass
from undertow.workflows.lm_texts import read_texts

BATCH = 8


def batches(ids: list[list[int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The padded batches of the audit's own pass: (ids, mask)."""
    sizes, found = np.array([len(row) for row in ids]), []
    for rows in _batches(sizes, BATCH):
        x = torch.zeros(len(rows), int(sizes[rows].max()), dtype=torch.long)
        mask = torch.zeros_like(x)
        for i, row in enumerate(rows):
            x[i, : sizes[row]], mask[i, : sizes[row]] = torch.tensor(ids[row]), 1
        found.append((x, mask))
    return found


def forward(model: Any, ids: list[list[int]]) -> None:
    with torch.inference_mode():
        for x, mask in batches(ids):
            model(input_ids=x, attention_mask=mask)


def log_p(model: Any, ids: list[list[int]]) -> None:
    with torch.inference_mode():
        for x, mask in batches(ids):
            logits = model(input_ids=x, attention_mask=mask).logits
            torch.log_softmax(logits[:, :-1].float(), -1).gather(2, x[:, 1:, None])


def statistics(model: Any, ids: list[list[int]]) -> None:
    token_pass(model, ids, BATCH)


PASSES: dict[str, Callable[[Any, list[list[int]]], None]] = {
    "forward": forward, "log_p": log_p, "statistics": statistics,
}  # fmt: skip


def memory(folder: str, texts: str, count: int, name: str, answer: Any) -> None:
    """In a process of its own: MiB at most, less what the model alone took."""
    model, ids = prepared(folder, texts, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    PASSES[name](model, ids)
    answer.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def prepared(folder: str, texts: str, count: int) -> tuple[Any, list[list[int]]]:
    torch.set_num_threads(1)
    model, tokenizer = language_model(folder)
    found = read_texts("--texts", texts, None, tokenizer)
    return model, token_ids(tokenizer, found.side.x[:count], 512, not found.chats)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model, ids = prepared(options.model, options.texts, options.count)
    times: dict[str, list[float]] = {name: [] for name in PASSES}
    for turn in range(options.rounds + 1):
        for name, run in PASSES.items():
            start = time.process_time()
            run(model, ids)
            if turn:
                times[name].append(time.process_time() - start)
    context, found = multiprocessing.get_context("spawn"), []
    for name, spent in times.items():
        answer = context.Queue()
        child = context.Process(target=memory, args=(options.model, options.texts, options.count, name, answer))
        child.start()
        most = answer.get()
        child.join()
        ratio = median(a / b for a, b in zip(spent, times["forward"], strict=True))
        found.append({"pass": name, "seconds": median(spent), "ratio": round(ratio, 3), "mib": round(most)})
    print(f"{len(ids)} texts, {sum(map(len, ids)):,} tokens\n")
    print("| pass | CPU s | times a forward pass | MiB |\n|---|---|---|---|")
    for row in found:
        print(f"| {row['pass']} | {row['seconds']:.1f} | {row['ratio']:.2f} | {row['mib']} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
