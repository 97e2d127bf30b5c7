"""Loaders that toss coins pass; those that shuffle, fix the batch, repeat or lie about the rate do not."""

import numpy as np
import pytest

from undertow.metrics.participation import participation
from undertow.types import BadInput

N, RATE, STEPS = 400, 0.1, 60


def rng(seed):
    return np.random.Generator(np.random.PCG64(seed))


def poisson(seed, rate=RATE):
    r = rng(seed)
    return [np.flatnonzero(r.random(N) < rate) for _ in range(STEPS)]


def test_coins_are_accused_no_more_often_than_the_level():
    level, runs = 0.05, 800
    wrong = np.mean([participation(poisson(seed), N, RATE).p_value <= level for seed in range(runs)])
    assert wrong <= level + 2 * np.sqrt(level * (1 - level) / runs)


def shuffled(seed):
    r = rng(seed)
    return [part for _ in range(6) for part in np.split(r.permutation(N), 10)]


def fixed(seed):
    r = rng(seed)
    return [r.choice(N, 40, replace=False) for _ in range(STEPS)]


def partly(seed):
    """Half of the records never come, the others twice as often."""
    r = rng(seed)
    return [np.flatnonzero(r.random(N // 2) < 2 * RATE) for _ in range(STEPS)]


@pytest.mark.parametrize(
    ("draw", "test"),
    [(shuffled, "counts_p"), (shuffled, "sizes_p"), (fixed, "sizes_p"), (partly, "counts_p")],
)
def test_other_loaders_are_found(draw, test):
    found = participation(draw(0), N, RATE)
    assert getattr(found, test) < 1e-6
    assert found.p_value < 1e-5


def test_a_wrong_rate_is_found_and_measured():
    found = participation(poisson(0, 0.12), N, RATE)
    assert found.rate_p < 1e-6
    assert found.observed == pytest.approx(0.12, abs=0.01)


def test_a_record_twice_in_a_batch_is_found():
    batches = poisson(0)
    batches[3] = np.append(batches[3], batches[3][:1])
    found = participation(batches, N, RATE)
    assert (found.repeats, found.p_value) == (1, 0.0)


def test_full_batches():
    assert participation([np.arange(9)] * 3, 9, 1.0).p_value == 1
    assert participation([np.arange(9), np.arange(8)], 9, 1.0).p_value == 0


def test_what_is_no_loader_is_refused():
    with pytest.raises(BadInput, match="rows are 0 to 8"):
        participation([np.arange(10)] * 2, 9, 0.5)
    with pytest.raises(BadInput, match="at least two"):
        participation([np.arange(5)], 9, 0.5)


def test_opacus_loaders_are_what_they_say():
    torch = pytest.importorskip("torch")
    pytest.importorskip("opacus")
    from dataclasses import replace
    from functools import partial

    from undertow.training.opacus_pipeline import OpacusPipeline
    from undertow.types import Examples

    data = Examples(np.zeros((N, 1), np.float32), np.zeros(N, int), "rows")
    train = OpacusPipeline(partial(torch.nn.Linear, 1, 2), partial(torch.optim.SGD, lr=0.1), 1.0, 1.0, 40, epochs=6)
    assert participation(train.batches(data, 0), N, RATE).p_value > 1e-3
    assert participation(replace(train, poisson=False).batches(data, 0), N, RATE).p_value < 1e-6
