"""The exact ratio, written slowly: a unit's step is -eta g (x, 1) whatever eta and g are."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps.recorder import Recorder, written
from undertow.types import BadInput

RNG = stream(0, "test")
BEFORE = {"a.weight": RNG.standard_normal((6, 4)), "a.bias": RNG.standard_normal(6)}
PLAIN = Recorder("a.weight", "a.bias", np.array([[1], [3]]), np.arange(4), idle=np.array([5]))


def stepped(x, unit=1, push=0.3, shrink=1.0):
    """After one firing of `unit` on x, and weight decay by `shrink`."""
    after = {name: shrink * value for name, value in BEFORE.items()}
    after["a.weight"][unit] -= push * x
    after["a.bias"][unit] -= push
    return after


@pytest.mark.parametrize("push", [1e-3, 0.3, 50.0, -2.0])
@pytest.mark.parametrize("shrink", [1.0, 0.97])
def test_the_record_is_read_whatever_the_step_and_the_decay(push, shrink):
    x = RNG.random(4)
    found = written(BEFORE, stepped(x, push=push, shrink=shrink), PLAIN)
    assert np.allclose(found.values[0, 0], x, atol=1e-9)
    assert found.step[0, 0] == pytest.approx(-push)
    assert np.isnan(found.values[1]).all()
    assert found.step[1, 0] == 0


def test_weight_decay_that_is_not_taken_out_spoils_the_reading():
    x = RNG.random(4)
    blind = Recorder("a.weight", "a.bias", PLAIN.rows, PLAIN.plus)
    wrong = written(BEFORE, stepped(x, push=1e-3, shrink=0.97), blind).values[0, 0]
    assert np.abs(wrong - x).max() > 0.1


def test_two_records_in_one_batch_mix():
    a, b = RNG.random(4), RNG.random(4)
    after = stepped(a, push=0.1)
    after["a.weight"][1] -= 0.3 * b
    after["a.bias"][1] -= 0.3
    assert np.allclose(written(BEFORE, after, PLAIN).values[0, 0], (0.1 * a + 0.3 * b) / 0.4)


def test_the_difference_of_nested_units_unmixes_them():
    a, b = RNG.random(4), RNG.random(4)
    after = stepped(a, push=0.1)
    for unit in (1, 3):  # b fires both units
        after["a.weight"][unit] -= 0.3 * b
        after["a.bias"][unit] -= 0.3
    lower, upper = (written(BEFORE, after, Recorder("a.weight", "a.bias", np.array([[u]]), PLAIN.plus)) for u in (1, 3))
    assert np.allclose((lower - upper).values[0, 0], a)
    assert np.allclose(upper.values[0, 0], b)


def test_mirrored_and_scaled_codes_and_constants():
    x = RNG.random(1)
    mirrored = Recorder("a.weight", "a.bias", np.array([[1]]), np.array([0]), np.array([1]), 60.0,
                        np.array([2, 3]), 3000.0)  # fmt: skip
    after = stepped(np.array([60 * x[0], -60 * x[0], 3000.0, 3000.0]), push=1e-4)
    assert np.allclose(written(BEFORE, after, mirrored).values[0, 0], x)


def test_a_transposed_matrix_reads_alike():
    x = RNG.random(4)
    turned = Recorder("a.weight", "a.bias", PLAIN.rows, PLAIN.plus, transposed=True)
    before, after = ({**p, "a.weight": p["a.weight"].T} for p in (BEFORE, stepped(x)))
    assert np.allclose(written(before, after, turned).values[0, 0], x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.pop("a.bias"), "no tensor 'a.bias'"),
        (lambda p: p.update({"a.weight": p["a.weight"][:, :3]}), "changed its shape"),
        (lambda p: p["a.weight"].__setitem__((0, 0), np.nan), "broke down"),
    ],
)
def test_checkpoints_that_cannot_be_compared_are_refused(change, said):
    after = stepped(RNG.random(4))
    change(after)
    with pytest.raises(BadInput, match=said):
        written(BEFORE, after, PLAIN)
