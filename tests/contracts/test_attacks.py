"""Our own attacks, by the contract that any attack is tested by."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from undertow.attacks import in_turn
from undertow.attacks.attack import ONE_SIGNAL, Attack, one_signal
from undertow.attacks.catalog import ATTACKS
from undertow.attacks.lira import lira
from undertow.testing.attacks import AttackContract

BY_CHANCE = ("tmi", "tmi-averaged", "tmi-global", "tmi-label-only", "tmi-top-k")  # they train networks


def names(by_chance):
    return [n for n in ATTACKS.built_in if (n.removeprefix("direct-") in BY_CHANCE) == by_chance]


class TestRules(AttackContract):
    @pytest.fixture(params=names(False))
    def attack(self, request):
        return ATTACKS[request.param]


class TestNetworks(AttackContract):
    order_matters = True

    @pytest.fixture(params=names(True))
    def attack(self, request):
        return ATTACKS[request.param]


class TestLiraWithItsOracle(AttackContract):
    def oracle(shadow, target):
        from tests.oracles.lira import lira_by_hand

        return lira_by_hand(shadow, target, False)

    @pytest.fixture
    def attack(self):
        return ATTACKS["lira"]


def signal(rule, **changes):
    return replace(Attack("broken", "attack", "a rule with one fault", ONE_SIGNAL, one_signal, rule), **changes)


def gap(shadow, target, rng):
    """A sound rule: nearer the mean of IN than of OUT."""
    inside, outside = (shadow.values.mean(0, where=side) for side in (shadow.member, ~shadow.member))
    return np.asarray(np.abs(target - outside) - np.abs(target - inside), float)


def flipped(shadow, target, rng):
    return -gap(shadow, target, rng)


def unsure(shadow, target, rng):
    return np.log(np.maximum(100 - np.abs(target), 0)) + gap(shadow, target, rng)  # -inf where models are sure


def counts(shadow, target, rng):
    """Knows the targets by their number."""
    return gap(shadow, target, rng) + 10 * np.arange(len(target))[:, None]


def standard(shadow, target, rng):
    """Uses the target's other answers and does not say so."""
    return gap(shadow, target, rng) / target.std(1, keepdims=True)


def first_shadow(shadow, target, rng):
    return gap(shadow, target, rng) + np.abs(target - shadow.values[:1])


def by_place(shadow, target, rng):
    return gap(shadow, target, rng) + np.arange(target.shape[1]) / 10


def narrow(shadow, target, rng):
    return gap(shadow, target, rng).astype(np.float32)


def nobody(shadow, target, rng):
    """0 where there is no model to compare with."""
    if not shadow.member.any(0).all() or shadow.member.all(0).any():
        return np.zeros(target.shape)
    return gap(shadow, target, rng)


BROKEN = {
    "flipped": (signal(flipped), "test_a_planted_leak_is_found_and_higher_means_member"),
    "an infinite score": (signal(unsure), "test_it_is_finite_where_models_are_sure"),
    "scores by number": (signal(counts), "test_a_target_is_scored_alone_or_in_company"),
    "together and silent": (signal(standard), "test_it_says_whether_answers_at_other_points_matter"),
    "alone and called together": (signal(gap, together=True), "test_it_says_whether_answers_at_other_points_matter"),
    "the first shadow": (signal(first_shadow), "test_the_order_of_the_shadows_does_not_matter"),
    "by place": (signal(by_place), "test_the_order_of_the_points_does_not_matter"),
    "single precision": (signal(narrow), "test_a_planted_leak_is_found_and_higher_means_member"),
    "zero for missing": (
        signal(nobody, least_in=0, least_out=0),
        "test_pairs_without_enough_models_are_masked_and_not_scored",
    ),
    "a shortcut of another rule": (
        signal(gap, in_turn=in_turn.lira),
        "test_attacked_in_turn_the_scores_are_those_of_the_rule",
    ),
    "a name of two words": (signal(gap, name="two words"), "test_it_is_declared_well"),
    "an unknown audit": (signal(gap, offered=frozenset({"mai"})), "test_it_is_declared_well"),
    "no such evidence": (signal(gap, needs=(("logit",),)), "test_it_is_declared_well"),
    "what cannot travel": (signal(lambda *_: 0), "test_it_is_declared_well"),
    "evidence it does not name": (
        signal(gap, read=lambda e: e.values + e.logits.mean((2, 3))),
        "test_each_alternative_of_its_evidence_suffices_and_nothing_less",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found(name):
    attack, test = BROKEN[name]
    with pytest.raises(Exception):  # noqa: B017 - an assertion, or what the fault itself raises
        getattr(AttackContract(), test)(attack)


@pytest.mark.parametrize("test", [t for t in dir(AttackContract) if t.startswith("test_")])
def test_the_rule_without_a_fault_passes(test):
    with suppress(pytest.skip.Exception):
        getattr(AttackContract(), test)(signal(gap))


class TestPeeking(AttackContract):
    """An oracle that differs is told from the rule."""

    def oracle(shadow, target):
        return lira(shadow, target) + 1e-3

    @pytest.fixture
    def attack(self):
        return ATTACKS["lira"]

    def test_it_equals_the_rule_written_slowly(self, attack):
        with pytest.raises(AssertionError):
            super().test_it_equals_the_rule_written_slowly(attack)
