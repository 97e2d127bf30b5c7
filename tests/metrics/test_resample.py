"""A weighted sample must give, to the last bit, the numbers of the sample written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undertow.metrics import auc, tpr_at
from undertow.metrics.resample import draws, rank, roc_numbers, unit_of
from undertow.rng import stream
from undertow.types import BadInput, Scores

FPRS = (0.0, 0.0001, 0.001, 0.01, 0.1, 0.3, 1.0)


def written_out(scores, weights):
    """The pairs of `scores`, each as often as its unit weighs."""
    times = weights[unit_of(scores)].ravel()
    return np.repeat(scores.values.ravel(), times), np.repeat(scores.member.ravel(), times)


def expected(values, member):
    return [auc(values, member), *(tpr_at(values, member, fpr) for fpr in FPRS)]


@st.composite
def weighted(draw):
    models, points = draw(st.integers(1, 4)), draw(st.integers(1, 25))
    rng = stream(draw(st.integers(0, 10**6)), "test")
    values = rng.integers(draw(st.sampled_from([3, 1000])), size=(models, points)).astype(float)
    scores = Scores("loss", values, rng.random((models, points)) < 0.5)
    units = models if models > 1 else points
    return scores, rng.integers(draw(st.sampled_from([2, 5])), size=(3, units))


@given(weighted())
def test_weights_are_repetitions(case):
    scores, weights = case
    samples = [written_out(scores, row) for row in weights]
    usable = [len(set(member)) == 2 for _, member in samples]
    if not any(usable):
        return
    found = roc_numbers(rank(scores), weights[usable].astype(np.int32), FPRS)
    for row, sample in zip(found, (s for s, good in zip(samples, usable) if good)):
        assert row.tolist() == expected(*sample)


@pytest.mark.parametrize("shape", [(1, 5000), (20, 300)])
def test_drawn_weights_are_repetitions_at_size(shape):
    rng = stream(0, "test", *shape)
    member = rng.random(shape) < 0.5
    scores = Scores("loss", np.round(rng.normal(size=shape) + member, 2), member)
    ranking = rank(scores)
    for weights in draws(ranking, rng, 5):
        for row, found in zip(weights, roc_numbers(ranking, weights, FPRS)):
            assert found.tolist() == expected(*written_out(scores, row))


def test_models_are_drawn_where_there_are_two():
    member = stream(0, "test").random((6, 50)) < 0.5
    ranking = rank(Scores("loss", member.astype(float), member))
    weights = np.concatenate(list(draws(ranking, stream(1, "test"), 4000)))
    assert (ranking.unit, ranking.units, weights.shape) == ("models", 6, (4000, 6))
    assert (weights.sum(1) == 6).all()
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.06)
    np.testing.assert_allclose(weights.var(0), 5 / 6, atol=0.08)


def test_points_are_drawn_within_their_class():
    member = np.arange(30)[None] < 4
    ranking = rank(Scores("loss", member.astype(float), member))
    weights = np.concatenate(list(draws(ranking, stream(1, "test"), 100)))
    assert (ranking.unit, ranking.units) == ("points", 4)
    assert (weights[:, :4].sum(1) == 4).all()
    assert (weights[:, 4:].sum(1) == 26).all()


def test_a_draw_always_has_both_classes():
    member = np.array([[True] * 5, [False] * 5])
    weights = np.concatenate(list(draws(rank(Scores("loss", member * 1.0, member)), stream(0, "test"), 50)))
    assert (weights == 1).all()


@pytest.mark.parametrize(("present", "missing"), [(True, "non-members"), (False, "members")])
def test_a_missing_class_is_named_with_its_attack(present, missing):
    with pytest.raises(BadInput, match=f"rmia: no {missing} among 6 scored pairs"):
        rank(Scores("rmia", np.zeros((2, 3)), np.full((2, 3), present)))
