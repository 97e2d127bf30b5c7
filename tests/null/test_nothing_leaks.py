"""Where outputs know nothing of membership every attack must be at chance, at few models and at many.

Each seed is a game of its own, so the standard error is that of the seeds' AUCs: pairs inside a game share
shadow models and are not independent. The bounds on it say what a leak must be to be seen.
"""

from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.noise import attacked, noise

from undertow.attacks.catalog import ATTACKS
from undertow.rng import stream

METACLASSIFIERS = ("tmi", "tmi-averaged", "tmi-global", "tmi-label-only", "tmi-top-k")
CHEAP = tuple(name for name in ATTACKS if name not in METACLASSIFIERS)


def null(name, models, seeds, naive=False):
    """Mean AUC over games, and its standard error."""
    found = [attacked(name, noise(seed, models, points=100), seed, naive) for seed in range(seeds)]
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(seeds)


def check(name, models, seeds, power):
    mean, error = null(name, models, seeds)
    assert error < power  # the test can see a leak of 4 times that
    assert abs(mean - 0.5) < 4 * error


@pytest.mark.parametrize("name", CHEAP)
def test_at_8_models(name):
    check(name, 8, 30, power=0.0065)


@pytest.mark.parametrize("name", METACLASSIFIERS)
def test_metaclassifiers_at_8_models(name):
    check(name, 8, 16, power=0.0065)


@pytest.mark.parametrize("name", CHEAP)
def test_at_64_models(name):
    check(name, 64, 6, power=0.008)


@pytest.mark.slow
@pytest.mark.parametrize("name", METACLASSIFIERS)
def test_metaclassifiers_at_64_models(name):
    check(name, 64, 6, power=0.008)


@pytest.mark.parametrize(("name", "below"), [("tmi", 0.05), ("tmi-knn", 0.3), ("tmi-lda", 0.48), ("bavaria", 0.49)])
def test_counts_leak_where_only_the_target_is_left_out(name, below):
    """In a balanced design the counts that remain then say what the target was: why `folds` drops pairs."""
    mean, error = null(name, 8, 30 if name in CHEAP else 4, naive=True)
    assert mean + 2 * error < below


@pytest.mark.parametrize(("models", "seeds"), [(8, 30), (64, 6)])
def test_what_models_do_to_alike_points_is_not_membership(models, seeds):
    """`tmi-default` predicts a model's output from its outputs at like points: here there is something to predict."""
    found = []
    for seed in range(seeds):
        clean = noise(seed, models, points=100)
        turn = np.eye(4) + stream(seed, "turn").normal(0, 0.3, (models, 1, 4, 4))
        found.append(attacked("tmi-default", replace(clean, logits=clean.logits @ turn), seed))
    error = np.std(found, ddof=1) / np.sqrt(seeds)
    assert error < 0.008
    assert abs(np.mean(found) - 0.5) < 4 * error
