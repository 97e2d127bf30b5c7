"""Trapped checkpoints for `undertow scan`, each as planted and as a victim's finetuning leaves it.

    python benchmarks/scan_trapped.py --data DIR --minilm FOLDER --vit FOLDER --out DIR [--seeds 0 1] [--only dense]

Writes OUT/trapped/NAME-SEED.safetensors and, beside it, .json with the rows of every tensor that the traps took. FOLDER
of --vit holds what `benchmarks/traps.py --presets vit-cifar10 --out FOLDER` pretrained. Seeds from 100 on are for
development.
"""

import argparse
import json
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import traps_bert
import traps_vit
from safetensors.numpy import save_file

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.audits.datatrap.settings import DataTrapConfig, TrapData
from undertow.engine.executor import Serial
from undertow.rng import stream
from undertow.sources.records.trap_data import load_traps
from undertow.stages.plant import trapped_layers
from undertow.stages.plant_transformer import bare
from undertow.storage.store import MemoryStore
from undertow.traps import MlpTrap, bert_trap, best_expected, plant
from undertow.traps.dense.black_box import membership_trap
from undertow.traps.vit.room import HIDDEN
from undertow.types import Params

IDLE = "idle"  # not a tensor: the row of the first one that measures the weight decay; no trap, but no benign unit
Made = tuple[str, Params, dict[str, list[int]]]  # name, weights, rows of traps by tensor


def dense_settings(data: Path) -> Iterator[tuple[str, DataTrapConfig]]:
    """Presets, with few and many traps, single and nested, planned and given loudness."""
    for name in ("digits-mlp", "digits-momentum", "digits-adamw"):
        for count in (8, 32, 64):
            yield f"{name}-{count}", replace(preset(name), traps=replace(preset(name).traps, count=count))
    digits = preset("digits-mlp")
    yield "digits-planned", replace(digits, traps=replace(digits.traps, slope=0.0, count=32))
    yield "digits-single", replace(digits, traps=replace(digits.traps, nested=0.0, count=32))
    for name in ("cifar10-mlp", "cifar10-cnn"):
        given = preset(name)
        small = TrapData("cifar10", folder=str(data), auxiliary=2000, victim=1000, test=200)
        yield name, replace(given, data=small, pretrain=replace(given.pretrain, epochs=4))


def dense(seed: int, options: argparse.Namespace) -> Iterator[Made]:
    for name, config in dense_settings(options.data):
        if options.only not in f"dense-{name}":
            continue
        config = replace(config, seed=seed)
        table = Table(config, load_traps(config.data, seed), Host(MemoryStore(), Serial()))
        clean = table.play([table.kit.pretrain], "base")[0]
        planted = table.play([table.kit.plant], "base", clean)[0]
        trap = table.kit.plant.trap(table.slot("base"), table.host.store.get(clean), table.host.store)
        yield f"dense-{name}-planted", table.host.store.get(planted), rows_of(trap)
        after = table.finetuned(planted)
        if after is not None:
            yield f"dense-{name}-after", table.host.store.get(after), rows_of(trap)


def rows_of(trap: MlpTrap) -> dict[str, list[int]]:
    units = [*trap.units, *trap.upper, *trap.detectors]
    return {f"{trap.layer}.weight": [int(unit) for unit in units], IDLE: [trap.idle]}


def black_box(seed: int, options: argparse.Namespace) -> Iterator[Made]:
    if options.only not in "black-box":
        return
    config = replace(preset("digits-mlp"), seed=seed)
    table = Table(config, load_traps(config.data, seed), Host(MemoryStore(), Serial()))
    base = table.host.store.get(table.play([table.kit.pretrain], "base")[0])
    layer, following = trapped_layers(table.kit.architecture.build(table.shape, table.supply.classes))
    rate = config.finetune.lr / config.finetune.batch
    for index in range(2):
        trap = membership_trap(
            base, table.supply.auxiliary.x, table.supply.victim.x[index], layer=layer, following=following, rate=rate
        )
        state = plant(base, trap)
        yield f"black-box-{index}-planted", state, rows_of(trap)
        store = MemoryStore()
        own = Table(config, table.supply, Host(store, Serial()))
        store.put("planted", state)
        after = own.finetuned("planted")
        if after is not None:
            yield f"black-box-{index}-after", store.get(after), rows_of(trap)


def vit(seed: int, options: argparse.Namespace) -> Iterator[Made]:
    if options.only not in "vit-patch-image" or not options.vit:
        return
    for mode, name in (("patch", "vit-cifar10"), ("image", "vit-cifar10-image")):
        table = traps_vit.table_of(name, seed, options.data, options.vit)
        store, clean = table.host.store, table.clean()
        trap = table.kit.plant.trap(table.slot("base"), store.get(clean), store)
        planted = table.play([table.kit.plant], "base", clean)[0]
        rows = {HIDDEN(0, "mlp.fc1.weight"): [int(i) for i in trap.units.ravel()], IDLE: [trap.idle]}
        yield f"vit-{mode}-planted", bare(store.get(planted)), rows
        end = table.finetuned(planted)
        if end is not None:
            yield f"vit-{mode}-after", bare(store.get(end)), rows


def bert(seed: int, options: argparse.Namespace) -> Iterator[Made]:
    if options.only not in "bert-trec-banking77" or not options.minilm:
        return
    for name in ("trec", "banking77"):
        rng = stream(seed, "benchmark", name)
        ids, labels, _, _, auxiliary, classes = traps_bert.texts(options.data, name, 20, options.minilm, rng, 320, 1000)
        model = traps_bert.model_of(options.minilm, classes, seed)
        clean = traps_bert.params_of(model)
        trap = bert_trap(clean, auxiliary, 8, best_expected(len(ids), 32) / len(ids), rng, heads=12)
        state = plant(clean, trap)
        units = [int(i) for i in trap.units.ravel()]
        rows = {trap.bert.layer(0, "intermediate.dense.weight"): units, IDLE: [trap.units.size]}
        yield f"bert-{name}-planted", state, rows
        fit = SimpleNamespace(rate=0.1, head_rate=0.5, epochs=1, batch=32)
        traps_bert.finetuned(model, state, ids, labels, fit, seed)
        yield f"bert-{name}-after", traps_bert.params_of(model), rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--vit", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", default="", help="part of a family's name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    folder = options.out / "trapped"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for family in (dense, black_box, vit, bert):
            for name, params, rows in family(seed, options):
                path = folder / f"{name}-{seed}.safetensors"
                kept = {n: np.ascontiguousarray(v, np.float32) for n, v in params.items()}
                save_file(kept, path)
                path.with_suffix(".json").write_text(json.dumps(rows))
                print(name, seed, flush=True)


if __name__ == "__main__":
    main()
