"""Which records stand out, and which cannot be known."""

import numpy as np
import pytest

from undertow.metrics import auc, exposure
from undertow.rng import stream
from undertow.types import Scores


def exposure_slowly(scores, q):
    found = []
    for values, member in zip(scores.values, scores.member):
        if member[q] and not member.all():
            found.append(np.mean([(values[q] > y) + (values[q] == y) / 2 for y in values[~member]]))
    return np.mean(found) if found else None


def test_it_is_the_definition_written_slowly():
    rng = stream(0, "test")
    member = rng.random((6, 12)) < 0.4
    member[0], member[:, 3] = True, False
    scores = Scores("loss", rng.integers(8, size=(6, 12)).astype(float), member)
    found = exposure(scores)
    for q in range(12):
        slowly = exposure_slowly(scores, q)
        assert bool(found.mask[q]) == (slowly is None)
        if slowly is not None:
            assert found[q] == pytest.approx(slowly)


def test_its_mean_over_one_target_is_the_auc():
    rng = stream(1, "test")
    member = rng.random((1, 500)) < 0.5
    scores = Scores("loss", rng.normal(size=(1, 500)) + member, member)
    found = exposure(scores)
    assert found.mean() == pytest.approx(auc(scores.values, member))
    np.testing.assert_array_equal(found.mask, ~member[0])


def test_a_planted_record_is_fully_exposed_and_the_rest_are_not():
    rng = stream(2, "test")
    member = rng.random((64, 100)) < 0.5
    values = rng.normal(size=(64, 100))
    values[:, 7] += 50 * member[:, 7]
    found = exposure(Scores("loss", values, member))
    assert found[7] == 1
    assert np.delete(found, 7).mean() == pytest.approx(0.5, abs=0.02)


def test_without_members_everything_is_masked_and_nothing_is_nan():
    found = exposure(Scores("loss", np.zeros((2, 3)), np.zeros((2, 3), bool)))
    assert found.mask.all()
    assert np.isfinite(found.data).all()
