"""Moved images against the plain way: pad, crop, mirror, one image at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undertow.images import shift_flip
from undertow.rng import stream


def by_hand(image, dy, dx, mirror):
    height, width = image.shape[1:]
    margin = max(abs(dy), abs(dx))
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    crop = padded[:, margin + dy : margin + dy + height, margin + dx : margin + dx + width]
    return crop[:, :, ::-1] if mirror else crop


@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 7))
def test_every_image_is_padded_cropped_and_mirrored_by_its_own_draw(seed, height, width):
    rng, far = stream(seed, "images"), min(height, width) - 1
    x = rng.normal(size=(5, 3, height, width))
    dy, dx, mirror = rng.integers(-far, far + 1, 5), rng.integers(-far, far + 1, 5), rng.random(5) < 0.5
    expected = np.stack([by_hand(*one) for one in zip(x, dy, dx, mirror, strict=True)])
    np.testing.assert_array_equal(shift_flip(x, dy, dx, mirror), expected)


def test_no_move_is_no_change():
    x, none = stream(0, "x").normal(size=(4, 1, 6, 6)), np.zeros(4, int)
    np.testing.assert_array_equal(shift_flip(x, none, none, none > 0), x)


def test_an_image_cannot_leave_its_frame():
    with pytest.raises(ValueError, match="4 pixels cannot be moved by 4"):
        shift_flip(np.zeros((1, 1, 4, 4)), np.array([4]), np.array([0]), np.array([False]))
