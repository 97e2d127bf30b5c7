"""Odd pipelines and claims given to `audit_dp_pipeline`: one true line each, and no traceback."""

import numpy as np
import pytest

from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.conformance import check_pipeline
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
        ({"epsilon": 0}, "epsilon = 0: it is a number, above 0"),
        ({"epsilon": -1}, "epsilon = -1: it is a number, above 0"),
        ({"epsilon": float("nan")}, "epsilon = nan: it is a number"),
        ({"epsilon": float("inf")}, "epsilon = inf: it is a number, above 0 and finite"),
        ({"epsilon": "8"}, "epsilon = '8': it is a number"),
        ({"delta": 0}, "delta = 0: it is a number, above 0"),
        ({"delta": 1}, "delta = 1: it is a number, above 0 and below 1"),
        ({"delta": float("nan")}, "delta = nan"),
        ({"confidence": 95}, "confidence = 95: it is a number, 0.5 or more and below 1"),
        ({"runs": 0}, "runs = 0: it is a whole number, 2 or more"),
        ({"runs": 2.5}, "runs = 2.5: it is a whole number"),
        ({"threshold": float("nan")}, "threshold = nan"),
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 3}, "train = 3: it must be a function"),
        ({"score": None}, "score = None: it must be a function"),
        ({"canary": (1, 2)}, "canary is a tuple"),
        ({"mechanism": (1.0, 1)}, "give Mechanism"),
        ({"threshold": "x"}, "threshold = x"),
        ({"seed": -1}, "seed = -1: it is a whole number, 0 or more"),
        ({"seed": 1.5}, "seed = 1.5"),
        ({"epsilon": 1e9, "mechanism": Mechanism(1.0, 1)}, "the nearest below it"),
        ({"epsilon": 1e-9, "mechanism": Mechanism(1.0, 1)}, "out of reach"),
    ],
)
def test_arguments_of_another_kind_are_one_line(changes, message):
    with pytest.raises(ConfigError) as error:
        audit(**changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


CLAIM = DpClaim(noise_multiplier=1.0, clip=1.0, batch=8, records=32, steps=2, lr=0.1)
HEAD = {"h.weight": np.eye(3, 4), "h.bias": np.zeros(3)}
RECORDS = Examples(np.eye(32, 4), np.arange(32) % 3, "made-up")


def noise_only(checkpoint, data, seed):
    return {name: v + 0.0177 * stream(seed, name).standard_normal(v.shape) for name, v in checkpoint.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": lambda c, d, s: None}, "train returned None"),
        ({"train": lambda c, d, s: [1]}, "train returned a list"),
        ({"train": 3}, "it must be a function"),
        ({"claim": {}}, "give a DpClaim"),
        ({"data": np.zeros((3, 4))}, "data is a ndarray"),
        ({"data": Examples(np.full((32, 4), np.nan), RECORDS.y, "n")}, "not finite"),
        ({"runs": "16"}, "runs = '16'"),
        ({"confidence": "x"}, "confidence = 'x'"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_check_pipeline_refuses_in_one_line(changes, message):
    given = {"train": noise_only, "checkpoint": HEAD, "data": RECORDS, "claim": CLAIM} | changes
    with pytest.raises((ConfigError, BadInput)) as error:
        check_pipeline(**given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_trainer_that_learns_nothing_is_not_called_tested():
    """Its records move nothing: what clipping would do is not seen, and said."""
    result = check_pipeline(noise_only, HEAD, RECORDS, CLAIM)
    assert "clipping beyond" in result.verdict.split("NOT TESTED")[1]
