"""Disguised data traps in every storage form: what `undertow scan` says, and whether the traps still capture.

    python benchmarks/scan_forms.py [--seeds 10 11 12 13] [--traps 32] [--forms NAME ...]

A perceptron on the embedded digits is trapped; the idle unit, which would give the trap away, is made to look like any
other. The planted weights are stored in each form, scanned, loaded as a victim would, finetuned, and the traps are
read. One line for each form: verdicts of the checkpoints, the largest score and coverage, and records captured. With
--benign, the clean twin is stored in every form too; every `unsafe` of those is a false alarm.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scan_adaptive import Planted, no_idle
from scan_storage import FORMS, Job

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.engine.executor import Serial
from undertow.rng import stream
from undertow.sources.records.trap_data import load_traps
from undertow.storage.store import MemoryStore
from undertow.traps import captures, plant, read
from undertow.types import Params
from undertow.workflows.scan import scan_checkpoint


@dataclass(frozen=True)
class Row:
    """One checkpoint in one form."""

    form: str
    planted: bool
    verdict: str
    score: float
    coverage: float
    captured: int


class Game:
    """One seed: the clean checkpoint, the planted one, and its victim."""

    def __init__(self, seed: int, traps: int) -> None:
        config = preset("digits-mlp")
        config = replace(config, seed=seed, traps=replace(config.traps, count=traps))
        self.table = Table(config, load_traps(config.data, seed), Host(MemoryStore(), Serial()))
        store = self.table.host.store
        self.clean = store.get(self.table.play([self.table.kit.pretrain], "base")[0])
        self.trap = self.table.kit.plant.trap(self.table.slot("base"), self.clean, store)
        dark = ~self.table.supply.auxiliary.x.reshape(-1, 64).any(0)
        one = Planted(plant(self.clean, self.trap), self.trap, self.clean, dark, stream(seed, "forms"))
        self.planted = no_idle(one).params
        self.seed = seed

    def captured(self, form: str, params: Params) -> int:
        """Records that the victim's finetuning writes into the traps of `params`, exactly."""
        store = self.table.host.store
        kept = {name: np.ascontiguousarray(value, np.float32) for name, value in params.items()}
        key = f"stored {form}"
        store.put(key, kept)
        after = self.table.finetuned(key)
        if after is None:
            return 0
        truth = self.table.kit.plant.inputs(kept, self.table.supply.victim.x)
        return int(captures(read(kept, store.get(after), self.trap), truth).counts["captured_exact"])


def scanned(game: Game, form: str, planted: bool) -> Row:
    """Store it, scan it, and count captures where it is the planted one."""
    rng = stream(game.seed, "forms", form)
    with tempfile.TemporaryDirectory() as folder:
        params = {name: value.copy() for name, value in (game.planted if planted else game.clean).items()}
        path, loaded = FORMS[form](Job(params, game.clean, Path(folder), rng))
        result = scan_checkpoint(path)
    score, coverage = result.settings.get("score", -30.0), getattr(result, "coverage", None)
    share = float("nan") if coverage is None else coverage.share
    return Row(form, planted, result.verdict, float(score), share, game.captured(form, loaded) if planted else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13])
    parser.add_argument("--traps", type=int, default=32)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--benign", action="store_true", help="store the clean twins too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for seed in options.seeds:
        game = Game(seed, options.traps)
        for form in options.forms:
            rows += [scanned(game, form, planted) for planted in (True, False)[: 1 + options.benign]]
    for planted in (True, False)[: 1 + options.benign]:
        print(f"\n{'planted' if planted else 'clean twins'}, {len(options.seeds)} seeds, {options.traps} traps")
        print("| form | verdicts | lowest score | coverage | captured, mean |\n|---|---|---|---|---|")
        for form in options.forms:
            several = [one for one in rows if one.form == form and one.planted == planted]
            said = ", ".join(f"{count} {verdict}" for verdict, count in Counter(one.verdict for one in several).items())
            least, share = min(one.score for one in several), min(one.coverage for one in several)
            held = float(np.mean([one.captured for one in several]))
            print(f"| {form} | {said} | {least:.2f} | {share:.2f} | {held:.1f} |")
        seen = [one for one in rows if one.planted == planted]
        alive = [one for one in seen if one.captured or not planted]
        print(f"unsafe {sum(one.verdict == 'unsafe' for one in alive)} of {len(alive)}", end="; ")
        print(f"called safe {sum(one.verdict == 'safe' for one in alive)}")


if __name__ == "__main__":
    main()
