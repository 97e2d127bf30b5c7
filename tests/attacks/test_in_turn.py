"""The linear way gives the scores of the rule run target by target."""

import numpy as np
import pytest

from undertow.attacks import in_turn
from undertow.attacks.bavaria import bavaria
from undertow.attacks.catalog import ATTACKS
from undertow.attacks.lira import lira, lira_offline
from undertow.attacks.rmia import rmia, rmia_offline
from undertow.engine.membership import left_out
from undertow.rng import stream
from undertow.types import Signals

RULES = {"lira": lira, "lira-offline": lira_offline, "bavaria": bavaria, "rmia": rmia, "rmia-offline": rmia_offline}
TOLERANCE = {"bavaria": 1e-10}  # its prior is the inverse of a flat function: rounding grows on the way


def pairs(rng, models, points):
    half = rng.random((models // 2, points)) < 0.5
    return np.concatenate([half, ~half])


def independent(rng, models, points):
    member = rng.random((models, points)) < 0.5
    inside = member.sum(0)
    return member[:, (inside >= 3) & (models - inside >= 3)]


def columns(rng, models, points):
    return np.argsort(rng.random((models, points)), 0) < models // 2


def cross_validation(rng, models, points):
    """Repeats of four folds; models of one repeat lie apart in the file."""
    rows = []
    for _ in range(models // 4):
        part = rng.permutation(np.arange(points) % 4)
        rows += [part != k for k in range(4)]
    return np.stack(rows)[rng.permutation(len(rows))]


def slowly(rule, values, member, out):
    """Every target on its own; where another model is left out at every point, point by point."""
    scores = np.empty(values.shape)
    for m in range(len(member)):
        stays = np.stack([out.stays(np.array([m]), np.array([q]))[:, 0] for q in range(member.shape[1])], 1)
        keep = np.argsort(~stays, 0, kind="stable")[: stays.sum(0).min()]
        shadow = Signals(np.take_along_axis(values, keep, 0), np.take_along_axis(member, keep, 0))
        scores[m] = rule(shadow, values[m : m + 1])[0]
    return scores


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("deal", [pairs, independent, columns, cross_validation])
@pytest.mark.parametrize("models", [16, 52])
@pytest.mark.parametrize("wild", [0.0, 1e4, 1e8])
def test_it_equals_the_rule_target_by_target(name, deal, models, wild):
    rng = stream(0, "test", models)
    member = deal(rng, models, 60)
    values = rng.normal(size=member.shape) + 20 * rng.normal(size=member.shape[1]) + member
    values[2, :7] += wild  # an outlier that is subtracted must not take the digits of the rest with it
    values[:, 11] = 3.0
    if name.startswith("rmia"):
        values = -np.logaddexp(0, -values)
    out = left_out(member, stream(1, "test"))
    fast, slow = ATTACKS[name].in_turn(values, member, out), slowly(RULES[name], values, member, out)
    np.testing.assert_allclose(fast, slow, rtol=TOLERANCE.get(name, 1e-12), atol=TOLERANCE.get(name, 1e-12))


def test_probabilities_that_underflow_are_kept_in_logs():
    rng = stream(0, "test")
    member = pairs(rng, 12, 40)
    values = -np.exp(3 * rng.normal(size=member.shape)) * 50
    out = left_out(member, rng)
    np.testing.assert_allclose(in_turn.rmia(values, member, out), slowly(rmia, values, member, out), rtol=1e-12)


def test_every_rule_with_a_shortcut_is_compared_here():
    assert {name for name, attack in ATTACKS.items() if attack.in_turn is not None} == set(RULES)
