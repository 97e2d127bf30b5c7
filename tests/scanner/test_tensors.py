"""Blocks put together are the tensor, whatever its shape."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import of_arrays, worst
from undertow.scanner.tensors import BLOCK_BYTES


@pytest.mark.parametrize("shape", [(), (5,), (7, 3), (2, 3, 4), (3, BLOCK_BYTES // 8)])
def test_blocks_put_together_are_the_tensor(shape):
    value = stream(0, "test").normal(size=shape).astype(np.float32)
    tensor = of_arrays({"w": value})["w"]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in tensor.blocks()]).reshape(shape), value)
    np.testing.assert_array_equal(tensor.whole(), value)


def test_a_large_tensor_comes_in_more_than_one_block():
    tensor = of_arrays({"w": np.zeros((3, BLOCK_BYTES // 8), np.float32)})["w"]
    assert [first for first, _ in tensor.blocks()] == [0, 2]


def test_the_worst_file_decides_and_nothing_is_unknown():
    assert worst(["safe", "unknown", "safe"]) == "unknown"
    assert worst(["unsafe", "unknown"]) == "unsafe"
    assert worst([]) == "unknown"
