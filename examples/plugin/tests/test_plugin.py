"""The contracts of Undertow, kept by this package; and what its own rule and audit must show besides."""

from dataclasses import replace

import numpy as np
import pytest
from undertow_example.attack import MEDIAN
from undertow_example.audit import RELEASED_MEANS

from undertow.testing import AttackContract, AuditContract
from undertow.types import BadInput
from undertow.workflows.audit import Given, Request, run_audit


class TestMedian(AttackContract):
    def oracle(shadow, target):
        scores = np.empty(target.shape)
        for t, q in np.ndindex(*target.shape):
            out = sorted(v for v, m in zip(shadow.values[:, q], shadow.member[:, q], strict=True) if not m)
            middle = len(out) // 2
            scores[t, q] = target[t, q] - (out[middle] if len(out) % 2 else (out[middle - 1] + out[middle]) / 2)
        return scores

    @pytest.fixture
    def attack(self):
        return MEDIAN


def test_a_point_in_every_model_is_named():
    from undertow.testing import game

    full = game(0)
    member = full.evidence.member.copy()
    member[full.shadows, 3] = True
    with pytest.raises(BadInput, match="point 3 is IN every model"):
        replace(full, evidence=replace(full.evidence, member=member)).scores(MEDIAN)


class TestReleasedMeans(AuditContract):
    small = {"releases": 20}
    refused = {"coordinates": 10**8}
    presets = ("plain", "noisy")

    @pytest.fixture
    def audit(self):
        return RELEASED_MEANS


def test_the_auc_is_that_of_the_closed_form(tmp_path):
    """In a mean of n records of d numbers a member's score is higher by d/n, at a deviation of about sqrt(d/n)."""
    from scipy.stats import norm

    config = RELEASED_MEANS.configure(Given(options={"releases": 400, "records": 200, "coordinates": 100}))
    (row, *_) = run_audit(RELEASED_MEANS, config, Request(tmp_path)).measurements
    expected = norm.cdf(np.sqrt(100 / 100) / np.sqrt(2))  # d = n = 100
    assert abs(row.value - expected) < 0.04
