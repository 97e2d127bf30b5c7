"""The test behind "Leak shown": seldom without a leak, in designs that mislead a plain limit, and seldom silent."""

import numpy as np
import pytest

from undertow.audits.in_turn import attack_in_turn
from undertow.audits.membership.evidence import SignalSet, check_evidence
from undertow.audits.membership.leak import _replay
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
    shown = sum(audit(deal, seed).leak["shown"] for seed in range(60))
    assert shown <= 6  # of 60 at 2.5 %: exceeded in 1 of 1,000 runs


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


def test_in_an_uneven_design_chance_is_what_a_null_gives():
    """The other models' membership foretells the target's: the redraws must find how much, within their error."""
    audits = [audit(propensity, seed, models=40).find("bavaria", "auc") for seed in range(25)]
    values, chances = np.array([[m.value, m.chance or 0.5] for m in audits]).T
    assert chances.mean() > 0.51
    assert values.mean() == pytest.approx(chances.mean(), abs=4 * values.std() / 5)


def test_an_uneven_design_is_warned_of():
    assert "foretells" in audit(propensity, 1).design["warnings"][0]


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


def balanced_columns(rng, models, points):
    return np.argsort(rng.random((models, points)), 0) < models // 2


@pytest.mark.parametrize("deal", [pairs, balanced_columns])
@pytest.mark.parametrize("target", [[3], [3, 7, 11]])
def test_the_null_of_held_out_targets_is_one_half_where_columns_have_one_sum(deal, target):
    """The counts of the other models would say what a target was; what was left of them must not."""
    found = [audit(deal, seed, models=12, target=np.array(target)).find("lira", "auc").value for seed in range(30)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / np.sqrt(30))


def test_a_blind_guess_on_one_draw_is_as_unsure_as_random_halves_are():
    """Cross-validated guesses of one draw depend on each other: without that, 9 of 100 nulls exceeded one half."""
    rng = stream(0, "records")
    records = np.concatenate([rng.normal(size=(160, 12)), 3 * rng.normal(size=(160, 12))], 1)
    low = []
    for seed in range(60):
        member = np.argsort(stream(seed, "half").random((1, 160)), 1) < 80
        arrays = {"member": member, "values": stream(seed, "v").normal(size=member.shape), "features": records}
        low.append(audit_score(SignalSet("s", "", arrays), seed=seed).find("blind", "auc").low)
    assert np.mean(np.array(low) > 0.5) <= 0.1  # of 60 at 2.5 %: exceeded in 1 of 1,000 runs


def test_records_that_were_dealt_together_are_named_unless_the_file_says_so():
    rng = stream(4, "together")
    person = np.arange(200) // 5
    member = (rng.random((16, 40)) < 0.5)[:, person]
    (said,) = reading(member)["warnings"]
    assert "200 records have 40 different patterns" in said
    assert reading(member, groups=person)["warnings"] == []


@pytest.mark.parametrize("deal", [pairs, one_split, alike])
def test_records_that_were_dealt_one_by_one_are_not_said_to_be_dealt_together(deal):
    assert not any("patterns" in w for w in reading(deal(stream(5, "apart"), 16, 200))["warnings"])


def test_records_that_nearly_all_models_hold_are_not_said_to_be_dealt_together():
    member = stream(6, "apart").random((16, 300)) < 0.99
    assert not any("patterns" in w for w in reading(member)["warnings"])


@pytest.mark.parametrize("deal", [pairs, alike, propensity])
def test_a_redraw_is_scored_as_the_audit_was(deal):
    """Under the membership of the file itself, the test by randomisation finds the AUC that the audit found."""
    rng = stream(7, "replay", deal.__name__)
    member = deal(rng, 16, 200)
    signals = SignalSet("s", "", {"member": member, "values": rng.normal(size=member.shape)})
    evidence, ids, _ = check_evidence(signals)
    for scores in attack_in_turn(evidence, ("lira", "lira-offline", "bavaria"), 0, ids=ids).scores:
        replay = _replay(scores, evidence, None, ids)
        values = replay.score(replay.member, rng)
        scored = np.isfinite(values)
        assert (scored == (np.ones(scored.shape, bool) if scores.scored is None else scores.scored)).all()
        np.testing.assert_allclose(values[scored], scores.values[scored], rtol=1e-12)
