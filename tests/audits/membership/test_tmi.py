"""What the attacker may get wrong (strategy, rows), and one pretrained ensemble under several downstream tasks."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from undertow.attacks.tmi_default import tmi_default
from undertow.audits.chain import Host, Workshop
from undertow.audits.membership.presets import preset
from undertow.audits.membership.tmi import _evidence, _train, audit_tmi, lay_table, offered
from undertow.audits.settings import EngineSettings
from undertow.engine.executor import Serial
from undertow.sources.records.datasets import load_supply
from undertow.storage.store import MemoryStore
from undertow.training.schedule import Fit
from undertow.types import ConfigError, Signals

SMALL = replace(
    preset("tmi", "digits"),
    shadows=8,
    victims=4,
    challenge=60,
    views=2,
    control=False,
    attacks=("tmi-lda",),
    pretrain=Fit(epochs=10, batch=100, jitter=0.05),
    finetune=Fit(epochs=3, batch=100, lr=0.05),
    engine=EngineSettings(name="fused_mlp"),
)
DIGITS = load_supply("tmi", SMALL.data, SMALL.seed)


def table(config, store=None):
    return lay_table(Workshop(config, DIGITS, Host(store or MemoryStore(), Serial())))


def run(config, supply=DIGITS, store=None, progress=None):
    return audit_tmi(config, supply, Host(store or MemoryStore(), Serial(), progress=progress))


def test_victims_by_another_strategy_share_the_pretrained_ensemble():
    game = table(replace(SMALL, victim_strategy="full"))
    assert (game.finetune["shadow"].strategy, game.finetune["victim"].strategy) == ("linear", "full")
    assert replace(game.finetune["victim"], strategy="linear") == game.finetune["shadow"]
    assert game.pretrain == table(SMALL).pretrain


def test_the_engines_of_both_roles_are_decided_for_themselves():
    auto = replace(SMALL, engine=EngineSettings(), strategy="full", victim_strategy="last-k", last_layers=1)
    game = table(auto)
    assert game.finetune["victim"].plan.engine == "sequential"  # frozen layers: nothing else can
    assert set(game.engines) == {"pretrain", "finetune", "finetune victims"}


def test_a_mismatch_is_what_it_says():
    """Victims finetuned fully answer as in an audit by 'full'; shadows as in one by 'linear'."""
    store = MemoryStore()
    keys = {}
    for name, config in {
        "linear": SMALL,
        "full": replace(SMALL, strategy="full"),
        "mixed": replace(SMALL, victim_strategy="full"),
    }.items():
        before = set(store.arrays)
        result = run(config, store=store)
        keys[name] = set(store.arrays) - before
    assert not keys["mixed"]  # both halves were there already
    assert result.environment["finetuning"]["strategy"] == {"shadow": "linear", "victim": "full"}
    said = [
        line for line in result.warnings if "shadows by 'linear'" in line and "victims are finetuned by 'full'" in line
    ]
    assert len(said) == 1
    assert result.scores[0].values.shape == (4, 60)


def test_the_same_strategy_said_twice_is_no_mismatch():
    assert table(replace(SMALL, victim_strategy="linear")).finetune == table(SMALL).finetune
    assert not run(replace(SMALL, victim_strategy="linear")).warnings


def test_the_adversary_that_knows_the_victims_rows_is_named():
    said = run(replace(SMALL, data=replace(SMALL.data, relation="same"))).warnings
    assert any("exactly the victims' rows" in line for line in said)


@pytest.mark.parametrize("strategy", ["linear", "full"])
@pytest.mark.parametrize("relation", ["same", "disjoint"])
def test_relations_work_for_every_strategy(strategy, relation):
    result = run(replace(SMALL, strategy=strategy, data=replace(SMALL.data, relation=relation)))
    assert np.isfinite(result.scores[0].values).all()


def test_more_rows_than_half_of_a_split_pool():
    with pytest.raises(ConfigError, match=r"draws 501 .*only 500 on each side"):
        table(replace(SMALL, data=replace(SMALL.data, relation="disjoint", draw=501)))


def test_another_downstream_task_trains_no_pretrained_model():
    store = MemoryStore()
    run(SMALL, store=store)
    other = replace(DIGITS.other, y=DIGITS.other.y % 5)
    elsewhere = replace(DIGITS, other=other, test=replace(DIGITS.test, y=DIGITS.test.y % 5))
    before = set(store.arrays)
    first = {}
    second = run(SMALL, elsewhere, store, lambda what, done, total: first.setdefault(what, (done, total)))
    assert first["pretrain"] == first["query"] == (12, 12)  # all were there at the first look
    assert first["finetune"][0] == 0
    new = [set(store.arrays[key]) for key in set(store.arrays) - before]
    assert sum(names == {"logits", "accuracy", "heldout_loss"} for names in new) == 12
    assert len(new) == 12 + 2  # their answers, the other task's rows and test records: no weights
    assert second.environment["finetuning"]["strategy"]["victim"] == "linear"


BOTH = replace(SMALL, attacks=("tmi-default", "tmi-lda", "direct-tmi-default", "direct-lira"))


@pytest.fixture(scope="module")
def both():
    store = MemoryStore()
    return store, run(BOTH, store=store)


def test_direct_access_is_the_rule_by_hand_on_the_pretrained_outputs(both):
    store, result = both
    workshop = Workshop(BOTH, DIGITS, Host(store, Serial()))
    game = lay_table(workshop)
    evidence = _evidence(workshop, game, *_train(workshop, game))
    seen, asked = evidence.pretrained_logits[:8], evidence.pretrained_logits[8:]
    by_hand = tmi_default(Signals(seen, evidence.member[:8], evidence.pretrained_labels), asked)
    (found,) = [s for s in result.scores if s.attack == "direct-tmi-default"]
    np.testing.assert_array_equal(found.values, by_hand)
    np.testing.assert_array_equal(found.member, evidence.member[8:])


def test_the_result_says_what_direct_access_adds_and_how_many_records_were_asked_about(both):
    _, result = both
    direct, own = (result.find(name, "auc").value for name in ("direct-tmi-default", "tmi-default"))
    added = result.find("direct-tmi-default - tmi-default", "auc_difference")
    assert abs(added.value - (direct - own)) < 1e-12
    assert {m.attack for m in result.measurements if m.metric == "auc_difference"} == {added.attack}
    assert result.environment["asked together"] == {"tmi-default": 60, "direct-tmi-default": 60}
    few = [m for m in result.measurements if m.group == "asked together"]
    assert {m.attack for m in few} == {"tmi-default"}
    assert [m.at for m in few if m.metric == "auc"] == [1.0, 10.0, 50.0, 60.0]
    everyone = result.find("tmi-default", "auc", group="asked together", at=60.0)
    assert replace(everyone, group=None, at=None) == result.find("tmi-default", "auc")
    assert not [m for m in result.controls if m.at is not None]


def test_direct_access_is_tried_by_two_rules_unasked(both):
    """The embedded default: LiRA, and the default rule at both places; other rules where they are named."""
    assert [name for name in offered() if name.startswith("direct-")] == ["direct-lira", "direct-tmi-default"]
    store, _ = both
    named = run(replace(BOTH, attacks=("tmi-lda", "direct-tmi-lda")), store=store)
    assert {m.attack for m in named.measurements} == {"tmi-lda", "direct-tmi-lda", "direct-tmi-lda - tmi-lda"}
    assert named.environment["asked together"] == {}
    assert not named.not_run
