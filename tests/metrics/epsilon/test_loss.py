"""Privacy loss distributions in arrays against dp-accounting's loops; envelopes of lines against their maximum."""

import numpy as np
import pytest

from undertow.metrics.epsilon import curve_of_deltas
from undertow.metrics.epsilon.loss import STEP, subsampled_deltas, subsampled_epsilon
from undertow.metrics.epsilon.trade_off import _GRID
from undertow.rng import stream

CASES = [
    (1.0, 0.05, 200), (0.5, 0.01, 1), (2.0, 0.3, 50), (0.8, 0.01, 1000), (5.0, 0.5, 20), (60.0, 0.02, 3),
    (1.2, 1.0, 1), (2.0, 1.0, 30),
]  # fmt: skip


@pytest.mark.parametrize(("noise", "rate", "steps"), CASES)
def test_the_numbers_are_those_of_dp_accounting(noise, rate, steps):
    pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    step = pld.from_gaussian_mechanism(noise, value_discretization_interval=STEP, sampling_prob=rate)
    whole = step.self_compose(steps) if steps > 1 else step
    theirs = np.asarray(whole.get_delta_for_epsilon(_GRID))
    np.testing.assert_allclose(subsampled_deltas(noise, rate, steps, _GRID), theirs, rtol=0, atol=1e-12)
    for delta in (1e-2, 1e-5):
        ours = subsampled_epsilon(noise, rate, steps, delta)
        assert ours == pytest.approx(whole.get_epsilon_for_delta(delta), rel=1e-9, abs=1e-12)


def test_where_no_epsilon_is_enough_it_is_infinite_and_where_delta_is_met_it_is_zero():
    assert subsampled_epsilon(1.0, 0.5, 10, 0.0) == np.inf
    assert subsampled_epsilon(1.0, 0.01, 1, 0.5) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_envelope_is_the_largest_line_everywhere(seed):
    rng = stream(seed, "envelope")
    epsilons = np.sort(rng.uniform(0, 12, 40))
    deltas = np.sort(rng.uniform(0, 1, 40))[::-1] ** 6
    fpr = np.concatenate([[0.0, 1.0], rng.random(500), rng.random(500) ** 8])
    odds, gap = np.exp(epsilons), 1 - deltas
    lines = [gap[:, None] - odds[:, None] * fpr, (gap[:, None] - fpr) / odds[:, None]]
    largest = np.maximum(np.concatenate(lines).max(0), 0.0)
    np.testing.assert_allclose(curve_of_deltas(epsilons, deltas)(fpr), largest, rtol=0, atol=1e-12)
