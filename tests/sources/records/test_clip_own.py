"""The user's own images for a CLIP: what a file must hold, and one line for what it does not."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL.Image")
from tests.sources.records.toy_images import pictures

from undertow.sources.checkpoints.clip import Preprocessor
from undertow.sources.records.clip_own import named_images
from undertow.types import BadInput

NAMES = np.array(["cat", "lawn_mower"])
LOOK = Preprocessor(16)


def write(path, **change):
    arrays = {"x": pictures(6, 16), "y": np.arange(6) % 2, "class_names": NAMES} | change
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_pixels_are_prepared_as_the_checkpoint_says(tmp_path):
    found = named_images(write(tmp_path / "mine.npz"))
    assert found.class_names == ("cat", "lawn_mower")
    ready = found.prepared(LOOK)
    np.testing.assert_array_equal(ready.x, LOOK(pictures(6, 16)))
    np.testing.assert_array_equal(ready.y, np.arange(6) % 2)
    resized = named_images(write(tmp_path / "large.npz", x=pictures(6, 24))).prepared(LOOK)
    assert resized.x.shape == (6, 3, 16, 16)


def test_prepared_images_stay_as_they_are_and_must_have_the_size(tmp_path):
    x = np.random.Generator(np.random.PCG64(0)).normal(size=(6, 3, 16, 16))
    found = named_images(write(tmp_path / "mine.npz", x=x))
    np.testing.assert_array_equal(found.prepared(LOOK).x, x.astype(np.float32))
    with pytest.raises(BadInput, match=r"images have shape \(3, 16, 16\), this CLIP reads \(3, 32, 32\)"):
        found.prepared(Preprocessor(32))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"class_names": None}, "class_names is missing: the name of each class"),
        ({"x": None, "class_names": None}, "x, class_names is missing"),
        ({"x": pictures(6, 16, 1)}, "x is uint8 (6, 16, 16)"),
        ({"x": np.zeros((6, 64))}, "x is float64 (6, 64)"),
        ({"x": np.zeros((6, 16, 16, 3), int)}, "x is int64"),
        ({"class_names": np.arange(2)}, "class_names is int64"),
        ({"class_names": NAMES[:1]}, "an integer from 0 to 0"),
        ({"y": np.arange(6) - 1}, "an integer from 0 to 1"),
        ({"y": np.arange(5) % 2}, "for each of 6 images"),
        ({"y": np.arange(6) / 2}, "an integer from 0 to 1"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(tmp_path, change, says):
    with pytest.raises(BadInput) as said:
        named_images(write(tmp_path / "mine.npz", **change))
    assert says in str(said.value)
    assert "\n" not in str(said.value)


def test_a_file_is_needed(tmp_path):
    for path in (tmp_path / "absent.npz", tmp_path):
        with pytest.raises(BadInput, match=r"no such \.npz"):
            named_images(path)
