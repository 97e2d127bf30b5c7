"""What an attacker accepts without any finetuning data."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import Domain, domain_of
from undertow.traps.acceptance import accept, agreeing, first_accepted
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
