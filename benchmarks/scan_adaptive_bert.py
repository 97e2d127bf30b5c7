"""Traps in MiniLM that know `undertow scan`: hidden through LayerNorms, and without the unit that measures decay.

    python benchmarks/scan_adaptive_bert.py --data DIR --minilm FOLDER [--seeds 0 1] [--prove]

Both changes leave what the model computes as it is. One epoch on 320 texts of TREC-50. With --prove, also whether
`undertow scan --prove` proves each, on texts it makes up.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import traps_bert

from undertow.rng import stream
from undertow.scanner import inspect, of_arrays
from undertow.traps import BertTrap, bert_trap, best_expected, plant, read, text_captures
from undertow.types import Params
from undertow.workflows.prove import Proved, Proving, prove_checkpoint

FIT = SimpleNamespace(rate=0.1, head_rate=0.5, epochs=1, batch=32)
SHUT = -60.0  # bias of a unit that never fires, where -1e6 would stand out


def quiet_idle(params: Params, trap: BertTrap) -> Params:
    """The idle unit is shut by a bias that is not larger than need be."""
    name = trap.bert.layer(0, "intermediate.dense.bias")
    bias = params[name].copy()
    bias[trap.units.size] = SHUT
    return {**params, name: bias}


def through_norm(params: Params, trap: BertTrap, by: float = 10.0) -> Params:
    """The last LayerNorm enlarges the signals, so that the pooler need not."""
    norm = trap.bert.layer(trap.bert.layers - 1, "output.LayerNorm.weight")
    pooler = f"{trap.bert.prefix}pooler.dense.weight"
    gain, weight = params[norm].copy(), params[pooler].copy()
    gain[trap.layout.signal] *= by
    weight[:, trap.layout.signal] /= by
    return {**params, norm: gain, pooler: weight}


WAYS = {
    "as planted": lambda params, _: params,
    "quiet idle unit": quiet_idle,
    "quiet idle unit, through LayerNorm": lambda params, trap: through_norm(quiet_idle(params, trap), trap),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minilm", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--prove", action="store_true", help="put each to the proof, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = json.loads((Path(options.minilm) / "config.json").read_text())
    asked = " units that copied | proven |" if options.prove else ""
    print(f"| way of hiding | seed | flagged | score | traps that hold a text |{asked}")
    print("|---|---|---|---|---|" + "---|---|" * options.prove)
    for seed in options.seeds:
        rng = stream(seed, "adaptive")
        ids, labels, _, _, auxiliary, classes = traps_bert.texts(
            options.data, "trec", 20, options.minilm, rng, 320, 1000
        )
        model = traps_bert.model_of(options.minilm, classes, seed)
        clean = traps_bert.params_of(model)
        trap = bert_trap(clean, auxiliary, 8, best_expected(len(ids), FIT.batch) / len(ids), rng, heads=12)
        planted = plant(clean, trap)
        for name in options.ways:
            params = {n: np.asarray(v, np.float32) for n, v in WAYS[name](planted, trap).items()}
            seen = inspect(of_arrays(params))
            flagged = any(one.severity == "critical" for one in seen.findings)
            traps_bert.finetuned(model, params, ids, labels, FIT, seed)
            held = text_captures(read(params, traps_bert.params_of(model), trap), ids)
            print(f"| {name} | {seed} | {flagged} | {seen.settings['score']:.2f} | "
                  f"{held.captured.sum()} of {len(trap.thresholds)} |", end="")  # fmt: skip
            proof = prove_checkpoint(of_arrays(params), config, Proving(seed=seed), None) if options.prove else Proved()
            units = proof.settings.get("units_that_copied", 0)
            print(f" {units} | {'yes' if proof.findings else 'no'} |" if options.prove else "", flush=True)


if __name__ == "__main__":
    main()
