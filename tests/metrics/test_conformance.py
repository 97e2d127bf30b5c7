"""Calibration of each p-value where its null holds, and power where it does not."""

import numpy as np
import pytest

from undertow.metrics.conformance import (
    along_own_mean,
    cosine,
    cosine_p,
    least_count,
    mean_above,
    same_distribution,
    same_signs,
    share_p,
    sum_below,
    too_large,
    too_small,
    unit,
)

RUNS, LEVEL = 1500, 0.05
SLACK = 2 * np.sqrt(LEVEL * (1 - LEVEL) / RUNS)


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def rejected(p_of, draws=RUNS):
    """Share of null draws with a p-value of at most LEVEL."""
    random = rng(1)
    return np.mean([p_of(random) <= LEVEL for _ in range(draws)])


def test_variance_tests_hold_their_level_and_see_a_fifth_less():
    assert rejected(lambda r: too_small(float(np.square(r.normal(size=50)).sum()), 50)) <= LEVEL + SLACK
    assert rejected(lambda r: too_large(float(np.square(r.normal(size=50)).sum()), 50)) <= LEVEL + SLACK
    assert rejected(lambda r: too_small(0.64 * float(np.square(r.normal(size=500)).sum()), 500)) == 1
    assert too_small(90.0, 100, 0.8) > too_small(90.0, 100)


def test_shares_and_cosines_need_no_variance():
    def share(r):
        z = r.normal(size=(16, 40)) * 7
        return share_p(float(np.square(z.sum(1)).sum()) / 40 / float(np.square(z).sum()), 16, 640)

    found = rejected(share)
    assert LEVEL - 2 * SLACK <= found <= LEVEL + SLACK
    found = rejected(lambda r: cosine_p(cosine(r.normal(size=60), 3 * r.normal(size=60)), 60))
    assert LEVEL - 2 * SLACK <= found <= LEVEL + SLACK


def test_a_mean_at_the_bound_is_not_above_it():
    assert rejected(lambda r: mean_above(3 + r.normal(size=12), 3.0)) <= LEVEL + SLACK
    assert mean_above(3 + 0.1 * rng().normal(size=12), 2.5) < 1e-6
    assert (mean_above(np.full(5, 2.0), 2.0), mean_above(np.full(5, 2.1), 2.0)) == (1.0, 0.0)


def test_sums_of_samples_at_zero_are_not_below_it():
    def one(r):
        return sum_below((1 + r.normal(size=10), -2 + 3 * r.normal(size=14), 1 + r.normal(size=10)))

    assert rejected(one) <= LEVEL + SLACK
    assert sum_below((rng().normal(size=10) - 5, rng(1).normal(size=10))) < 1e-3


def test_the_projection_on_a_direction_learnt_elsewhere_never_overstates_the_mean():
    """Mean over draws of the projected mean is at most the true norm; with a clear signal it is close to it."""
    random, signal = rng(2), np.zeros(400)
    signal[:50] = 1.0
    norm = np.linalg.norm(signal)
    means = [np.mean(np.concatenate(along_own_mean(signal + random.normal(size=(24, 400))))) for _ in range(300)]
    assert np.mean(means) <= norm * (1 + 0.01)
    assert np.mean(means) >= norm * 0.6
    blind = [np.mean(np.concatenate(along_own_mean(random.normal(size=(24, 400))))) for _ in range(300)]
    assert abs(np.mean(blind)) < 4 * np.std(blind) / np.sqrt(300)


def test_permutations_and_sign_flips_hold_their_level():
    def apart(r):
        return same_distribution(r.exponential(size=(8, 30)), r.exponential(size=(8, 30)), r, draws=200)

    assert rejected(apart, 500) <= LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / 500)

    def drift(r):  # values within a row are all the same: only rows are independent
        return same_signs(np.repeat(r.normal(size=(12, 1)), 50, axis=1), r, draws=200)

    assert rejected(drift, 500) <= LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / 500)
    z = rng().normal(size=(16, 50))
    assert same_signs(z + 1, rng(), 2000) < 1e-3
    assert same_distribution(z[:8], z[8:] + 2, rng(), 2000) < 1e-3


def test_enough_values_are_enough():
    """At the count that is asked for, a variance smaller by the ratio is seen in 95 % of cases."""
    ratio, level, tolerance = 12.0, 1e-4, 0.6
    n = least_count(ratio, level, tolerance)
    squares = np.square(rng(3).normal(size=(2000, n - 2))).sum(1) / ratio
    seen = np.mean([too_small(float(s), n - 2, tolerance) <= level for s in squares])
    assert seen >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 2000)
    assert least_count(1.01, level, tolerance) is None


def test_units():
    assert np.linalg.norm(unit(np.array([3.0, 4.0]))) == pytest.approx(1)
    assert not unit(np.zeros(3)).any()
    assert cosine(np.zeros(3), np.ones(3)) == 0
