"""The threshold of balanced accuracy is chosen where it is not used, so that the null is one half."""

import numpy as np
import pytest

from undertow.metrics import measure
from undertow.metrics.held_out import best_threshold, guesses, threshold_noise
from undertow.metrics.influence import accuracy_influence
from undertow.rng import stream
from undertow.types import Scores


def accuracy(scores, rng):
    return accuracy_influence(scores, guesses(scores, rng).mean(0))[0]


def halves(rng, models, points, paired):
    """Membership in exactly half of the points; paired: model 2k+1 holds what model 2k does not."""
    member = np.argsort(rng.random((models, points)), 1) < points // 2
    if paired:
        member[1::2] = ~member[::2]
    return member


@pytest.mark.parametrize(("models", "paired"), [(1, False), (2, True), (4, True), (6, False)])
def test_the_null_is_one_half(models, paired):
    rng, found = stream(0, "test", models), []
    for _ in range(500):
        member = halves(rng, models, 60, paired)
        hardness = rng.normal(size=60)  # shared by the models: what makes leave-one-model-out pessimistic
        found.append(accuracy(Scores("loss", hardness + 0.3 * rng.normal(size=member.shape), member), rng))
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - 0.5) < 3 * error, f"null {np.mean(found):.4f} +- {error:.4f}"
    assert error < 0.004  # leaving out the model alone gives .475 at 4 paired models


@pytest.mark.parametrize("models", [1, 8])
def test_a_planted_leak_is_seen(models):
    rng = stream(1, "test")
    member = rng.random((models, 800)) < 0.5
    found = accuracy(Scores("loss", rng.normal(size=member.shape) + 2 * member, member), rng)
    assert found == pytest.approx(0.8413, abs=0.04)  # Phi(1)


def test_the_threshold_of_a_model_ignores_that_model():
    rng = stream(2, "test")
    member = rng.random((3, 40)) < 0.5
    values = rng.normal(size=(3, 40)) + member
    before = guesses(Scores("loss", values, member), stream(3, "fold"))
    flipped, moved = member.copy(), values.copy()
    flipped[0], moved[0] = ~member[0], np.where(rng.random(40) < 0.5, values[0], 99.0)
    after = guesses(Scores("loss", moved, flipped), stream(3, "fold"))
    unmoved = moved[0] == values[0]
    np.testing.assert_array_equal(after[:, 0, unmoved], before[:, 0, unmoved])


def test_the_best_threshold_is_as_good_as_the_best_by_exhaustion_within_its_error():
    rng = stream(4, "test")
    for _ in range(50):
        values, member = np.sort(rng.integers(6, size=12)).astype(float), rng.random(12) < 0.5
        member[:2] = True, False
        rates = {v: [np.mean(values[c] > v) for c in (member, ~member)] for v in values}
        gain = {v: found - false for v, (found, false) in rates.items()}
        best = max(gain, key=gain.get)
        error = np.sqrt(sum(r * (1 - r) / c.sum() for r, c in zip(rates[best], (member, ~member))))
        assert gain[best_threshold(values, member)] >= gain[best] - error - 1e-12


def test_classes_that_do_not_overlap_are_cut_between():
    assert best_threshold(np.arange(9.0), np.arange(9) >= 6) == 5


@pytest.mark.parametrize("shape", [(2, 1), (5, 1), (1, 2), (2, 2)])
def test_the_smallest_audits_have_a_number(shape):
    member = np.indices(shape).sum(0) % 2 == 0
    assert 0 <= accuracy(Scores("loss", member.astype(float), member), stream(0, "test")) <= 1


def test_one_point_seen_by_many_models_is_still_separated():
    member = np.arange(10)[:, None] % 2 == 0
    assert accuracy(Scores("canary", member.astype(float), member), stream(0, "test")) == 1


def test_the_noise_of_thresholds_is_what_other_thresholds_do():
    """Without a leak, the accuracy moves with the halving; the variance is that of one halving, over many halvings."""
    rng = stream(5, "test")
    member = rng.random((1, 400)) < 0.5
    scores = Scores("loss", rng.normal(size=member.shape), member)
    accuracies = [accuracy_influence(scores, one)[0] for k in range(60) for one in guesses(scores, stream(k, "halves"))]
    found = [
        threshold_noise(np.array([accuracy_influence(scores, one)[0] for one in guesses(scores, stream(k, "other"))]))
        for k in range(60)
    ]
    assert np.mean(found) == pytest.approx(np.var(accuracies), rel=0.4)
    assert np.var(accuracies) > 0


def test_alike_members_leave_no_threshold_to_test():
    rng = stream(6, "test")
    base = rng.random(200) < 0.5
    member = base ^ (rng.random((16, 200)) < 0.1)
    row = measure(Scores("loss", rng.normal(size=member.shape), member), rng)[1]
    assert row.metric == "balanced_accuracy"
    assert row.value is None
    assert "alike" in row.reason
    split = np.repeat(member[:1], 16, 0)  # one split, repeated: the points are what was drawn
    assert measure(Scores("loss", rng.normal(size=split.shape), split), rng)[1].value is not None
