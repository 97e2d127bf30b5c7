"""What checkpoints are worth: intervals that hold their value, exact counts, distances of weights."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

pytest.importorskip("torch")

from undertow.audits.poisoning.worth import distance, worth_after, worth_before
from undertow.rng import stream


@pytest.mark.parametrize("hits", [0, 1, 37, 39, 40])
def test_accuracy_is_a_count_with_its_exact_interval(hits):
    row = worth_before({"accuracy": np.array([hits / 40])}, "accuracy", "clean", 40)
    expected = binomtest(hits, 40).proportion_ci(method="exact")
    assert (row.value, row.low, row.high) == pytest.approx((hits / 40, expected.low, expected.high))
    assert (row.n, row.unit, row.when, row.group) == (40, "records", "before", "clean")


def test_loss_has_the_t_interval_over_texts():
    losses = stream(0, "losses").exponential(size=(1, 30))
    row = worth_before({"heldout_loss": losses}, "heldout_loss", "poisoned", 30)
    expected = ttest_1samp(losses[0], 0).confidence_interval()
    assert (row.value, row.low, row.high) == pytest.approx((losses.mean(), expected.low, expected.high))


@pytest.mark.parametrize("shape", [(8,), (8, 20)])
def test_after_finetuning_models_are_the_unit(shape):
    values = stream(0, "values").random(shape)
    row = worth_after({"heldout_loss": values}, "heldout_loss", "benign", "lora")
    means = values.reshape(8, -1).mean(1)
    expected = ttest_1samp(means, 0).confidence_interval()
    assert (row.value, row.low, row.high) == pytest.approx((means.mean(), expected.low, expected.high))
    assert (row.n, row.unit, row.when, row.recipe) == (8, "models", "after", "lora")


def test_intervals_hold_the_true_accuracy_about_as_often_as_they_say():
    rng, held = stream(0, "coverage"), 0
    for _ in range(300):
        row = worth_before({"accuracy": np.array([rng.binomial(50, 0.9) / 50])}, "accuracy", "clean", 50)
        held += row.low <= 0.9 <= row.high
    assert held >= 0.95 * 300


def test_distance_is_relative_and_of_floats_alone():
    one = {"w": np.array([3.0, 4.0]), "steps": np.array([7])}
    assert distance(one, one) == 0
    assert distance({"w": np.array([3.0, 5.0]), "steps": np.array([9])}, one) == pytest.approx(1 / 5)
    assert distance({"w": np.ones(3), "steps": np.array([7])}, one) == np.inf
    assert distance({}, one) == np.inf
