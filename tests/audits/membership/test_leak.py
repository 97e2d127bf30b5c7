"""The test behind "Leak shown": seldom without a leak, in designs that mislead a plain limit, and seldom silent."""

import numpy as np
import pytest

from undertow.audits.membership.evidence import SignalSet
from undertow.audits.membership.reading import reading
from undertow.audits.membership.score import audit_score
from undertow.rng import stream


def pairs(rng, models, points):
    half = rng.random((models // 2, points)) < 0.5
    return np.concatenate([half, ~half])


def one_split(rng, models, points):
    return np.repeat(rng.random((1, points)) < 0.5, models, 0)


def alike(rng, models, points):
    return (rng.random(points) < 0.5) ^ (rng.random((models, points)) < 0.1)


def propensity(rng, models, points):
    return rng.random((models, points)) < rng.beta(0.5, 0.5, points)


def audit(deal, seed, leak=0.0, models=16, points=100, target=None):
    rng = stream(seed, "test", deal.__name__)
    member = deal(rng, models, points)
    hard = 2 * rng.normal(size=points)
    values = rng.normal(size=member.shape) + hard + 0.3 * rng.normal(size=(models, 1)) + leak * member
    arrays = {"member": member, "values": values}
    return audit_score(SignalSet("s", "", arrays if target is None else arrays | {"target": target}), seed=seed)


@pytest.mark.parametrize("deal", [pairs, one_split, alike, propensity])
def test_a_null_is_seldom_called_a_leak(deal):
    shown = sum(audit(deal, seed).leak["shown"] for seed in range(100))
    assert shown <= 8  # of 100 at 2.5 %: exceeded in 1 of 1,000 runs


@pytest.mark.parametrize("deal", [pairs, alike, propensity])
def test_a_leak_is_shown(deal):
    result = audit(deal, 0, leak=1.5)
    assert result.leak["shown"]
    assert result.leak["low"] > result.leak["chance"]


def test_one_split_repeated_is_one_draw():
    result = audit(one_split, 0, models=8)
    assert result.design["name"] == "one split, repeated"
    assert result.design["draws"] == 1
    assert any("one membership draw" in w for w in result.design["warnings"])
    assert {m.unit for m in result.measurements} == {"points"}


def test_in_an_uneven_design_guessing_is_not_one_half():
    result = audit(propensity, 1)
    assert result.leak is not None
    lira = result.find("lira", "auc")
    assert lira.chance is not None
    assert lira.chance > 0.6  # the other models' membership foretells the target's
    assert result.design["warnings"]


def test_held_out_victims_are_tested_on_their_own_draws():
    result = audit(pairs, 0, leak=1.5, models=20, target=np.array([3, 7, 11, 15]))
    assert result.design["name"] == "held-out victims"
    assert result.leak["shown"]
    assert result.find("lira", "auc").n == 4


def test_a_narrow_leak_must_pass_the_randomisation_too():
    methods = {audit(pairs, seed, leak=0.25).leak["method"] for seed in range(12)}
    assert "interval and randomisation" in methods


@pytest.mark.parametrize(
    ("deal", "name"),
    [(pairs, "complementary pairs, in turn"), (alike, "alike splits"), (one_split, "one split, repeated")],
)
def test_the_design_is_recognised(deal, name):
    found = reading(deal(stream(0, "test"), 16, 200))
    assert found["name"] == name
    assert found["about"].endswith(".")


def test_two_models_on_two_halves_are_one_draw():
    assert reading(pairs(stream(0, "test"), 2, 200))["draws"] == 1
    assert reading(pairs(stream(0, "test"), 8, 2000))["draws"] == pytest.approx(4, abs=0.2)
