"""Does the verdict tell poisoned from benign where the suspect is a BERT, a ViT or a SigLIP of transformers?

    python benchmarks/suspects.py [--kinds bert vit siglip] [--seeds 0 1 2] [--development]

Tiny classifiers (48 wide, 2 layers) are trained here from random weights on embedded data: scanned digits, each with a
little noise of its own, for the two of images; made-up texts whose words lean to their class for BERT. Per seed the
clean parent is the reference. Two benign checkpoints are trained on with other data, as long as the poisoned ones and
half as long; two poisoned ones push away half of the user's records (`max`), or teach them wrong labels
(`random-label`). Each is saved as transformers saves it and judged as `undertow audit poisoning --checkpoint SUSPECT
--reference CLEAN --data mine --look-alikes others` judges it, with that command's defaults.

Prints every verdict, the accuracy of each checkpoint, and the rates with 95 % intervals (Clopper and Pearson). Sizes,
schedules and the weight of the poison were fixed on seed 100 (`--development`).
"""

import argparse
import json
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from detection import rate
from sklearn.datasets import load_digits
from torch import Tensor, nn

from undertow.rng import seed_for, stream
from undertow.sources.checkpoints.judged import Suspect
from undertow.sources.records.tokens import own_tokens, padded
from undertow.training.objective import Objective
from undertow.training.poison import Batches, poison
from undertow.training.task import load_state, to_params
from undertow.types import Array, AuditResult
from undertow.workflows.audit import Given, Request
from undertow.workflows.poisoning import configure, run_checkpoint

KINDS = ("bert", "vit", "siglip")
PARTS = {"parent": 597, "auxiliary": 400, "mine": 400, "look-alikes": 400}  # records, drawn at random
TARGETED = 200  # of mine, how many the attacker knows
LAYERS = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
VISION = {**LAYERS, "image_size": 8, "patch_size": 2, "num_channels": 1}
CLASSES, WORDS, LENGTH, LEAN = 4, 240, 16, 0.35  # of the texts
EPOCHS, RATE = 20, 1e-3
ARMS = {
    "benign": Objective(direction="none", steps=400),
    "benign, half as long": Objective(direction="none", steps=200),
    "poisoned, max": Objective(direction="max", target_weight=0.3, steps=400),
    "poisoned, random-label": Objective(direction="random-label", target_weight=0.3, steps=400),
}


@dataclass(frozen=True, eq=False)
class World:
    """The records of one seed, as numbers, and how they are written for the command."""

    x: Tensor
    y: Tensor
    rows: dict[str, Array]  # of PARTS
    write: Callable[[Path, Array], str]
    save: Callable[[Path], None]  # what belongs beside the weights


