"""Odd pipelines and claims given to `audit_dp_pipeline`: one true line each, and no traceback."""

import numpy as np
import pytest

from undertow.audits.dp.pipeline import Mechanism, audit_dp_pipeline
from undertow.report.dp.verdict import verdict
from undertow.rng import stream
from undertow.types import BadInput, ConfigError, Examples

DATA = Examples(np.zeros((20, 3)), np.zeros(20, int), "zeros")
CANARY = Examples(np.ones((1, 3)), np.zeros(1, int), "one")


def train(checkpoint, data, seed):
    return {"w": checkpoint["w"] + data.x.sum(0) + stream(seed, "noise").standard_normal(3)}


def louder(checkpoint, data, seed):
    return train(checkpoint, Examples(5 * data.x, data.y, "louder"), seed)


def moved(before, after):
    return float(after["w"][0] - before["w"][0])


def audit(train=train, score=moved, canary=CANARY, **changes):
    given = {"epsilon": 4.0, "runs": 20} | changes
    return audit_dp_pipeline(train, {"w": np.zeros(3)}, DATA, canary, score, **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": 0}, "epsilon = 0 cannot be audited"),
        ({"epsilon": -1}, "epsilon = -1 cannot be audited"),
        ({"epsilon": float("nan")}, "epsilon = nan cannot be audited"),
        ({"epsilon": float("inf")}, "epsilon = inf claims nothing"),
        ({"epsilon": "8"}, "epsilon = '8': it must be a number"),
        ({"delta": 0}, "delta = 0; it is above 0"),
        ({"delta": 1}, "delta = 1; it is above 0 and below 1"),
        ({"delta": float("nan")}, "delta = nan"),
        ({"confidence": 95}, "confidence = 95; it is a fraction"),
        ({"runs": 0}, "runs is at least 2"),
        ({"runs": 2.5}, "whole numbers are needed"),
        ({"threshold": float("nan")}, "threshold = nan"),
        ({"mechanism": Mechanism(0, 1)}, "0 < rate <= 1"),
        ({"mechanism": Mechanism(float("nan"), 1)}, "0 < rate <= 1"),
        ({"access": "everything"}, "allowed: black-box, weights, iterates"),
    ],
)
def test_what_cannot_be_claimed_is_named(changes, message):
    with pytest.raises(ConfigError) as error:
        audit(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda b, a: None, "score returned NoneType 'None'; it must return one number"),
        (lambda b, a: a["w"], "score returned ndarray"),
        (lambda b, a: "much", "score returned str 'much'"),
        (lambda b, a: float("nan"), "its score is nan"),
    ],
)
def test_scores_that_are_no_number_are_named(score, message):
    with pytest.raises(BadInput) as error:
        audit(score=score)
    assert message in str(error.value)


def test_what_train_returns_and_the_canarys_shape_are_checked():
    with pytest.raises(BadInput, match="train returned None"):
        audit(train=lambda checkpoint, data, seed: None)
    with pytest.raises(BadInput, match=r"the canary is \(4,\), the records are \(3,\)"):
        audit(canary=Examples(np.ones((1, 4)), np.zeros(1, int), "wide"))
    with pytest.raises(BadInput, match="20 canaries: give one record"):
        audit(canary=DATA)


def test_whole_numbers_and_numpy_numbers_are_scores():
    assert audit(score=lambda b, a: int(100 * moved(b, a))).measurements
    assert audit(score=lambda b, a: np.float32(moved(b, a))).measurements


def test_swapped_ties_and_missing_noise_are_said():
    swapped = audit(score=lambda before, after: -moved(before, after), train=louder)
    assert any("members score lower than others" in w for w in swapped.warnings)
    still = audit(train=lambda checkpoint, data, seed: {"w": data.x.sum(0)})
    assert any("nothing random reaches them" in w for w in still.warnings)
    ties = audit(score=lambda before, after: 1.0)
    assert any("all scores are equal" in w for w in ties.warnings)
    assert verdict(ties).headline.startswith("Not refuted, but hardly tested")
    assert audit(runs=40).warnings == ()


def test_a_true_claim_stands_and_one_far_too_small_does_not():
    exact = 4.377  # of 1-GDP at delta 1e-5
    assert not verdict(audit(epsilon=exact, runs=60, mechanism=Mechanism(1, 1))).headline.startswith("Refuted")
    small = audit(epsilon=0.01, runs=60, mechanism=Mechanism(1, 1), train=louder)
    assert verdict(small).headline.startswith("Refuted")
    huge = audit(epsilon=1e6)
    assert "at least" in verdict(huge).headline
