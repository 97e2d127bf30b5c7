"""Proof mode on trapped perceptrons and on their clean twins: how many are proven, at every seed.

    python benchmarks/prove.py [--presets digits-mlp digits-adamw] [--seeds 20] [--variants plain bf16 quiet]

Per seed a checkpoint is pretrained and trapped. It still captures if a victim who finetunes it as the preset says has
records in its traps (read with the attacker's key); then it must be proven, on made-up records alone. Variants are made
after planting: bf16, weights rounded; quiet, every unit of the trapped layer as long as its median (a ReLU carries the
factor on). Clean twins, the same checkpoints without traps, must not be proven. No seed is left out.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import time
from dataclasses import replace

import numpy as np
import torch

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.audits.prove.proof import prove
from undertow.audits.prove.subject import Given, subject_of
from undertow.engine.executor import Serial
from undertow.engine.key import fingerprint
from undertow.storage.data.trap_data import load_traps
from undertow.storage.store import MemoryStore
from undertow.traps import captures, read


def plain(params, _):
    return params


def bf16(params, _):
    return {name: torch.tensor(value).bfloat16().float().numpy() for name, value in params.items()}


def quiet(params, trap):
    w, b, after = f"{trap.layer}.weight", f"{trap.layer}.bias", f"{trap.following}.weight"
    length = np.linalg.norm(params[w], axis=1)
    factor = (np.median(length) / np.maximum(length, 1e-30)).astype(np.float32)
    return {**params, w: params[w] * factor[:, None], b: params[b] * factor, after: params[after] / factor}


VARIANTS = {"plain": plain, "bf16": bf16, "quiet": quiet}


def captured(table, trap, params):
    """Records that a victim's finetuning leaves in the traps; None where it breaks down."""
    key = fingerprint(*params.values())
    if not table.host.store.has(key):
        table.host.store.put(key, params)
    after = table.finetuned(key)
    if after is None:
        return None
    found = read(params, table.host.store.get(after), trap)
    return captures(found, table.kit.plant.inputs(params, table.supply.victim.x), grid=trap.domain.grid).counts[
        "captured_exact"
    ]


def proof_of(params, seed):
    subject, control = subject_of(params, Given(), seed)
    return prove(subject, [control], seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits-mlp", "digits-adamw"])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["plain"])
    options = parser.parse_args()
    for name in options.presets:
        print(f"\n### `{name}`\n\n| seed | variant | captured by a victim | units that copied | chance | proven | s |")
        print("|---" * 7 + "|")
        working, proven, twins = 0, 0, 0
        for seed in range(options.first, options.first + options.seeds):
            config = replace(preset(name), seed=seed)
            table = Table(config, load_traps(config.data, seed), Host(MemoryStore(), Serial()))
            clean = table.play([table.kit.pretrain], "base")[0]
            planted = table.host.store.get(table.play([table.kit.plant], "base", clean)[0])
            trap = table.kit.plant.trap(table.slot("base"), table.host.store.get(clean), table.host.store)
            arms = [(variant, VARIANTS[variant](planted, trap)) for variant in options.variants]
            for variant, params in [*arms, ("clean twin", table.host.store.get(clean))]:
                began, held = time.process_time(), "" if variant == "clean twin" else captured(table, trap, params)
                proof = proof_of(params, seed)
                cells = (seed, variant, held, len(proof.held), proof.chance, "yes" if proof.proven else "no")
                print(f"| {' | '.join(map(str, cells))} | {time.process_time() - began:.1f} |", flush=True)
                twins += proof.proven and variant == "clean twin"
                if held:
                    working, proven = working + 1, proven + proof.proven
        print(f"\nproven {proven} of {working} that still capture; clean twins {twins} of {options.seeds}", flush=True)


if __name__ == "__main__":
    main()
