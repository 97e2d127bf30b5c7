"""Repeated, mirrored and copying rows, against plain cosines."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import of_arrays
from undertow.scanner.layers import layers_of
from undertow.scanner.repeats import ALL, groups, mirrored
from undertow.scanner.statistics import statistics
from undertow.scanner.structure import structure


def sketched(value):
    return statistics(of_arrays({"fc.weight": value.astype(np.float32)})["fc.weight"])


def random(rows, columns=128, seed=0):
    return stream(seed, "test").normal(size=(rows, columns))


@pytest.mark.parametrize("rows", [200, ALL + 100])
def test_random_rows_do_not_repeat(rows):
    one = sketched(random(rows))
    assert groups(one) == []
    assert len(mirrored(one)) == 0


@pytest.mark.parametrize("rows", [200, ALL + 100])
def test_copies_are_found_whatever_their_length(rows):
    value = random(rows)
    value[[5, 50, 90]] = value[3] * np.array([[1.0], [0.1], [30.0]])
    value[120] = value[121] + 1e-3
    assert [one.tolist() for one in groups(sketched(value))] == [[3, 5, 50, 90], [120, 121]]


def test_mirrored_rows_are_found():
    value = random(100)
    value[40] = -2 * value[7]
    assert mirrored(sketched(value)).tolist() == [[7, 40]]


def test_rows_that_are_next_to_nothing_say_nothing():
    value = random(100)
    value[40], value[41] = value[7] * 1e-7, 0
    assert groups(sketched(value)) == []


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("repeated-rows", lambda w: w.__setitem__(slice(1, 4), w[0])),
        ("mirrored-rows", lambda w: w.__setitem__(1, -w[0])),
        ("copying-rows", lambda w: w.__setitem__(slice(0, 16), np.eye(64)[:16] * 3)),
        ("zero-rows", lambda w: w.__setitem__(slice(2, 5), 0)),
    ],
)
def test_structure_is_told(kind, change):
    value = random(64, 64)
    before = {one.kind for one in structure(layers_of({"fc.weight": sketched(value)}))}
    change(value)
    after = {one.kind: one for one in structure(layers_of({"fc.weight": sketched(value)}))}
    assert before == set()
    assert kind in after
    assert after[kind].severity == "info"
