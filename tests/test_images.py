"""Moving and mirroring images, against np.pad and slicing."""

import numpy as np
import pytest

from undertow.images import shift_flip
from undertow.rng import stream


def test_it_equals_padding_by_reflection_and_cutting():
    rng = stream(0, "images")
    x = rng.normal(size=(40, 3, 7, 5))
    dy, dx, mirror = rng.integers(-4, 5, 40), rng.integers(-4, 5, 40), rng.random(40) < 0.5
    moved = shift_flip(x, dy, dx, mirror)
    for i in range(40):
        image = x[i, :, :, ::-1] if mirror[i] else x[i]
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), mode="reflect")
        np.testing.assert_array_equal(moved[i], padded[:, 4 - dy[i] : 11 - dy[i], 4 - dx[i] : 9 - dx[i]])


def test_staying_put_changes_nothing_and_keeps_the_dtype():
    x = stream(0, "images").normal(size=(2, 1, 4, 4)).astype(np.float32)
    still = np.zeros(2, int)
    same = shift_flip(x, still, still, np.zeros(2, bool))
    np.testing.assert_array_equal(same, x)
    assert same.dtype == np.float32


def test_an_image_cannot_leave_its_frame():
    with pytest.raises(ValueError, match="4 pixels cannot be moved by 4"):
        shift_flip(np.zeros((1, 1, 4, 4)), np.array([4]), np.array([0]), np.array([False]))
