"""The presets of texts: named alike, small enough, and playable as they are."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow.audits.chain import Host, Workshop, ready
from undertow.audits.membership.presets_text import BUDGETS, PAIRS, STRATEGIES, text_presets
from undertow.engine.executor import Serial
from undertow.sources.records import text_pairs
from undertow.sources.records.datasets import load_supply
from undertow.storage.store import MemoryStore


def test_every_pair_strategy_and_budget_has_a_name():
    assert tuple(PAIRS) == text_pairs.PAIRS
    names = {f"{pair}-{strategy}-{budget}" for pair in PAIRS for strategy in STRATEGIES for budget in BUDGETS}
    assert text_presets().keys() == names
    for name, (about, config) in text_presets().items():
        assert about.endswith(")")
        assert name == f"{config.data.pair}-{config.strategy}-{name.rpartition('-')[2]}"


def test_pairs_share_their_pretraining_settings():
    """Only tokens differ between pairs (the tokenizer reads the finetuning texts), not how the base is made."""
    configs = {name: config for name, (_, config) in text_presets().items() if name.endswith("medium")}
    assert len({(c.pretrain, c.model, c.data.pool, c.data.context) for c in configs.values()}) == 1


@pytest.mark.parametrize("pair", PAIRS)
def test_a_preset_can_be_played_and_its_models_are_small(shared_data, pair):
    config = text_presets()[f"{pair}-full-medium"][1]
    config = replace(config, data=replace(config.data, source=str(shared_data)))
    supply = ready(config, load_supply("tmi", config.data, config.seed))
    workshop = Workshop(config, supply, Host(MemoryStore(), Serial()))
    module = workshop.architecture.build(workshop.shape, 77)
    assert sum(parameter.numel() for parameter in module.parameters()) <= 1_000_000
    assert (config.shadows, config.victims) == (16, 8)
