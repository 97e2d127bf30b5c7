import numpy as np
import pytest
from tests.oracles.auc import auc
from tests.oracles.lira import lira_by_hand, lira_offline_by_hand

from undertow.attacks.lira import PER_EXAMPLE, lira, lira_offline
from undertow.rng import stream
from undertow.types import BadInput, ConfigError, Signals


def game(models, points, leak=0.0, targets=3, seed=0):
    """Shadows with as many IN as OUT at every point, and targets, with their truth."""
    rng = stream(seed, "game", models, points)
    member = np.argsort(np.argsort(rng.random((models, points)), 0), 0) < models // 2
    truth = rng.random((targets, points)) < 0.5
    scale, centre = np.exp(rng.normal(0, 0.5, points)), rng.normal(0, 3, points)
    values = [centre + scale * (rng.normal(size=m.shape) + leak * m) for m in (member, truth)]
    return Signals(values[0], member), values[1], truth


@pytest.mark.parametrize("variance", ["example", "pooled"])
@pytest.mark.parametrize(("rule", "oracle"), [(lira, lira_by_hand), (lira_offline, lira_offline_by_hand)])
def test_matches_the_paper_written_slowly(rule, oracle, variance):
    shadow, target, _ = game(9, 7)
    by_hand = oracle(shadow, target, variance == "example")
    np.testing.assert_allclose(rule(shadow, target, variance), by_hand, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("models", [6, 64])
@pytest.mark.parametrize("rule", [lira, lira_offline])
def test_is_blind_when_nothing_leaks(rule, models):
    """The AUC of 3 x 1000 scores that know nothing has a standard error of .0105; 4 of them."""
    shadow, target, truth = game(models, 1000)
    assert abs(auc(rule(shadow, target), truth) - 0.5) < 0.042


@pytest.mark.parametrize("models", [6, 64])
def test_sees_a_planted_leak(models):
    shadow, target, truth = game(models, 500, leak=1.5)
    assert auc(lira(shadow, target), truth) > 0.75
    assert auc(lira_offline(shadow, target), truth) > 0.7


@pytest.mark.parametrize("rule", [lira, lira_offline])
def test_auto_is_per_example_only_with_enough_models(rule):
    for models, variance in ((2 * PER_EXAMPLE, "example"), (2 * PER_EXAMPLE - 2, "pooled"), (8, "pooled")):
        shadow, target, _ = game(models, 20)
        np.testing.assert_array_equal(rule(shadow, target), rule(shadow, target, variance))


def test_64_models_are_one_attack_held_out_and_leave_one_out():
    """Leave-one-out drops the target and its complement, so 31 of 32 remain on each side."""
    shadow, target, _ = game(62, 20)
    np.testing.assert_array_equal(lira(shadow, target), lira(shadow, target, "example"))


def test_too_few_models_names_the_point_and_how_many():
    shadow, target, _ = game(6, 5)
    member = shadow.member.copy()
    member[:, 3] = np.arange(6) < 1
    member[:, 4] = False
    with pytest.raises(BadInput, match=r"point 3 is IN 1 and OUT of 5 .* 2 of 5 points"):
        lira(Signals(shadow.values, member), target)
    with pytest.raises(BadInput, match="point 2 is IN 6 and OUT of 0"):
        lira_offline(Signals(shadow.values, np.arange(5) == np.full((6, 1), 2)), target)


def test_offline_needs_no_model_that_saw_the_point():
    shadow, target, _ = game(6, 5)
    nobody = Signals(shadow.values, np.zeros((6, 5), bool))
    assert np.isfinite(lira_offline(nobody, target)).all()


def test_offline_ignores_the_models_that_saw_the_point():
    shadow, target, _ = game(8, 5)
    other = Signals(np.where(shadow.member, 99.0, shadow.values), shadow.member)
    np.testing.assert_array_equal(lira_offline(other, target), lira_offline(shadow, target))


def test_offline_keeps_the_order_where_probabilities_are_one():
    shadow, _, _ = game(8, 1)
    z = np.array([[-8.0], [0.0], [7.0], [8.5], [9.0], [40.0], [1e3], [1e6]])
    scores = lira_offline(shadow, shadow.values.mean() + 3 * z)
    assert np.isfinite(scores).all()
    assert (np.diff(scores[:, 0]) > 0).all()


@pytest.mark.parametrize("variance", ["example", "pooled"])
def test_constant_signals_stay_finite(variance):
    member = np.arange(8)[:, None] % 2 == np.zeros((1, 3), int)
    shadow = Signals(np.full((8, 3), 7.0), member)
    for rule in (lira, lira_offline):
        scores = rule(shadow, np.array([[7.0, 8.0, -100.0]]), variance)
        assert np.isfinite(scores).all()
    np.testing.assert_array_equal(lira(shadow, np.full((1, 3), 7.0), variance), 0)


def test_unknown_variance():
    shadow, target, _ = game(6, 5)
    with pytest.raises(ConfigError, match="'each'"):
        lira(shadow, target, "each")
