"""Moving and mirroring images by index: what lies where, NumPy."""

import numpy as np

from undertow.types import Array


def moved_pixels(dy: Array, dx: Array, mirror: Array, height: int, width: int) -> Array:
    """Which pixel of the (height * width) of an image each pixel of its moved copy shows, (N, height * width) int64.

    `dy`, `dx` (N,) pixels the window moves down and right (the picture moves up and left), at most one less than
    the side: beyond the border the image is reflected, its edge not repeated. `mirror` (N,) bool: left and right
    are exchanged afterwards. Raises ValueError where an image would leave its frame.
    """
    for side, shift in ((height, dy), (width, dx)):
        if np.abs(shift).max(initial=0) >= side:
            raise ValueError(f"an image of {side} pixels cannot be moved by {np.abs(shift).max()}")
    rows = _reflected(np.arange(height) + dy[:, None], height)
    across = np.arange(width)
    columns = _reflected(np.where(mirror[:, None], across[::-1], across) + dx[:, None], width)
    pixels: Array = (rows[:, :, None] * width + columns[:, None, :]).reshape(len(dy), height * width)
    return pixels


def shift_flip(x: Array, dy: Array, dx: Array, mirror: Array) -> Array:
    """Moved and mirrored copies of images `x` (N, C, H, W), each by its own `dy`, `dx`, `mirror` (see moved_pixels).

    >>> x = np.arange(3).reshape(1, 1, 1, 3)
    >>> one, no = np.array([1]), np.array([False])
    >>> shift_flip(x, 0 * one, one, no).ravel(), shift_flip(x, 0 * one, one, ~no).ravel()
    (array([1, 2, 1]), array([1, 2, 1]))
    >>> shift_flip(x, 0 * one, -one, ~no).ravel()
    array([1, 0, 1])
    """
    count, channels, height, width = x.shape
    pixels = moved_pixels(dy, dx, mirror, height, width)
    moved: Array = np.take_along_axis(x.reshape(count, channels, -1), pixels[:, None], axis=2).reshape(x.shape)
    return moved


def _reflected(places: Array, side: int) -> Array:
    """Places from 1 - side to 2 side - 2, folded back into 0..side - 1 at the two border pixels."""
    inside: Array = (side - 1) - np.abs((side - 1) - np.abs(places))
    return inside
