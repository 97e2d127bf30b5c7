import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.oracles.auc import auc
from tests.oracles.rmia import rmia_share

from undertow.attacks.rmia import rmia, rmia_offline, share_beaten
from undertow.rng import stream
from undertow.types import BadInput, ConfigError, Signals


def game(models=10, points=40, leak=0.0, seed=0):
    rng = stream(seed, "game", models, points)
    member, truth = rng.random((models, points)) < 0.5, rng.random((3, points)) < 0.5
    member[:2] = [[True], [False]]
    logits = [rng.normal(size=points) + rng.normal(size=m.shape) + leak * m for m in (member, truth)]
    log_p = [-np.log1p(np.exp(-z)) for z in logits]
    return Signals(log_p[0], member), log_p[1], truth


@pytest.mark.parametrize("gamma", [0.8, 1.0, 2.0, 4.0])
def test_matches_the_paper_written_slowly(gamma):
    shadow, target, _ = game()
    points = target.shape[1]
    for scores, share in (
        (rmia(shadow, target, gamma), rmia_share(shadow, target, gamma)),
        (rmia_offline(shadow, target, gamma, 0.3), rmia_share(shadow, target, gamma, 0.3)),
    ):
        count = share * (points - 1)
        np.testing.assert_allclose(np.floor(scores * points), count, atol=1e-8)


@pytest.mark.parametrize("a", [0.0, 1.0])
def test_offline_at_the_ends_of_a(a):
    shadow, target, _ = game()
    share = rmia_share(shadow, target, 2.0, a)
    np.testing.assert_allclose(np.floor(rmia_offline(shadow, target, 2.0, a) * 40), share * 39, atol=1e-8)


@given(arrays(float, (2, 12), elements=st.floats(-200, 200)))
def test_the_tie_break_never_reorders_shares(log_ratio):
    for scores, ratio in zip(share_beaten(log_ratio, 2.0), log_ratio):
        count = [(r - ratio >= np.log(2)).sum() for r in ratio]
        assert all(np.diff(np.array(count)[np.argsort(scores, kind="stable")]) >= 0)
        assert ((scores >= 0) & (scores < 1)).all()


def test_strong_members_are_not_tied():
    ratio = np.array([[0.0, 10.0, 60.0, 61.0, 200.0]])
    assert len(np.unique(share_beaten(ratio, 2.0))) == 5


def saturated(models=16, points=300, seed=3):
    """Models sure of nearly every label, members a little surer; every point has its own difficulty."""
    rng = stream(seed, "saturated")
    member = np.argsort(np.argsort(rng.random((models, points)), 0), 0) < models // 2
    truth = rng.random((models, points)) < 0.5
    hard = rng.normal(6, 3, points)
    logits = [hard + rng.normal(size=m.shape) + m for m in (member, truth)]
    log_p = [-np.log1p(np.exp(-z)) for z in logits]
    return Signals(log_p[0], member), log_p[1], truth


def test_gamma_never_changes_the_order_within_a_model():
    for shadow, target, _ in (game(), saturated()):
        for rule in (rmia, rmia_offline):
            order = [np.argsort(rule(shadow, target, gamma), 1) for gamma in (1.0, 1.5, 2.0, 4.0)]
            for other in order[1:]:
                np.testing.assert_array_equal(other, order[0])


def test_scores_of_saturated_models_can_be_pooled():
    """A factor of 2 is out of reach where all probabilities are near 1, and then models cannot be compared."""
    shadow, target, truth = saturated()
    within = np.mean([auc(scores, members) for scores, members in zip(rmia(shadow, target), truth)])
    assert within > 0.65
    assert abs(auc(rmia(shadow, target), truth) - within) < 0.01
    assert auc(rmia(shadow, target, 2.0), truth) < within - 0.05


def test_is_blind_when_nothing_leaks():
    """The AUC of 3 x 800 scores that know nothing has a standard error of .0118; 4 of them."""
    for seed in range(5):
        shadow, target, truth = game(16, 800, seed=seed)
        for rule in (rmia, rmia_offline):
            assert abs(auc(rule(shadow, target), truth) - 0.5) < 0.047


def test_equal_ratios_stay_equal_whatever_the_order_of_summation():
    """Two points with the same outputs in other models have one average, but for rounding."""
    rng = stream(4, "ties")
    log_p = np.log(rng.integers(1, 5, (12, 200)) / 7)  # few levels, as the votes of a forest
    member = np.argsort(np.argsort(rng.random((12, 200)), 0), 0) < 6
    target = np.log(rng.integers(1, 5, (2, 200)) / 7)
    ways = [rmia(Signals(log_p[order], member[order]), target) for order in (np.arange(12), np.arange(12)[::-1])]
    np.testing.assert_allclose(*ways, rtol=0, atol=1e-12)


def test_sees_a_planted_leak():
    shadow, target, truth = game(16, 400, leak=2.0)
    assert auc(rmia(shadow, target), truth) > 0.75
    assert auc(rmia_offline(shadow, target), truth) > 0.7


def test_finite_at_the_ends_of_probability():
    shadow, target, _ = game()
    ends = Signals(np.where(shadow.values < -1, -200.0, 0.0), shadow.member)
    for rule in (rmia, rmia_offline):
        assert np.isfinite(rule(ends, np.where(target < -1, -200.0, 0.0))).all()
    assert np.isfinite(rmia_offline(ends, target, a=1.0)).all()


def test_missing_models_are_masked_not_zero():
    shadow, target, _ = game()
    member = shadow.member.copy()
    member[:, 5] = False
    with pytest.raises(BadInput, match="point 5 is IN 0"):
        rmia(Signals(shadow.values, member), target)
    assert np.isfinite(rmia_offline(Signals(shadow.values, member), target)).all()
    with pytest.raises(BadInput, match="point 5 is IN 10 and OUT of 0"):
        rmia_offline(Signals(shadow.values, ~member & (np.arange(40) == 5)), target)


def test_refuses_what_has_no_meaning():
    shadow, target, _ = game()
    with pytest.raises(ConfigError, match="gamma = 0"):
        rmia(shadow, target, 0.0)
    with pytest.raises(ConfigError, match=r"a = 1\.5"):
        rmia_offline(shadow, target, a=1.5)
    with pytest.raises(BadInput, match="at least 2"):
        rmia(Signals(shadow.values[:, :1], shadow.member[:, :1]), target[:, :1])
