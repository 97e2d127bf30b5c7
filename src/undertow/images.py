"""Images moved and mirrored, NumPy only: the same pixels whoever asks, so that engines and views agree."""

import numpy as np

from undertow.types import Array


def shift_flip(x: Array, dy: Array, dx: Array, mirror: Array) -> Array:
    """Each image of x (N, C, H, W) mirrored left to right where `mirror` (N,) bool says so, then moved.

    `dy` and `dx` (N,) int are pixels down and to the right; what enters at a border is the image reflected there
    (the border pixel itself is not repeated). Raises ValueError where an image would leave its frame.

    >>> shift_flip(np.arange(4.0).reshape(1, 1, 1, 4), np.array([0]), np.array([1]), np.array([False])).ravel()
    array([1., 0., 1., 2.])
    """
    count, channels, height, width = x.shape
    rows, columns = _reflected(height, dy), _reflected(width, dx)
    columns = np.where(np.asarray(mirror)[:, None], width - 1 - columns, columns)
    which, channel = np.arange(count)[:, None, None, None], np.arange(channels)[None, :, None, None]
    moved: Array = x[which, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return moved


def _reflected(size: int, shift: Array) -> Array:
    """Where each place of a line of `size` is read from, (N, size), once the line is moved by `shift` (N,)."""
    if np.abs(shift).max(initial=0) >= size:
        raise ValueError(f"an image of {size} pixels cannot be moved by {np.abs(shift).max()}")
    place = np.abs(np.arange(size)[None, :] - np.asarray(shift)[:, None])
    result: Array = size - 1 - np.abs(size - 1 - place)
    return result
