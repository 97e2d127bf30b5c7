"""Proof mode on trapped checkpoints and on their clean twins: how many are proven, at every seed.

    python benchmarks/prove.py [--presets digits-mlp digits-adamw] [--seeds 20] [--variants plain bf16 quiet]
    python benchmarks/prove.py --presets vit-cifar10 vit-cifar10-image --checkpoint FOLDER --data DIR --victim 500 1
    python benchmarks/prove.py --presets bert bert-banking77 --checkpoint FOLDER --data DIR --victim 320 1

Per seed a checkpoint is pretrained (or is the one in FOLDER, with config.json) and trapped. It still captures if a
victim who finetunes it has records in its traps (read with the attacker's key); then it must be proven, on made-up
records alone, or with --public on real ones. --victim: so many records and epochs instead of the preset's. Variants
are made after planting: bf16, weights rounded; quiet (perceptrons), every unit of the trapped layer as long as its
median (a ReLU carries the factor on). Clean twins, the same checkpoints without traps, must not be proven. No seed is
left out.
"""

import argparse
import json
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import time
from dataclasses import replace

import numpy as np
import torch
from scan import share

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.prove.proof import Proof, prove
from undertow.audits.prove.subject import Given, subject_of
from undertow.engine.executor import Serial
from undertow.engine.key import fingerprint
from undertow.models.huggingface import HuggingFace
from undertow.sources.records.trap_source import trap_source
from undertow.storage.store import MemoryStore
from undertow.traps import Trap
from undertow.types import Params

SEEN = 4000  # of the attacker's records, on which thresholds are set


def plain(params: Params, _: Trap) -> Params:
    return params


def bf16(params: Params, _: Trap) -> Params:
    return {name: torch.tensor(value).bfloat16().float().numpy() for name, value in params.items()}


def quiet(params: Params, trap: Trap) -> Params:
    w, b, after = f"{trap.layer}.weight", f"{trap.layer}.bias", f"{trap.following}.weight"
    length = np.linalg.norm(params[w], axis=1)
    factor = (np.median(length) / np.maximum(length, 1e-30)).astype(np.float32)
    return {**params, w: params[w] * factor[:, None], b: params[b] * factor, after: params[after] / factor}


VARIANTS = {"plain": plain, "bf16": bf16, "quiet": quiet}


def captured(table: Table, trap: Trap, params: Params) -> int:
    """Records that a victim's finetuning leaves in the traps."""
    key = fingerprint(*params.values())
    if not table.host.store.has(key):
        table.host.store.put(key, params)
    found = table.read(trap, key, table.finetuned(key))
    return table.kit.judge(trap, table.kit.named(params), found).captures.counts["captured_exact"]


def proof_of(table: Table, params: Params, public: bool) -> Proof:
    """As `undertow scan --prove` puts it; `public`: on the test records, which neither attacker nor victim has."""
    own, test = table.kit.architecture, table.supply.test
    records = {"x": test.x, "y": test.y} if public else {}
    given = Given(**records, architecture=sized(own, table.supply.shape) if isinstance(own, HuggingFace) else None)
    subject, control = subject_of(table.kit.named(params), given, table.config.seed)
    return prove(subject, [control], table.config.seed)


def sized(architecture: HuggingFace, shape: tuple[int, ...]) -> HuggingFace:
    """As config.json beside a saved checkpoint says it; before that the size of images follows the records."""
    if len(shape) == 1:
        return architecture
    size = {"num_channels": shape[0], "image_size": list(shape[1:])}
    return HuggingFace(json.dumps(json.loads(architecture.config) | size, sort_keys=True))


def settings(name: str, seed: int, options: argparse.Namespace) -> DataTrapConfig:
    """The preset with what the command line changes."""
    config = replace(preset(name), seed=seed)
    if options.data:
        seen = min(config.data.auxiliary, SEEN)
        config = replace(config, data=replace(config.data, folder=options.data, auxiliary=seen))
    if options.checkpoint:
        config = replace(config, model=replace(config.model, checkpoint=options.checkpoint))
    if options.victim:
        records, epochs = options.victim
        config = replace(
            config, data=replace(config.data, victim=records), finetune=replace(config.finetune, epochs=epochs)
        )
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits-mlp", "digits-adamw"])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["plain"])
    parser.add_argument("--data", default="", help="the folder of named datasets")
    parser.add_argument("--checkpoint", default="", help="of a ViT or a BERT")
    parser.add_argument("--victim", type=int, nargs=2, metavar=("RECORDS", "EPOCHS"))
    parser.add_argument("--public", action="store_true", help="prove on real records of the same kind (scan --data)")
    parser.add_argument("--twins", type=int, help="of how many seeds the clean twin is put to the proof; all")
    options = parser.parse_args()
    options.twins = options.seeds if options.twins is None else min(options.twins, options.seeds)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for name in options.presets:
        print(f"\n### `{name}`\n\n| seed | variant | captured by a victim | units that copied | chance | proven | s |")
        print("|---" * 7 + "|")
        working, proven, twins = 0, 0, 0
        for seed in range(options.first, options.first + options.seeds):
            config = settings(name, seed, options)
            load, base = trap_source(config)
            table = Table(config, load(seed), Host(MemoryStore(), Serial()), base)
            key, store = table.clean(), table.host.store
            planted = store.get(table.play([table.kit.plant], "base", key)[0])
            trap = table.kit.plant.trap(table.slot("base"), store.get(key), store)
            arms = [(variant, VARIANTS[variant](planted, trap)) for variant in options.variants]
            arms += [("clean twin", store.get(key))] * (seed < options.first + options.twins)
            for variant, params in arms:
                held = "" if variant == "clean twin" else captured(table, trap, params)
                began = time.process_time()
                proof = proof_of(table, params, options.public)
                cells = (seed, variant, held, len(proof.held), proof.chance, "yes" if proof.proven else "no")
                print(f"| {' | '.join(map(str, cells))} | {time.process_time() - began:.1f} |", flush=True)
                twins += proof.proven and variant == "clean twin"
                if held:
                    working, proven = working + 1, proven + proof.proven
        apart = f"clean twins {share(twins, options.twins)}" if options.twins else "no clean twins"
        print(f"\nproven {share(proven, working)} that still capture; {apart}", flush=True)


if __name__ == "__main__":
    main()
