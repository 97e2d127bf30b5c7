"""Numbers that others publish, from the inputs of their own tests (looked up; no code of theirs is here).

jax_privacy tests/auditing_test.py (test_epsilon_one_run_close): members N(shift, 1), non-members N(0, 1), each the
n = 10,000 midpoint quantiles; significance .05, delta 1e-6; one-sided guesses above a threshold; the error divided by
the corners of the concave hull of the ROC curve. That count depends on the data, so it is a reference and not what
`from_scores` does. tensorflow_privacy epsilon_lower_bound_test.py (test_bound_scalar_clopper_pearson): 500 of 500 and
0 of 500, alpha .01. ml_privacy_meter: 86 correct of 132 guesses, p .05, delta 0.
"""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import beta, norm

from undertow.metrics.epsilon import (
    Counts,
    Guesses,
    clopper_pearson,
    gdp_mu,
    one_run,
    one_run_gdp,
    one_run_p_value,
    one_run_refuses,
)

N, DELTA, ALPHA = 10_000, 1e-6, 0.05


def hull_of_roc(inside, outside):
    """Corners (tp, fp) of the upper concave hull of the ROC curve, from (0, 0) to (m, n)."""
    levels = np.append(np.unique(np.concatenate([inside, outside]))[::-1], -np.inf)
    tp = np.append(0, len(inside) - np.searchsorted(np.sort(inside), levels, "left"))
    fp = np.append(0, len(outside) - np.searchsorted(np.sort(outside), levels, "left"))
    hull = []
    for point in sorted(set(zip(fp.tolist(), tp.tolist(), strict=True))):
        while len(hull) > 1 and turn(hull[-2], hull[-1], point) >= 0:
            hull.pop()
        hull.append(point)
    return [(t, f) for f, t in hull]


def turn(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def best_over_hull(shift, refused, bound):
    """The largest bound over the corners; one that is not refused at the best epsilon so far is not solved."""
    grid = norm.ppf((np.arange(N) + 0.5) / N)
    corners = hull_of_roc(grid + shift, grid)
    confidence = 1 - ALPHA / len(corners)
    best = 0.0
    for tp, fp in sorted(corners, key=lambda c: -lower_precision(*c)):
        guesses = Guesses(2 * N, tp + fp, tp)
        if refused(guesses, best, confidence):
            best = bound(guesses, DELTA, confidence).epsilon
    return best


def lower_precision(tp, fp):
    return beta.ppf(ALPHA, tp, fp + 1) if tp else 0.0


@pytest.mark.parametrize(("shift", "published"), [(0, 0), (1, 1.13346), (2, 2.311945), (4, 4.395568)])
def test_one_run_of_jax_privacy(shift, published):
    def refused(guesses, epsilon, confidence):
        return one_run_p_value(guesses, epsilon, DELTA) < 1 - confidence

    assert best_over_hull(shift, refused, one_run) == pytest.approx(published, rel=1e-5)


@pytest.mark.parametrize(("shift", "published"), [(0, 0), (1, 2.164749), (2, 4.7218075), (4, 9.133752)])
def test_one_run_f_dp_of_jax_privacy(shift, published):
    def refused(guesses, epsilon, confidence):
        mu = float(gdp_mu(epsilon, DELTA))
        return bool(one_run_refuses(guesses, lambda tpr: ndtr(ndtri(tpr) - mu), confidence))

    assert best_over_hull(shift, refused, one_run_gdp) == pytest.approx(published, rel=1e-5)


def test_clopper_pearson_of_tensorflow_privacy():
    assert clopper_pearson(Counts(tp=500, fn=0, fp=0, tn=500), 0.0, 0.99).epsilon == pytest.approx(4.54, abs=5e-3)


def test_one_run_of_ml_privacy_meter():
    assert one_run(Guesses(132, made=132, correct=86), 0.0, 0.95).epsilon == pytest.approx(0.3122, abs=5e-5)
