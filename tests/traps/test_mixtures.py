"""Off a grid, single records are told from mixtures by what mixing averages away."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import mlp_trap, plant, read
from undertow.traps.acceptance import looking_single
from undertow.traps.mixtures import PASSED, single_test
from undertow.traps.recorder import Candidates

WIDTH = 60


def records(count, purpose):
    """Sparse and of many strengths: features of a network, roughly."""
    rng = stream(0, purpose)
    values = np.maximum(rng.standard_normal((count, WIDTH)), 0) * np.exp(0.3 * rng.standard_normal((count, 1)))
    return values @ (np.eye(WIDTH) + 0.05 * stream(1, "mix").standard_normal((WIDTH, WIDTH)))


@pytest.fixture(scope="module")
def test():
    x = records(3000, "auxiliary")
    directions = stream(2, "d").standard_normal((20, WIDTH))
    return single_test(x, x @ directions.T, 0.01, stream(3, "draw")), directions


def test_single_records_pass_and_mixtures_do_not(test):
    single, directions = test
    x = records(3000, "victim")
    firing = np.argsort(-(x @ directions.T), axis=0)[:60]
    one, other = x[firing[:30].ravel()], x[firing[30:].ravel()]
    assert single(one).mean() > 0.4
    assert single((one + other) / 2).mean() < 3 * PASSED


def test_what_was_not_read_does_not_pass(test):
    assert not test[0](np.full((2, WIDTH), np.nan)).any()


def test_the_reason_is_said_and_earlier_ones_stay():
    reasons = np.array([[""], ["out of range"], [""]], object)
    found = Candidates(np.zeros((3, 1, 2)), -np.ones((3, 1)), reasons == "", reasons)
    judged = looking_single(found, np.array([True, False, False]))
    assert judged.accepted[:, 0].tolist() == [True, False, False]
    assert judged.reasons[:, 0].tolist() == ["", "out of range", "looks like several records mixed"]


def test_a_trap_on_features_rejects_a_mixture_that_is_in_range():
    rng = stream(4, "weights")
    params = {"0.weight": 0.1 * rng.standard_normal((64, WIDTH)), "0.bias": np.zeros(64),
              "2.weight": 0.1 * rng.standard_normal((8, 64)), "2.bias": np.zeros(8)}  # fmt: skip
    x = records(3000, "auxiliary")
    trap = mlp_trap(params, x, 8, 0.01, stream(5, "baits"), layer="0", following="2", nested=0)
    before = plant(params, trap)
    accepted = {"one": 0, "mixed": 0}
    for k in range(8):
        best = np.argsort(-(x @ trap.directions[k]))[:2]
        for name, held in (("one", x[best[0]]), ("mixed", x[best].mean(0))):
            after = {key: value.copy() for key, value in before.items()}
            after["0.weight"][trap.units[k]] -= 0.1 * held
            after["0.bias"][trap.units[k]] -= 0.1
            accepted[name] += int(read(before, after, trap).accepted[k, 0])
    assert accepted["one"] >= 3
    assert accepted["mixed"] <= 1
