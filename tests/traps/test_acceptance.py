"""What an attacker accepts without any finetuning data."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import Domain, domain_of
from undertow.traps.acceptance import accept, agreeing, first_accepted, in_step
from undertow.traps.recorder import Written

GREY = Domain(0.0, 1.0, 16)
RECORD, OTHER = np.array([0.25, 1.0, 0.0]), np.array([0.5, 0.0, 0.75])


def judged(value, step=-0.1, margin=1.0, domain=GREY):
    held = Written(np.asarray(value)[None, None] * step, np.array([[step]]))
    return accept(held, lambda x: np.full(x.shape[:2], margin), domain)


def test_a_record_passes_and_each_defect_has_its_reason():
    assert judged(RECORD).accepted.all()
    for found, said in (
        (judged(RECORD, step=0.1), "pushed open"),
        (judged(RECORD, margin=-1.0), "does not fire"),
        (judged(RECORD + 2), "out of range"),
        (judged(0.55 * RECORD + 0.45 * OTHER), "mixed"),
        (judged(RECORD, step=0.0), "nothing written"),
    ):
        assert not found.accepted.any()
        assert said in found.reasons[0, 0]


def test_the_grid_of_the_records_is_found():
    levels = stream(0, "test").integers(0, 17, (50, 9))
    bytes_ = stream(1, "test").integers(0, 256, (99, 9)).astype(np.float32) / np.float32(255)
    assert domain_of(levels / 16).grid == 16
    assert domain_of(bytes_).grid == 255
    assert domain_of(stream(0, "test").random((50, 9))).grid == 0


def test_of_several_hypotheses_the_first_that_passes_is_kept():
    mixed, right = judged(0.55 * RECORD + 0.45 * OTHER), judged(OTHER)
    best = first_accepted([mixed, right])
    assert best.accepted.all()
    assert (best.values[0, 0] == right.values[0, 0]).all()
    assert not first_accepted([mixed, mixed]).accepted.any()


@pytest.mark.parametrize(("apart", "accepted"), [(0.0, True), (0.1, False)])
def test_off_a_grid_two_units_must_agree(apart, accepted):
    free = Domain(0.0, 1.0)
    one, other = judged(RECORD, domain=free), judged(RECORD - apart, domain=free)
    assert agreeing(one, other).accepted.all() == accepted
    assert not agreeing(one, judged(RECORD, step=0.0, domain=free)).accepted.any()


BYTES = Domain(-1.0, 1.0, 127.5, -1.0)


def test_on_a_fine_grid_readings_may_scatter_about_it_but_mixtures_lie_anywhere():
    rng = stream(0, "test")
    records = (2 * rng.integers(0, 256, (200, 64)) - 255) / 255
    assert domain_of(records) == BYTES
    read = records + 0.15 / 127.5 * rng.standard_normal(records.shape)
    share = rng.uniform(0.02, 0.5, (200, 1))
    share[:20] = 0.5  # of two records of one label
    mixed = (1 - share) * records + share * records[::-1]
    assert np.mean([judged(x, domain=BYTES).accepted.all() for x in read]) > 0.98
    assert not any(judged(x, domain=BYTES).accepted.any() for x in mixed)


def test_a_flat_patch_is_no_evidence():
    levels = stream(0, "test").uniform(-0.9, 0.9, (300, 2))
    assert not any(judged(np.repeat(pair, 32), domain=BYTES).accepted.any() for pair in levels)


def test_evidence_exceeds_a_limit_no_more_often_than_it_may():
    values = stream(0, "test").uniform(-0.99, 0.99, (3000, 8))
    evidence = np.array([BYTES.evidence(value) for value in values])
    for limit in (10, 100):
        assert (evidence > np.log(limit)).mean() < 1 / limit + 3 * np.sqrt(1 / limit / 3000)


@pytest.mark.parametrize(("second", "accepted"), [(-0.11, True), (-0.3, False), (0.0, False)])
def test_the_units_of_a_trap_took_one_step(second, accepted):
    step = np.array([[-0.1, second]])
    held = Written(np.stack([RECORD, RECORD])[None] * step[..., None], step)
    found = in_step(accept(held, lambda x: np.ones(x.shape[:2]), GREY))
    assert found.accepted.all() == accepted
