"""Names of configurations: every one means something, and a mistyped one names the nearest."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
from undertow.audits.membership.presets import BUDGETS, PAIRS, PRESETS, STRATEGIES, changed, listing, preset
from undertow.audits.membership.presets_text import text_presets
from undertow.audits.settings import LeakageConfig
from undertow.training.schedule import Fit
from undertow.types import ConfigError

NAMES = [f"{pair}-{strategy}-{budget}" for pair in PAIRS for strategy in STRATEGIES for budget in BUDGETS]


def test_there_is_a_preset_of_every_pair_strategy_and_budget():
    assert list(PRESETS["tmi"]) == ["digits", "folder", "texts", *NAMES, *text_presets()]
    assert list(PRESETS["mia"]) == ["digits", "folder", "texts"]


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_its_pair_its_strategy_and_its_budget(name):
    config = preset("tmi", name)
    assert name.startswith(config.data.pair)
    assert (config.strategy == "linear") == ("-linear-" in name or "-dp-" in name)
    assert bool(config.privacy.epsilon) == ("-dp-" in name)
    assert (config.model.kind == "resnet") == name.endswith("-paper")
    assert not config.data.pool or config.challenge <= config.data.pool
    assert not config.data.other or config.data.draw <= config.data.other


@pytest.mark.parametrize("budget", BUDGETS)
def test_both_tasks_of_cifar100_are_pretrained_alike(budget):
    """Whatever the strategy: what pretraining depends on is the same, so one store serves all of them."""
    seen = set()
    for pair in ("cifar100-cifar10", "cifar100-coarse"):
        for strategy in STRATEGIES:
            c = preset("tmi", f"{pair}-{strategy}-{budget}")
            seen.add((c.seed, c.model, c.pretrain, c.engine, c.data.classes, c.data.pool, c.data.label_noise, c.views))
    assert len(seen) == 1


def test_a_change_may_reach_into_a_table():
    config = changed(LeakageConfig(), {"views": 3, "pretrain": {"epochs": 7}})
    assert config == replace(LeakageConfig(), views=3, pretrain=Fit(epochs=7))


@pytest.mark.parametrize(
    ("audit", "name", "says"),
    [
        ("tmi", "cifar100-coarse-linear-smal", "did you mean cifar100-coarse-linear-small"),
        ("tmi", "digit", r"did you mean digits\?"),
        ("tmi", "zzz", "there are: digits, folder, texts and PAIR-STRATEGY-BUDGET"),
        ("mia", "zzz", r"there are: digits, folder, texts \("),
        ("mia", "tiny-caltech-full-small", "undertow audit tmi --preset tiny-caltech-full-small"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(audit, name, says):
    with pytest.raises(ConfigError, match=says):
        preset(audit, name)


def test_the_list_names_them_all_in_few_lines():
    lines = listing("tmi")
    assert len(lines) < 52
    assert max(map(len, lines)) < 100
    for pair in PAIRS:
        for strategy in STRATEGIES:
            assert sum(line.strip().startswith(f"{pair}-{strategy}-small | -medium | -paper ") for line in lines) == 1
    for pair in {config.data.pair for _, config in text_presets().values()}:
        assert sum(line.strip().startswith(f"{pair}-full-small | -medium ") for line in lines) == 1
    for name, part in BUDGETS.items():
        assert any(line.split() == [name, *part.about.split()] for line in lines)
    assert listing("mia") == [line for line in listing("mia") if line.startswith("mia  ")]
