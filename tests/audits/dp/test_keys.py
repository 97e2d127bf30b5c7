"""A changed field that decides the runs of a DP audit is a cache miss; one that only reads them is a hit."""

from dataclasses import fields, replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("dp_accounting")

from undertow.audits.chain import Host
from undertow.audits.dp.game import Game
from undertow.audits.dp.settings import DpConfig, DpData, DpRecipe
from undertow.engine.executor import Serial
from undertow.engine.key import model_key, stage_digest
from undertow.sources.records.dp_data import load_dp
from undertow.storage.store import MemoryStore
from undertow.types import Slot

BASE = DpConfig(hidden=(4,), data=DpData(records=30, auxiliary=20), recipe=DpRecipe(steps=3, noise=2.0))
DECIDES = {
    "seed": 1, "canary": "mislabelled", "init": "pretrained", "one_run": True, "hidden": (5,),
}  # fmt: skip
READS = {"access": "black-box", "runs": 500, "confidence": 0.9, "bound": "clopper-pearson"}
DATA = {"source": None, "folder": None, "records": 31, "auxiliary": 21, "size": None}  # None: of other sources
RECIPE = {"steps": 4, "rate": 0.5, "sampling": "shuffled", "lr": 0.1, "clip": 2.0, "noise": 3.0}


def key(config):
    """Where the first block of runs would be stored; nothing is trained, but for a pretrained checkpoint."""
    game = Game(config, load_dp(config.data, config.seed), Host(MemoryStore(), Serial()))
    slot = Slot("coins" if config.one_run else "with", 0, config.seed, None)
    return model_key(stage_digest(game.stage), slot, "")


def changes():
    known = {"epsilon", "delta", "canaries", "data", "recipe", "engine", *DECIDES, *READS}
    assert {f.name for f in fields(DpConfig)} == known  # a new field must be listed here
    assert {f.name for f in fields(DpData)} == set(DATA)
    assert {f.name for f in fields(DpRecipe)} == set(RECIPE)
    for name, value in DECIDES.items():
        also = {"canary": "random"} if name == "init" else {}
        yield name, replace(BASE, **{name: value}, **also)
    yield "canaries", replace(BASE, one_run=True, canaries=30)
    for name, value in DATA.items():
        if value is not None:
            yield f"data.{name}", replace(BASE, data=replace(BASE.data, **{name: value}))
    for name, value in RECIPE.items():
        also = {"rate": 0.5} if name == "sampling" else {}
        yield f"recipe.{name}", replace(BASE, recipe=replace(BASE.recipe, **{name: value}, **also))
    yield "engine.dtype", replace(BASE, engine=replace(BASE.engine, dtype="float64"))


def test_what_decides_the_runs_is_in_their_key():
    found = {name: key(config) for name, config in [("base", BASE), *changes()]}
    assert len(set(found.values())) == len(found)


def test_the_claim_decides_the_noise_and_so_the_runs():
    free = replace(BASE, recipe=replace(BASE.recipe, noise=0.0))
    assert len({key(free), key(replace(free, epsilon=2.0)), key(replace(free, delta=1e-6))}) == 3


@pytest.mark.parametrize(("name", "value"), READS.items())
def test_what_only_reads_the_runs_is_not(name, value):
    assert key(replace(BASE, **{name: value})) == key(BASE)
