"""The closed forms of mean estimation: against simulation, against the specification, and their consequences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from undertow.metrics import auc
from undertow.report.curve import auc_error, draw, points
from undertow.rng import stream
from undertow.theory import Gaussian, Signs, alpha_of_descent, alpha_of_ridge, noise_of_private_descent
from undertow.types import ConfigError

BASE = Gaussian(dimension=200, pretraining=100, finetuning=50, alpha=0.5, tau=1.5)

# (changes, shift, variance IN, variance OUT, AUC, TPR@1%) as the specification derives them.
TABLE = [
    ({"alpha": 1.0}, 2.000, 2.020, 2.000, 0.841, 0.182),
    ({"alpha": 0.75}, 1.500, 1.699, 1.688, 0.793, 0.121),
    ({"alpha": 0.5}, 1.000, 2.755, 2.750, 0.665, 0.043),
    ({"alpha": 0.25}, 0.500, 5.189, 5.188, 0.562, 0.018),
    ({"alpha": 0.1}, 0.200, 7.310, 7.310, 0.521, 0.012),
    ({"alpha": 0.0}, 0.000, 9.000, 9.000, 0.500, 0.010),
    ({"alpha": 0.1, "finetuning": 5000}, 0.200, 0.093, 0.093, 0.679, 0.048),
    ({"alpha": 0.5, "nu": 0.2}, 1.000, 10.755, 10.750, 0.585, 0.022),
    ({"alpha": 1.0, "nu": 0.2}, 2.000, 10.020, 10.000, 0.673, 0.045),
    ({"alpha": 0.5, "dimension": 500, "pretraining": 50}, 5.000, 8.175, 8.125, 0.892, 0.284),
]


def simulated(model, trials=4000, seed=0):
    inside, outside = model.simulate(trials, stream(seed, "theory test"))
    value = auc(np.concatenate([inside, outside]), np.arange(2 * trials) < trials)
    return value, auc_error(inside, outside), inside, outside


@pytest.mark.parametrize("row", TABLE)
def test_the_table_of_the_specification(row):
    changes, shift, variance_in, variance_out, area, tpr = row
    found = replace(BASE, **changes).tracing()
    assert found.shift == pytest.approx(shift, abs=5e-4)
    assert found.variance_in == pytest.approx(variance_in, abs=6e-4)
    assert found.variance_out == pytest.approx(variance_out, abs=6e-4)
    assert found.auc() == pytest.approx(area, abs=6e-4)
    assert found.tpr(0.01) == pytest.approx(tpr, abs=6e-4)


@pytest.mark.parametrize("row", TABLE)
def test_simulation_lies_within_three_standard_errors(row):
    model = replace(BASE, **row[0])
    value, error, inside, outside = simulated(model)
    tracing = model.tracing()
    assert abs(value - tracing.auc()) < 3 * error
    assert abs(inside.mean() - tracing.shift) < 3 * inside.std() / np.sqrt(len(inside))
    for sample, variance in ((inside, tracing.variance_in), (outside, tracing.variance_out)):
        assert sample.var() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.25, 0.0])
def test_signs_agree_with_their_simulation(alpha):
    rng = stream(0, "signs")
    model = Signs(rng.uniform(-0.8, 0.8, 200), rng.uniform(-0.8, 0.8, 200), 100, 50, alpha)
    value, error, inside, outside = simulated(model)
    assert abs(value - model.tracing().auc()) < 3 * error
    assert inside.var() == pytest.approx(model.tracing().variance_in, rel=0.1)
    assert outside.var() == pytest.approx(model.tracing().variance_out, rel=0.1)


@given(st.integers(1, 400), st.integers(2, 400), st.integers(1, 400), st.floats(0.05, 0.95), st.floats(0, 1))
def test_auc_rises_with_alpha_dimension_and_finetuning_data_and_falls_with_pretraining_data(d, n, m, alpha, nu):
    base = Gaussian(d, n, m, alpha, nu=nu)
    area = base.tracing().auc()
    assert replace(base, alpha=alpha + 0.05).tracing().auc() >= area
    assert replace(base, dimension=d + 50).tracing().auc() >= area
    assert replace(base, finetuning=2 * m).tracing().auc() >= area
    assert replace(base, pretraining=2 * n).tracing().auc() <= area
    assert replace(base, nu=nu + 0.1).tracing().auc() <= area


def test_nothing_left_is_exactly_chance_and_all_left_is_classical_tracing():
    assert replace(BASE, alpha=0.0).tracing().auc() == 0.5
    large = Gaussian(2000, 1000, 50, 1.0)
    assert large.tracing().auc() == pytest.approx(ndtr(np.sqrt(2000 / 2000)), abs=1e-3)


def test_endless_finetuning_data_hides_nothing():
    """It is sampling noise that hides pretraining data, not the shrinking of alpha as such."""
    endless = replace(BASE, alpha=0.1, finetuning=10**9).tracing().auc()
    assert endless == pytest.approx(replace(BASE, alpha=1.0).tracing().auc(), abs=1e-3)


def test_private_noise_protects_only_as_noise():
    quiet, loud = (replace(BASE, nu=nu).tracing() for nu in (0.0, 0.3))
    assert loud.shift == quiet.shift
    assert loud.variance_out - quiet.variance_out == pytest.approx(200 * 0.3**2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_outliers_leak_more_as_the_closed_form_says(scale):
    model, trials = replace(BASE, tau=1.0), 6000
    rng = stream(0, "outlier", str(scale))
    u = scale * rng.standard_normal(200)
    rest, others = rng.standard_normal((2, 2, trials, 200))
    a, n, m = model.alpha, model.pretraining, model.finetuning
    noise = (1 - a) / np.sqrt(m) * others
    inside = (a / n * (u + np.sqrt(n - 1) * rest[0]) + noise[0]) @ u
    outside = (a / np.sqrt(n) * rest[1] + noise[1]) @ u
    value = auc(np.concatenate([inside, outside]), np.arange(2 * trials) < trials)
    assert abs(value - model.auc_of(float(np.linalg.norm(u)))) < 3 * auc_error(inside, outside)
    assert model.auc_of(20) > model.auc_of(10) > 0.5


def test_descent_and_ridge_are_the_model():
    theta, start, goal = 3.0, 3.0, -1.0
    for _ in range(7):
        theta -= 0.1 * (theta - goal)
    alpha = alpha_of_descent(0.1, 7)
    assert theta == pytest.approx(alpha * start + (1 - alpha) * goal)
    strength = 0.7
    best = (goal + strength * start) / (1 + strength)
    assert best == pytest.approx(alpha_of_ridge(strength) * start + (1 - alpha_of_ridge(strength)) * goal)


def test_private_descent_has_the_noise_it_says():
    rng, theta = stream(0, "private"), np.zeros(20000)
    for _ in range(10):
        theta -= 0.1 * (theta + 0.05 * rng.standard_normal(theta.shape))
    assert theta.std() == pytest.approx(noise_of_private_descent(0.1, 10, 0.05), rel=0.02)


def test_the_drawing_shows_both():
    found = points(BASE, [0.0, 0.5, 1.0], 400, 0)
    text = draw(BASE, found)
    assert "closed form" in text
    assert "simulation" in text
    assert text == draw(BASE, found)


@pytest.mark.parametrize(
    "change", [{"alpha": 1.1}, {"nu": -1.0}, {"pretraining": 0}, {"finetuning": 0}, {"dimension": 0}]
)
def test_what_cannot_be_is_refused(change):
    with pytest.raises(ConfigError):
        replace(BASE, **change)


def test_signs_refuse_certain_coordinates():
    with pytest.raises(ConfigError, match="strictly between"):
        Signs(np.array([1.0]), np.array([0.0]), 10, 10, 0.5)
