"""What the final iterate can show: the mechanism itself at rate 1, less where batches are sampled."""

import pytest

from undertow.metrics.ceiling import final_iterate_epsilon
from undertow.metrics.epsilon import gdp_epsilon
from undertow.types import ConfigError


@pytest.mark.parametrize(("noise", "steps"), [(2.685, 20), (1.0, 1), (30.0, 100)])
def test_at_rate_one_it_is_the_gaussian_mechanism(noise, steps):
    exact = float(gdp_epsilon(steps**0.5 / noise, 1e-5))
    assert final_iterate_epsilon(noise, 1.0, steps, 1e-5) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(("epochs", "found"), [(3, 0.693), (27, 2.166), (69, 3.630), (156, 5.779)])
def test_the_numbers_of_the_published_analysis(epochs, found):
    """Feng and Tramer 2024, their script's formula at r = kappa = 1: sigma 1, q .01, delta 1e-5."""
    assert final_iterate_epsilon(1.0, 0.01, epochs * 100, 1e-5) == pytest.approx(found, abs=2e-3)


def test_it_is_below_the_claim_where_batches_are_sampled():
    dp = pytest.importorskip("undertow.training.privacy")
    pytest.importorskip("dp_accounting")
    claimed = dp.claims(1.0, 0.05, 200, 1e-5)["pld"]
    found = final_iterate_epsilon(1.0, 0.05, 200, 1e-5)
    assert found == pytest.approx(3.408, abs=1e-3)
    assert found < claimed


def test_less_of_the_gradient_shows_less():
    whole, part = (final_iterate_epsilon(1.0, 0.05, 200, 1e-5, share) for share in (1.0, 0.8))
    assert part < whole
    with pytest.raises(ConfigError, match="rate = 0"):
        final_iterate_epsilon(1.0, 0.0, 200, 1e-5)
