"""A unit that copied one record and shut is named; one that mixes, goes on, or only fired is not."""

import numpy as np

from undertow.rng import stream
from undertow.scanner.held import Watched, held

INPUTS = stream(0, "inputs").normal(size=(50, 16))
BEFORE = stream(0, "weights").normal(size=(8, 16))


def layer(row, step, late=None):
    after = BEFORE.copy()
    after[row] += step
    middle = after if late is None else late
    return Watched("w", (BEFORE, middle, after), np.zeros(8))


def test_one_record_is_named():
    (found,) = held(layer(3, -0.7 * INPUTS[21]), INPUTS, np.arange(50))
    assert (found.tensor, found.row, found.record) == ("w", 3, 21)
    assert found.error < 1e-7


def test_tokens_are_named_by_their_record():
    (found,) = held(layer(3, -0.7 * INPUTS[21]), INPUTS, np.repeat(np.arange(25), 2))
    assert found.record == 10


def test_a_mixture_is_none():
    assert held(layer(3, -INPUTS[21] - INPUTS[22]), INPUTS, np.arange(50)) == []


def test_a_step_along_the_record_counts_as_one_against_it():
    """What shuts the trap may lie behind it: then the head decides the sign."""
    (found,) = held(layer(3, 0.7 * INPUTS[21]), INPUTS, np.arange(50))
    assert (found.row, found.record) == (3, 21)


def test_a_unit_that_one_record_alone_fires_proves_nothing():
    """It can hold no other."""
    lonely = Watched("w", layer(3, -0.7 * INPUTS[21]).weights, np.full(8, -np.sort(INPUTS @ BEFORE[3])[-2]))
    assert held(lonely, INPUTS, np.arange(50)) == []
    lonely.bias[:] += 1e-6
    assert held(lonely, INPUTS, np.arange(50))[0].fired == 2


def test_a_unit_that_still_moves_is_none():
    late = BEFORE.copy()
    late[3] -= 0.5 * INPUTS[21]
    assert held(layer(3, -0.7 * INPUTS[21], late), INPUTS, np.arange(50)) == []


def test_nothing_moved():
    assert held(layer(3, 0), INPUTS, np.arange(50)) == []


def test_two_records_that_are_nearly_the_same_prove_nothing():
    close = INPUTS.copy()
    close[22] = close[21] + 0.02 * INPUTS[5]
    between = (close[21] + close[22]) / 2
    assert held(layer(3, -between), close, np.arange(50)) == []


def test_what_several_records_gave_is_of_no_record():
    """A class token is the same for all until something mixes into it; a benign unit may well step along it."""
    inputs, records = INPUTS.copy(), np.repeat(np.arange(25), 2)
    inputs[::2] = INPUTS[0]
    assert held(layer(3, -0.7 * INPUTS[0]), inputs, records) == []
    (found,) = held(layer(3, -0.7 * INPUTS[21]), inputs, records)
    assert found.record == 10


def test_a_large_constant_beside_the_record_does_not_hide_it():
    wide = np.hstack([INPUTS, np.full((50, 4), 1e4)])
    before = np.hstack([BEFORE, np.zeros((8, 4))])
    after = before.copy()
    after[3] -= 0.7 * wide[21]
    found = held(Watched("w", (before, after, after), None), wide, np.arange(50))
    assert [one.record for one in found] == [21]


def test_broken_numbers_are_no_evidence():
    broken = BEFORE.copy()
    broken[3] = np.nan
    assert held(Watched("w", (BEFORE, broken, broken), None), INPUTS, np.arange(50)) == []
