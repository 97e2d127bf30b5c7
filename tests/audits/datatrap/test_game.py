"""The data-trap audit: the game, its rows, what a seed decides, what is refused before anything is trained."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table, audit_datatrap
from undertow.audits.datatrap.presets import PRESETS, preset
from undertow.audits.datatrap.rows import lost, mean_rows
from undertow.audits.datatrap.settings import TrapModel, Traps
from undertow.engine.executor import Serial
from undertow.sources.records.trap_data import load_traps
from undertow.storage.store import MemoryStore
from undertow.types import BadInput, ConfigError, Examples

BASE = preset("digits-mlp")
SMALL = replace(
    BASE,
    model=TrapModel(hidden=(256, 64)),
    traps=replace(BASE.traps, count=24),
    pretrain=replace(BASE.pretrain, epochs=10),
    finetune=replace(BASE.finetune, epochs=2),
)


def run(config, store=None):
    host = Host(store or MemoryStore(), Serial())
    return audit_datatrap(config, lambda seed: load_traps(config.data, seed), host)


@pytest.fixture(scope="module")
def played():
    return run(replace(SMALL, seeds=2))


def test_records_are_copied_and_the_rows_say_so(played):
    result, runs = played
    for seed, one in zip((0, 1), runs, strict=True):
        counts = {m: result.find("datatrap", m, seed=seed).value for m in ("captured_exact", "mixed", "none", "traps")}
        assert counts["captured_exact"] >= 12
        assert counts["captured_exact"] + counts["mixed"] + counts["none"] == counts["traps"] == 24
        assert result.find("datatrap", "max_error", seed=seed).value <= 1e-4
        truth = one.judged.truth[one.judged.captures.nearest[one.judged.captures.exact]]
        assert np.allclose(one.judged.candidates.values[one.judged.captures.exact, 0], truth, atol=1e-4)


def test_accuracy_of_both_arms_before_and_after(played):
    for when in ("before", "after"):
        for arm in ("planted", "clean_twin"):
            row = played[0].find("utility", "accuracy", group=arm, when=when, seed=0)
            assert row.low < row.value < row.high
            assert row.n == 297


def test_means_are_over_seeds(played):
    values = [played[0].find("datatrap", "captured_exact", seed=s).value for s in (0, 1)]
    mean = played[0].find("datatrap", "captured_exact", seed="mean")
    assert (mean.value, mean.n, mean.unit) == (np.mean(values), 2, "seeds")
    assert played[0].find("datatrap", "collapsed", seed="mean").value == 0


def test_the_same_seed_gives_the_same_bits_and_reruns_train_nothing(played):
    store = MemoryStore()
    first, again = run(SMALL, store), run(SMALL, store)
    assert first[0].measurements == again[0].measurements == played[0].measurements[: len(first[0].measurements)]


def test_without_traps_that_fire_nothing_is_captured():
    quiet = replace(SMALL, traps=replace(SMALL.traps, slope=1e-6, rows=4.0))
    assert run(quiet)[0].find("datatrap", "captured_exact", seed=0).value <= 1


def test_a_finetuning_that_diverges_is_a_result():
    result, runs = run(replace(SMALL, finetune=replace(SMALL.finetune, lr=1e6)))
    row = result.find("utility", "accuracy", group="planted", when="after", seed=0)
    assert (row.value, row.reason) == (None, "the finetuning diverged")
    assert result.find("datatrap", "captured_exact", seed=0).value == 0
    assert lost(runs[0].rows) == 0  # the twin diverged too
    assert len(list(mean_rows([runs[0].rows]))) == 0


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_sense(name):
    config = preset(name)
    assert (config.traps.slope > 0) == name.startswith("digits")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"traps": replace(SMALL.traps, count=200)}, "at most 192 can be taken"),
        ({"traps": replace(SMALL.traps, layer=1)}, "they need 3 dense layers"),
        ({"data": replace(SMALL.data, auxiliary=60)}, "auxiliary records cannot place a threshold"),
    ],
)
def test_what_cannot_be_planted_is_refused_before_training(changes, said):
    config = replace(SMALL, **changes)
    with pytest.raises(BadInput, match=said):
        Table(config, load_traps(config.data, 0), Host(MemoryStore(), Serial())).check()


def test_settings_that_cannot_mean_anything_are_refused():
    with pytest.raises(ConfigError, match="two dense layers"):
        TrapModel(hidden=(64,))
    with pytest.raises(ConfigError, match=r"traps\.count"):
        Traps(count=0)
    with pytest.raises(ConfigError, match=r"traps\.layer"):
        replace(SMALL, strategy="lora", traps=replace(SMALL.traps, layer=1))
    with pytest.raises(ConfigError, match="did you mean 'digits-mlp'"):
        preset("digits-mpl")


def test_victim_records_that_the_attacker_has_are_refused():
    supply = load_traps(SMALL.data, 0)
    with pytest.raises(BadInput, match="would prove nothing"):
        replace(supply, auxiliary=Examples(supply.victim.x[:9], supply.victim.y[:9], "digits"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", 20), ("expected", 3.0), ("nested", 0.0), ("slope", 900.0), ("rows", 2.0), ("layer", 1)],
)
def test_every_setting_of_the_traps_is_part_of_the_key(field, value):
    supply, host = load_traps(SMALL.data, 0), Host(MemoryStore(), Serial())
    other = replace(SMALL, traps=replace(SMALL.traps, **{field: value}))
    assert Table(SMALL, supply, host).kit.plant != Table(other, supply, host).kit.plant


@pytest.mark.parametrize(
    ("field", "value"), [("head_rate", 2.0), ("clip", 1.0), ("strategy", "lora"), ("lora_rank", 8)]
)
def test_how_the_victim_finetunes_is_part_of_the_key(field, value):
    supply, host = load_traps(SMALL.data, 0), Host(MemoryStore(), Serial())
    base = replace(SMALL, strategy="lora") if field == "lora_rank" else SMALL
    assert Table(base, supply, host).kit.finetune != Table(replace(base, **{field: value}), supply, host).kit.finetune


def test_a_victim_who_keeps_the_head_meets_a_crafted_one():
    result, runs = run(replace(SMALL, keep_head=True))
    assert runs[0].trap.head
    assert result.find("datatrap", "captured_exact", seed=0).value >= 12
    with pytest.raises(ConfigError, match="keep_head"):
        replace(preset("vit"), keep_head=True)
