"""The ROC numbers against the definition written slowly, closed forms, and the laws they must obey."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from undertow.metrics import auc, roc_curve, threshold_at, tpr_at, tpr_band
from undertow.rng import stream
from undertow.types import BadInput, Scores


def auc_slowly(values, member):
    wins = [(x > y) + (x == y) / 2 for x in values[member] for y in values[~member]]
    return sum(wins) / len(wins)


@st.composite
def games(draw):
    """Few distinct scores, so that ties are common, and both classes present."""
    member = np.array([True, False, *draw(st.lists(st.booleans(), max_size=40))])
    values = draw(st.lists(st.integers(-5, 5), min_size=len(member), max_size=len(member)))
    return np.array(values, float), member


@given(games())
def test_auc_is_the_share_of_concordant_pairs(game):
    assert auc(*game) == auc_slowly(*game)


@given(games(), st.sampled_from([0.01, 0.2, 0.5]))
def test_tpr_keeps_the_false_positive_rate_as_it_claims(game, fpr):
    values, member = game
    threshold = threshold_at(values[~member], fpr)
    assert np.mean(values[~member] > threshold) <= fpr
    below = np.unique(values[~member & (values < threshold)])
    if len(below):  # no lower threshold keeps to the allowed number
        assert (values[~member] > below[-1]).sum() > np.floor((~member).sum() * fpr)
    assert tpr_at(values, member, fpr) == np.mean(values[member] > threshold)


@given(games(), st.sampled_from([lambda x: x**3, np.exp, np.arctan, lambda x: 7 * x - 3]))
def test_only_the_order_of_the_scores_counts(game, strictly_increasing):
    values, member = game
    moved = strictly_increasing(values)
    assert auc(moved, member) == auc(values, member)
    assert tpr_at(moved, member, 0.2) == tpr_at(values, member, 0.2)
    np.testing.assert_array_equal(roc_curve(moved, member), roc_curve(values, member))


@given(games(), st.randoms())
def test_the_order_of_the_examples_does_not_count(game, random):
    order = list(range(len(game[0])))
    random.shuffle(order)
    values, member = (part[order] for part in game)
    assert auc(values, member) == auc(*game)
    assert tpr_at(values, member, 0.2) == tpr_at(*game, 0.2)


@given(games())
def test_swapping_the_classes_mirrors_the_auc(game):
    values, member = game
    assert auc(values, ~member) == pytest.approx(1 - auc(values, member), abs=1e-15)


@given(games())
def test_the_curve_rises_from_corner_to_corner_over_an_area_of_auc(game):
    fpr, tpr = roc_curve(*game)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    assert len(fpr) == len(np.unique(game[0])) + 1
    assert np.trapezoid(tpr, fpr) == pytest.approx(auc(*game))


def test_two_normals_have_the_known_curve():
    rng = stream(0, "test")
    member = rng.random((4, 100_000)) < 0.5
    values = rng.normal(size=member.shape) + 1.5 * member
    assert auc(values, member) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.003)
    for fpr in (0.01, 0.001):
        assert tpr_at(values, member, fpr) == pytest.approx(norm.sf(norm.isf(fpr) - 1.5), rel=0.06)


def test_nothing_leaks_nothing_found():
    rng = stream(1, "test")
    member = rng.random(200_000) < 0.5
    values = rng.normal(size=member.size)
    assert auc(values, member) == pytest.approx(0.5, abs=0.004)
    assert tpr_at(values, member, 0.01) == pytest.approx(0.01, abs=0.0015)


def test_the_band_holds_the_curve_and_stays_within_0_and_1():
    rng = stream(2, "test")
    member = rng.random((9, 300)) < 0.5
    values = rng.normal(size=member.shape) + member
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 1, 30)])
    low, high = tpr_band(Scores("loss", values, member), grid)
    curve = np.array([tpr_at(values, member, fpr) for fpr in grid])
    assert (low <= curve).all()
    assert (curve <= high).all()
    assert (low >= 0).all()
    assert (high <= 1).all()


@pytest.mark.parametrize("models", [1, 12])
def test_the_band_covers_the_true_curve_point_by_point(models):
    rng, grid, covered = stream(4, "test"), np.array([0.01, 0.05, 0.2, 0.5]), []
    truth = norm.sf(norm.isf(grid) - 1)
    for _ in range(100):
        member = rng.random((models, 1600 // models)) < 0.5
        values = rng.normal(size=member.shape) + member
        low, high = tpr_band(Scores("loss", values, member), grid)
        covered.append((low <= truth) & (truth <= high))
    share = np.mean(covered, 0)
    assert (share > 0.89).all(), f"coverage {share} at FPR {grid}"


@pytest.mark.parametrize("rule", [auc, roc_curve, lambda v, m: tpr_at(v, m, 0.01)])
@pytest.mark.parametrize(
    ("values", "member", "message"),
    [
        ([1.0, 2.0], [True, True], "no non-members among 2 scores"),
        ([1.0, 2.0], [False, False], "no members"),
        ([], [], "no members"),
        ([1.0, np.nan], [True, False], "1 scores are NaN"),
        ([1.0], [True, False], "of the shape of the scores"),
    ],
)
def test_what_has_no_roc_is_refused(rule, values, member, message):
    with pytest.raises(BadInput, match=message):
        rule(np.array(values), np.array(member, bool))


def test_membership_as_numbers_is_refused():
    with pytest.raises(BadInput, match="must be bool"):
        auc(np.array([1.0, 2.0]), np.array([0, 1]))
