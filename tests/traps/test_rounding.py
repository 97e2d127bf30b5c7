"""Half precision: half a unit in the last place against torch's own rounding, and records put back onto their grid."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from undertow.rng import stream
from undertow.traps.acceptance import Domain
from undertow.traps.recorder import Recorder, Written, written
from undertow.traps.rounding import half_unit, on_grid, reach

TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
GRID = Domain(0.0, 1.0, 16)
RECORDER = Recorder("weight", "bias", np.array([[0], [1]]), np.arange(64), idle=np.array([2]))


def stored(values, kind):
    return torch.tensor(values, dtype=torch.float32).to(TYPES[kind]).float().numpy()


@pytest.mark.parametrize("kind", TYPES)
def test_rounding_never_reaches_further_and_often_nearly_so_far(kind):
    exact = stream(0, "rounding").standard_normal(4000) * 3
    rounded = stored(exact, kind)
    share = np.abs(rounded - exact) / half_unit(rounded)
    assert 0.99 < share.max() <= 1.001


def test_single_precision_is_left_alone():
    values = stream(0, "rounding").standard_normal(50).astype(np.float32)
    assert (half_unit(values) == 0).all()
    found = Written(np.ones((2, 1, 64)) * 0.3, np.ones((2, 1)))
    assert on_grid(found, [Written(np.zeros((2, 1, 64)), np.zeros((2, 1)))], GRID) is found


def read(kind, push, records):
    """Two traps that took a step on `records` (2, 64), stored in that type."""
    rng = stream(1, "rounding")
    weight, bias = (stored(0.5 * rng.standard_normal(shape), kind) for shape in ((3, 64), (3,)))
    after = {"weight": weight.copy(), "bias": bias.copy()}
    after["weight"][:2] -= push * records
    after["bias"][:2] -= push
    after = {name: stored(value, kind) for name, value in after.items()}
    found = written({"weight": weight, "bias": bias}, after, RECORDER)
    return found, on_grid(found, [reach(after, RECORDER)], GRID)


@pytest.mark.parametrize(("kind", "push"), [("float16", 0.2), ("bfloat16", 2.0)])
def test_records_are_put_back_exactly(kind, push):
    records = stream(2, "rounding").integers(0, 17, (2, 64)) / 16
    found, put = read(kind, push, records)
    assert np.abs(found.values[:, 0] - records).max() > 1e-4
    assert np.abs(put.values[:, 0] - records).max() < 1e-12


def test_mixtures_and_what_rounding_drowned_stay_as_they_were():
    records = stream(2, "rounding").integers(0, 17, (2, 64)) / 16
    mixed, put = read("bfloat16", 2.0, (0.5 * (records + records[::-1]) + 0.013))
    assert (put.values == mixed.values).all()
    drowned, put = read("bfloat16", 0.01, records)
    assert (put.values == drowned.values).all()
