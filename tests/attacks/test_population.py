import numpy as np
import pytest
from tests.oracles.auc import auc
from tests.oracles.blind import blind_by_hand

from undertow.attacks.population import blind, stratified
from undertow.rng import stream
from undertow.types import BadInput


@pytest.mark.parametrize(("points", "width"), [(30, 4), (30, 70), (57, 8)])
def test_equals_one_explicit_fit_per_fold(points, width):
    rng = stream(1, "test", points, width)
    features = rng.normal(size=(points, width)) @ rng.normal(size=(width, width))
    features[:, 1] = 0.1  # a constant feature says nothing and breaks nothing
    member = rng.random((3, points)) < 0.4
    rng = stream(2, "folds")
    by_hand = [blind_by_hand(features, truth, stratified(truth, rng)) for truth in member]
    np.testing.assert_allclose(blind(features, member, stream(2, "folds")), by_hand, atol=1e-8)


def test_sees_a_planted_shift():
    rng = stream(3, "test")
    member = rng.random((4, 200)) < 0.5
    features = rng.normal(size=(200, 20))
    features[:, 5] += 1.5 * member[0]
    scores = blind(features, member, rng)
    assert auc(scores[0], member[0]) > 0.75
    assert abs(auc(scores[1:], member[1:]) - 0.5) < 0.1  # 3 se of one draw; the null test is exact


def test_images_are_flattened():
    rng = stream(4, "test")
    images, member = rng.normal(size=(20, 3, 2, 2)), rng.random((1, 20)) < 0.5
    flat = blind(images.reshape(20, -1), member, stream(0, "folds"))
    np.testing.assert_array_equal(blind(images, member, stream(0, "folds")), flat)


@pytest.mark.parametrize("members", [2, 3, 4, 5, 17])
def test_every_fold_has_its_share(members):
    member = np.arange(23) < members
    fold = stratified(member, stream(0, "test"))
    count = min(5, members, 23 - members)
    assert set(fold) == set(range(count))
    for side in (member, ~member):
        sizes = np.bincount(fold[side], minlength=count)
        assert sizes.max() - sizes.min() <= 1


def test_too_few_of_a_class():
    with pytest.raises(BadInput, match="1 of 9 points are members"):
        blind(np.ones((9, 2)), (np.arange(9) < 1)[None], stream(0, "test"))
