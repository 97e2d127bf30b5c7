"""The planner's binomial model against simulated audits; what a design could show is never exceeded."""

import numpy as np
import pytest

from undertow.integrations import audit_canaries, plan_canaries, with_canaries
from undertow.integrations.planner import accuracy, chance_to_show, expected_bound, largest_bound, needed_separation
from undertow.rng import stream
from undertow.types import ConfigError


def audits(count, separation, runs):
    """Audits of normal scores, straight through `audit_canaries`."""
    for seed in range(runs):
        _, key = with_canaries([{"input_ids": [1]}], count, seed, 5000, length=4)
        yield audit_canaries(
            stream(seed, "scores", count).normal(size=count) + separation * key.member, np.zeros(count), key
        )


@pytest.mark.parametrize(("count", "separation"), [(64, 2.0), (128, 1.2), (256, 2.0)])
def test_the_prediction_is_what_simulated_audits_give(count, separation):
    found = np.array([a.bound.epsilon for a in audits(count, separation, 100)])
    expected = expected_bound(count, separation, 1e-5, 0.95)
    above = chance_to_show(expected, count, separation, 1e-5, 0.95)
    assert abs((found >= expected - 1e-6).mean() - above) < 0.15  # three standard errors of a hundred coins
    assert np.quantile(found, 0.3) <= expected <= np.quantile(found, 0.7)
    assert found.max() <= largest_bound(count, 1e-5, 0.95)


def test_accuracy_is_half_without_separation_and_one_with_much():
    assert accuracy(128, 0.0) == pytest.approx(0.5)
    assert accuracy(128, 10.0) == pytest.approx(1.0)


def test_all_right_gives_the_ceiling_by_hand():
    """32 of 32 guesses right: (1 - delta terms) q^32 = .05, so q = .05^(1/32)."""
    q = 0.05 ** (1 / 32)
    assert largest_bound(128, 0.0, 0.95) == pytest.approx(np.log(q / (1 - q)), abs=1e-6)


def test_no_signal_gives_a_bound_in_at_most_a_twentieth_of_runs():
    assert chance_to_show(0.0, 128, 0.0, 1e-5, 0.95) <= 0.05


def test_a_plan_shows_what_it_was_asked_for():
    plan = plan_canaries(1.0, epochs=3)
    assert plan.power >= 0.8
    assert plan.expected >= 1.0
    assert plan.ceiling > plan.expected
    assert plan.copies == 1
    assert f"{plan.canaries} canaries, 1 copy of each, 3 epochs" in plan.text()
    found = [a.bound.epsilon >= 1.0 for a in audits(plan.canaries, plan.separation, 60)]
    assert np.mean(found) >= 0.65  # .8 less three standard errors


def test_weaker_canaries_need_more_copies():
    weak, strong = (plan_canaries(2.0, epochs=2, kind=kind) for kind in ("new-token", "sampled"))
    assert weak.copies > strong.copies


def test_what_no_design_shows_is_said():
    with pytest.raises(ConfigError, match="at most"):
        plan_canaries(6.0, canaries=64)
    with pytest.raises(ConfigError, match="above 0"):
        plan_canaries(0.0)
    with pytest.raises(ConfigError, match="per_pass from a pilot"):
        plan_canaries(1.0, kind="nonsense")


def test_the_needed_separation_gives_a_bound_four_times_in_five():
    needed = needed_separation(128, 1e-5, 0.95)
    assert chance_to_show(0.0, 128, needed, 1e-5, 0.95) == pytest.approx(0.8, abs=1e-6)


def test_a_zero_says_what_could_have_been_shown():
    found = {a.verdict: a for a in audits(32, 0.8, 40)}
    assert {"not shown", "inconclusive"} <= set(found)
    for audit in found.values():
        assert f"could have shown at most {audit.ceiling:.2f}" in audit.text()
    assert "separation of about" in found["not shown"].text()
    assert "privacy was not tested" in found["inconclusive"].text()
