"""What every model is asked about: one clean view, the others changed as the configuration says."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
from undertow.audits.chain import Host, Workshop, ready
from undertow.audits.settings import LeakageConfig
from undertow.audits.supply import Supply
from undertow.audits.views import make_views
from undertow.engine.executor import Serial
from undertow.rng import stream
from undertow.storage.store import MemoryStore
from undertow.types import ConfigError, Examples

BASE = LeakageConfig(views=6, view_jitter=0.0, shadows=4, victims=1)
IMAGES = stream(0, "x").normal(size=(10, 3, 9, 9)).astype(np.float32)


def test_the_first_view_is_clean_whatever_the_others_are():
    x = make_views(replace(BASE, view_shift=2, view_flip=True, view_jitter=0.3), IMAGES)
    np.testing.assert_array_equal(x[:, 0], IMAGES)
    assert all((x[:, a] != IMAGES).any(axis=(1, 2, 3)).all() for a in range(1, 6))
    assert x.dtype == np.float32


def test_every_second_view_is_mirrored():
    x = make_views(replace(BASE, view_flip=True), IMAGES)
    np.testing.assert_array_equal(x[:, 1::2], np.repeat(IMAGES[:, None, :, :, ::-1], 3, 1))
    np.testing.assert_array_equal(x[:, ::2], np.repeat(IMAGES[:, None], 3, 1))


def test_a_shift_moves_each_view_by_at_most_so_many_pixels_its_own_way():
    x = make_views(replace(BASE, view_shift=2), IMAGES)
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    seen = set()
    for q in range(10):
        for a in range(1, 6):
            at = [(i, j) for i in range(5) for j in range(5)
                  if np.array_equal(padded[q, :, i : i + 9, j : j + 9], x[q, a])]  # fmt: skip
            assert len(at) == 1
            seen.update(at)
    assert len(seen) > 15  # of 25


def test_without_shift_and_flip_nothing_but_jitter_is_drawn():
    noise = make_views(replace(BASE, view_jitter=1.0), np.zeros((10, 5), np.float32))
    assert abs(noise[:, 1:].std() - 1) < 0.1
    shifted = make_views(replace(BASE, view_jitter=1.0, view_shift=1), np.zeros((10, 1, 1 + 4, 1 + 4), np.float32))
    assert abs(shifted[:, 1:].std() - 1) < 0.1


def supply(x):
    y = np.arange(len(x)) % 2
    return Supply("s", Examples(x, y, "a"), Examples(x + 9, y, "b"), None, tuple(map(str, range(len(x)))))


@pytest.mark.parametrize(
    ("change", "x", "says"),
    [
        ({"view_shift": 1}, np.zeros((4, 7)), r"for images.*\(7,\)"),
        ({"view_flip": True}, np.zeros((4, 7, 7)), "for images"),
        ({"view_shift": 9}, IMAGES, "9 x 9 pixels"),
    ],
)
def test_what_is_no_image_cannot_be_moved_and_nothing_is_written(change, x, says):
    with pytest.raises(ConfigError, match=says):
        ready(replace(BASE, **change), supply(x))


def test_the_views_are_stored_under_their_content():
    keys = set()
    for change in ({}, {"view_shift": 1}, {"view_shift": 2}, {"view_flip": True}, {"view_jitter": 0.1}):
        shop = Workshop(replace(BASE, **change), supply(IMAGES), Host(MemoryStore(), Serial()))
        keys.add(shop.put_views(np.arange(4)))
        assert shop.put_views(np.arange(4)) in keys
    assert len(keys) == 5