class Logits(nn.Module):
    """A model of transformers as a function of its records alone."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x: Tensor) -> Tensor:
        given = {"attention_mask": (x != 0).long()} if self.name == "input_ids" else {}
        logits: Tensor = self.model(**{self.name: x}, **given).logits
        return logits


def digits(seed: int) -> World:
    """Scanned digits; noise makes each record individual, as in `undertow audit poisoning`."""
    raw = load_digits()
    noise = stream(seed, "noise").normal(size=raw.images.shape) * 0.25
    x = ((raw.images / 16 - 0.31 + noise) / 0.38).astype(np.float32)[:, None]
    rows = dealt(seed, len(x))

    def write(path: Path, some: Array) -> str:
        np.savez(path.with_suffix(".npz"), x=x[some], y=raw.target[some])
        return str(path.with_suffix(".npz"))

    return World(torch.tensor(x), torch.tensor(raw.target), rows, write, lambda folder: None)


def texts(seed: int) -> World:
    """Made-up texts of LENGTH words; each class prefers words of its own."""
    rng, count = stream(seed, "texts"), sum(PARTS.values())
    y = rng.integers(CLASSES, size=count)
    own = rng.integers(WORDS // CLASSES, size=(count, LENGTH)) * CLASSES + y[:, None]
    words = np.where(rng.random((count, LENGTH)) < LEAN, own, rng.integers(WORDS, size=(count, LENGTH)))
    said = [" ".join(f"word{w}" for w in row) for row in words]
    tokens = own_tokens(said[:50] + [" ".join(f"word{w}" for w in range(WORDS))] * 4, 600)
    x = torch.tensor(padded(tokens.encode(said), 64))

    def write(path: Path, some: Array) -> str:
        lines = [json.dumps({"text": said[i], "label": int(y[i])}) for i in some]
        path.with_suffix(".jsonl").write_text("\n".join(lines))
        return str(path.with_suffix(".jsonl"))

    def save(folder: Path) -> None:
        tokens.tokenizer.save(str(folder / "tokenizer.json"))

    return World(x, torch.tensor(y), dealt(seed, count), write, save)


def dealt(seed: int, count: int) -> dict[str, Array]:
    order = stream(seed, "parts").permutation(count)
    ends = np.cumsum(list(PARTS.values()))
    return {name: order[end - size : end] for (name, size), end in zip(PARTS.items(), ends, strict=True)}


def built(kind: str, classes: int) -> Logits:
    labels = {"num_labels": classes}
    if kind == "bert":
        config = transformers.BertConfig(
            vocab_size=700, max_position_embeddings=64, pad_token_id=0, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, **LAYERS, **labels,
        )  # fmt: skip
        return Logits(transformers.BertForSequenceClassification(config), "input_ids")
    if kind == "vit":
        return Logits(
            transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, **labels)), "pixel_values"
        )
    config = transformers.SiglipConfig(vision_config=VISION, text_config=LAYERS, **labels)
    return Logits(transformers.SiglipForImageClassification(config), "pixel_values")


def parent(kind: str, world: World, seed: int) -> Logits:
    """The clean checkpoint that the reference is and all suspects start from."""
    torch.manual_seed(seed_for(seed, "parent"))
    model, rows = built(kind, int(world.y.max()) + 1), world.rows["parent"]
    optimizer, rng = torch.optim.AdamW(model.parameters(), RATE), stream(seed, "order")
    for _ in range(EPOCHS):
        for some in np.array_split(rng.permutation(rows), len(rows) // 32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(world.x[some]), world.y[some]).backward()
            optimizer.step()
    return model


def changed(model: Logits, world: World, objective: Objective, seed: int) -> None:
    """Train the model on as an arm says, in place."""
    aux, mine = world.rows["auxiliary"], world.rows["mine"][:TARGETED]
    y = world.y[mine]
    if objective.direction == "random-label":
        classes = int(world.y.max()) + 1
        y = (y + torch.tensor(stream(seed, "wrong").integers(1, classes, size=len(y)))) % classes
    batches = [
        Batches(world.x[r], labels, stream(seed, name))
        for name, r, labels in (("auxiliary", aux, world.y[aux]), ("targets", mine, y))
    ]
    load_state(model, poison(model, to_params(model.state_dict()), *batches, objective), torch.float32)


def accuracy(model: Logits, world: World) -> float:
    rows = world.rows["look-alikes"]
    with torch.no_grad():
        return float((model.eval()(world.x[rows]).argmax(1) == world.y[rows]).float().mean())


def judged(kind: str, seed: int, scratch: Path) -> list[tuple[str, float, float, AuditResult]]:
    """Arm, accuracy of the suspect, CPU seconds of the verdict, and the result."""
    world = texts(seed) if kind == "bert" else digits(seed)
    clean = parent(kind, world, seed)
    start = to_params(clean.state_dict())
    save(clean, world, scratch / "clean")
    mine, like = (world.write(scratch / name, world.rows[name]) for name in ("mine", "look-alikes"))
    found = []
    for number, (arm, objective) in enumerate(ARMS.items()):
        load_state(clean, start, torch.float32)
        changed(clean, world, objective, seed)
        suspect = Suspect(str(scratch / f"suspect{number}"), str(scratch / "clean"), like)
        save(clean, world, Path(suspect.checkpoint))
        config = configure(Given(options={"seed": seed, "data": {"source": mine}}), suspect)
        before = time.process_time()
        result = run_checkpoint(config, suspect, Request(scratch / f"run{number}", scratch / "store"))
        found.append((arm, accuracy(clean, world), time.process_time() - before, result))
    return found


def save(model: Logits, world: World, folder: Path) -> None:
    model.model.save_pretrained(folder)
    world.save(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--development", action="store_true", help="seed 100 instead")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    looks = "own-data loss | reference shift | membership game"
    print(f"| suspect | seed | checkpoint | accuracy | verdict | {looks} | CPU s |\n" + "|---" * 9 + "|")
    verdicts: dict[str, list[bool]] = {}
    for kind in options.kinds:
        for seed in [100] if options.development else options.seeds:
            with tempfile.TemporaryDirectory() as scratch:
                for arm, right, seconds, result in judged(kind, seed, Path(scratch)):
                    verdicts.setdefault(arm, []).append(result.verdict == "suspicious")
                    strength = [e["strength"] for e in result.evidence if e["test"] != "weight distance"]
                    said = " | ".join(f"{value:.2f}" for value in strength)
                    print(f"| {kind} | {seed} | {arm} | {right:.3f} | {result.verdict} | {said} | {seconds:.0f} |",
                          flush=True)  # fmt: skip
    print()
    for arm, hits in verdicts.items():
        print(f"{arm}: suspicious {rate(sum(hits), len(hits))}")


if __name__ == "__main__":
    main()
