"""Numbers of a guarantee that mean nothing are refused, and the calibrated epsilon is the one that was asked for."""

import numpy as np
import pytest

from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.pipeline import Mechanism
from undertow.audits.dp.settings import DpConfig, DpRecipe
from undertow.metrics.epsilon import check_number, check_whole, gdp_epsilon, subsampled_gaussian_epsilon
from undertow.training.privacy import MISSED, Privacy, noise_of_claim
from undertow.types import ConfigError

NONE = [float("nan"), float("inf"), float("-inf"), -1.0, "1", None, True, 1j, pytest.param(10**400, id="huge")]
CLAIM = {"noise_multiplier": 1.0, "clip": 1.0, "batch": 8, "records": 32, "steps": 3, "lr": 0.2}


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize("field", ["epsilon", "delta", "clip"])
def test_privacy(field, value):
    with pytest.raises(ConfigError, match=f"privacy.{field}"):
        Privacy(**{field: value})


@pytest.mark.parametrize("delta", [0, 1, 2, 0.0, 1.0])
def test_delta_is_between_0_and_1(delta):
    for make in (Privacy, DpConfig, lambda delta: DpClaim(**CLAIM, delta=delta)):
        with pytest.raises(ConfigError, match="delta"):
            make(delta=delta)


@pytest.mark.parametrize("value", [v for v in NONE if v is not None])
@pytest.mark.parametrize(
    "field",
    ["noise_multiplier", "clip", "batch", "records", "steps", "lr", "momentum", "alpha", "epsilon", "delta", "divisor",
     "sample_rate", "clip_after", "weight_decay", "dampening"],
)  # fmt: skip
def test_dp_claim(field, value):
    if (field, value) in (("lr", True), ("lr", "1")):
        return  # one as a number, and a text whose letters are numbers: too few learning rates
    with pytest.raises(ConfigError):
        DpClaim(**{**CLAIM, field: value})


@pytest.mark.parametrize("value", [*NONE, 0, 1.5])
def test_mechanism_and_recipe(value):
    for make in (lambda v: Mechanism(v, 1), lambda v: DpRecipe(rate=v)):
        with pytest.raises(ConfigError, match="rate"):
            make(value)
    for make in (lambda v: Mechanism(0.5, v), lambda v: DpRecipe(steps=v)):
        with pytest.raises(ConfigError, match="steps"):
            make(value)


def test_numbers_of_numpy_are_numbers():
    check_number("x", np.float32(0.5), 0, 1)
    check_whole("n", np.int64(3))
    assert Mechanism(np.float64(0.5), np.int64(3)).steps == 3


def test_the_ends_of_an_interval():
    check_number("x", 0, 0, 1, "[]")
    check_number("x", 1, 0, 1, "[]")
    for ends, value in (("()", 0), ("()", 1), ("[)", 1), ("(]", 0)):
        with pytest.raises(ConfigError, match="x = "):
            check_number("x", value, 0, 1, ends)


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 8.0, 100.0, 1000.0])
def test_what_is_calibrated_is_what_was_asked_for(epsilon):
    """Against the exact epsilon of 20 Gaussian steps, which are one of mu = sqrt(20) / noise."""
    noise = noise_of_claim(Privacy(epsilon), 1.0, 20)
    exact = float(gdp_epsilon(20**0.5 / noise.multiplier, 1e-5))
    assert epsilon * (1 - MISSED) - 0.003 <= exact <= epsilon


@pytest.mark.parametrize(("epsilon", "why"), [(1e9, "nearest below it"), (1300.0, "nearest"), (1e-9, "out of reach")])
def test_what_no_noise_gives_is_refused(epsilon, why):
    with pytest.raises(ConfigError, match=why):
        noise_of_claim(Privacy(epsilon), 1.0, 20)


@pytest.mark.parametrize("rate", [1.0, 0.5, 1e-4])
def test_noise_too_small_to_account_is_refused_and_fills_no_memory(rate):
    with pytest.raises(ConfigError, match="use more noise"):
        subsampled_gaussian_epsilon(1e-3, rate, 20, 1e-5)


@pytest.mark.parametrize("delta", [0.1, 0.5])
def test_a_steep_curve_is_met(delta):
    """At a large delta epsilon falls from above 1e-3 to 0 within one step of the first search."""
    assert 0.99e-3 <= noise_of_claim(Privacy(1e-3, delta), 1.0, 20).epsilon <= 1e-3
