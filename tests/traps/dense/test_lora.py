"""Traps under LoRA, written slowly: the row of B is -s A x, and a Gaussian prior turns it into x."""

from dataclasses import replace

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import lora_trap, mlp_trap, plant, read
from undertow.types import BadInput

WIDTH, UNITS, TRAPS = 30, 64, 6
PATTERNS = stream(99, "lora").random((5, WIDTH))


def records(count, seed):
    rng = stream(seed, "lora")
    return np.clip(PATTERNS[rng.integers(0, 5, count)] * 0.7 + 0.4 * rng.random((count, WIDTH)), 0, 1)


@pytest.fixture(scope="module")
def planted():
    rng = stream(0, "network")
    params = {
        "0.weight": rng.standard_normal((UNITS, WIDTH)), "0.bias": np.zeros(UNITS),
        "2.weight": rng.standard_normal((32, UNITS)), "2.bias": np.zeros(32),
    }  # fmt: skip
    dense = mlp_trap(params, records(500, 1), TRAPS, 0.02, rng, layer="0", following="2")
    trap = lora_trap(dense, records(500, 1))
    return plant(params, trap), trap


def finetuned(planted, trap, rank, push=0.3):
    """One firing record for every trap; both of its units take the step."""
    a = stream(rank, "a").uniform(-1, 1, (rank, WIDTH)) / np.sqrt(WIDTH)
    b, x = np.zeros((UNITS, rank)), records(2000, 2)
    chosen = (x @ trap.dense.directions.T - trap.dense.thresholds).argmax(0)
    for units, gain in ((trap.dense.units, 1.0), (trap.dense.upper, 0.1)):
        b[units] = -push * gain * x[chosen] @ a.T
    factors = {"0.lora_A.weight": a, "0.lora_B.weight": b}
    return {**{f"{n}.base_layer": v for n, v in planted.items()}, **factors}, x, chosen


@pytest.mark.parametrize(("rank", "least"), [(2 * WIDTH, 6), (WIDTH // 2, 3)])
def test_the_nearest_record_is_the_one_that_fired(planted, rank, least):
    before, trap = planted
    after, x, chosen = finetuned(before, trap, rank)
    found = read(before, after, trap)
    nearest = ((found.values - x) ** 2).sum(-1).argmin(1)
    blind = ((trap.blind()[:, None] - x) ** 2).sum(-1).argmin(1)
    assert found.accepted.all()
    assert (nearest == chosen).sum() >= least > (blind == chosen).sum()
    assert (found.best(x, np.ones((len(x), TRAPS), bool)) == chosen).all()


def test_the_more_ranks_the_nearer(planted):
    before, trap = planted
    errors = []
    for rank in (2, 8, 2 * WIDTH):
        after, x, chosen = finetuned(before, trap, rank)
        errors.append(np.abs(read(before, after, trap).values[:, 0] - x[chosen]).mean())
    assert errors[0] > 1.2 * errors[1] > 2 * errors[2]
    assert errors[2] < 0.05


def test_the_size_of_the_step_does_not_matter(planted):
    before, trap = planted
    small, large = (read(before, finetuned(before, trap, 8, push)[0], trap) for push in (1e-3, 30.0))
    assert np.allclose(small.values, large.values, atol=1e-9)


def test_what_is_no_single_record_is_not_accepted(planted):
    before, trap = planted
    after, x, _ = finetuned(before, trap, 16)
    opened = {**after, "0.lora_B.weight": -after["0.lora_B.weight"]}
    assert set(read(before, opened, trap).reasons.ravel()) == {"pushed open"}
    mixed = {**after, "0.lora_B.weight": after["0.lora_B.weight"].copy()}
    mixed["0.lora_B.weight"][trap.dense.units] -= 0.2 * x[:TRAPS] @ after["0.lora_A.weight"].T
    assert set(read(before, mixed, trap).reasons.ravel()) == {"two units of the trap do not agree on it"}


def test_nothing_is_read_where_nothing_was_written(planted):
    before, trap = planted
    after, *_ = finetuned(before, trap, 4)
    still = {**after, "0.lora_B.weight": np.zeros((UNITS, 4))}
    for found in (read(before, still, trap), read(before, before, trap)):
        assert np.isnan(found.values).all()
        assert set(found.reasons.ravel()) == {"nothing written"}


def test_merged_and_broken_weights_are_refused(planted):
    before, trap = planted
    after, *_ = finetuned(before, trap, 4)
    merged = {**before, "0.weight": before["0.weight"] + 1e-3}
    with pytest.raises(BadInput, match="not the merged weights"):
        read(before, merged, trap)
    with pytest.raises(BadInput, match="broke down"):
        read(before, {**after, "0.lora_A.weight": np.full((4, WIDTH), np.nan)}, trap)
    with pytest.raises(BadInput, match="no factors of inputs"):
        read(before, {**after, "0.lora_A.weight": np.zeros((3, WIDTH))}, trap)


def test_planting_is_that_of_the_dense_traps(planted):
    before, trap = planted
    again = plant(before, trap.dense)
    assert all((again[name] == before[name]).all() for name in before)
    quiet = replace(trap, mean=trap.mean + 1)
    assert all((plant(before, quiet)[name] == before[name]).all() for name in before)
