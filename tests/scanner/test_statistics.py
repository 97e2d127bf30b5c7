"""One pass gives what slow, plain NumPy in float64 gives; nothing overflows, nothing is lost."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import of_arrays
from undertow.scanner.statistics import CHUNK, SEGMENTS, statistics


def of(value):
    return statistics(of_arrays({"w": np.asarray(value)})["w"])


@pytest.mark.parametrize("shape", [(5, 3), (40, 64), (7, 100), (8, 3, 5, 5), (3, CHUNK // 2 + 16), (2 * CHUNK, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_as_plain_numpy(shape, dtype):
    value = stream(0, "test").normal(size=shape).astype(dtype)
    flat = value.astype(np.float64).reshape(len(value), -1)
    one = of(value)
    np.testing.assert_allclose(one.norm, np.linalg.norm(flat, axis=1), rtol=1e-5)
    np.testing.assert_allclose(one.column_norm, np.linalg.norm(flat, axis=0), rtol=1e-5)
    assert not len(one.broken)


def test_a_vector_is_kept_as_it_is():
    value = stream(0, "test").normal(size=50).astype(np.float32)
    one = of(value)
    np.testing.assert_array_equal(one.values, value)
    np.testing.assert_allclose(one.norm, np.abs(value))


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1.0, 1e25, 3e38])
def test_no_weight_is_too_large_or_too_small(size):
    value = (stream(0, "test").random((20, 64)) * size).astype(np.float32)
    one = of(value)
    np.testing.assert_allclose(one.norm, np.linalg.norm(value.astype(np.float64), axis=1), rtol=1e-5)
    assert np.isfinite(one.sketch).all()


def test_rows_of_very_different_size_in_one_chunk():
    value = np.ones((3, 64), np.float32) * np.array([1e-25, 1.0, 1e30], np.float32)[:, None]
    np.testing.assert_allclose(of(value).norm, 8 * np.array([1e-25, 1.0, 1e30]), rtol=1e-5)


def test_broken_rows_are_named_and_count_as_zero():
    value = np.ones((6, 32), np.float32)
    value[1, 3], value[4, 0] = np.nan, np.inf
    one = of(value)
    np.testing.assert_array_equal(one.broken, [1, 4])
    np.testing.assert_allclose(one.square, [32, 0, 32, 32, 0, 32])
    np.testing.assert_allclose(one.column_square, 4)


def test_subnormal_numbers_are_seen():
    value = np.full((8, 32), 1e-40, np.float32)
    assert of(value).subnormal == 1
    assert of(np.zeros((8, 32), np.float32)).subnormal == 0


@pytest.mark.parametrize("columns", [64, 100])
def test_sketches_keep_angles_on_average(columns):
    rng = stream(0, "test")
    value = rng.normal(size=(300, columns)).astype(np.float32)
    sketch = of(value).sketch
    assert sketch.shape == (300, SEGMENTS)
    ratio = np.linalg.norm(sketch, axis=1) / np.linalg.norm(value, axis=1)
    scale = 1.0 if columns % SEGMENTS == 0 else np.sqrt(SEGMENTS)  # whole rows are projected onto each number
    assert abs(float((ratio / scale).mean()) - 1) < 0.1
    np.testing.assert_allclose(of(-2 * value).sketch, -2 * sketch, rtol=1e-5)
