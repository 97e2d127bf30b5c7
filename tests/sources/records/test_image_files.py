"""The three forms an image dataset may have on disk, and what is refused."""

import numpy as np
import pytest

pytest.importorskip("PIL.Image")
pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq
from PIL import Image
from tests.sources.records.toy_images import pictures, write_parquet

from undertow.rng import stream
from undertow.sources.records.image_files import npz_images, parquet_images, resized, sheets
from undertow.types import BadInput


def test_hub_parquet_of_several_files_is_read_row_by_row(tmp_path):
    x = pictures(10)
    write_parquet(tmp_path / "d" / "train-00000-of-00002.parquet", x[:4], fine_label=[0, 1, 2, 3])
    write_parquet(tmp_path / "d" / "train-00001-of-00002.parquet", x[4:8], fine_label=[4, 5, 6, 7])
    write_parquet(tmp_path / "d" / "validation" / "0000.parquet", x[8:], fine_label=[8, 9])
    found = parquet_images(list(tmp_path.rglob("*.parquet")), "toy", ["fine_label"], 3, 8)
    assert found["train"].name == "toy-train"
    np.testing.assert_array_equal(found["train"].labels["fine_label"], np.arange(8))
    np.testing.assert_array_equal(found["test"].labels["fine_label"], [8, 9])
    rows = np.array([6, 0, 5, 3])
    np.testing.assert_array_equal(found["train"].read(rows), x[rows])
    np.testing.assert_array_equal(found["test"].read(np.array([1])), x[[9]])


def test_one_parquet_file_may_hold_all_splits(tmp_path):
    x = pictures(5)
    split = ["val", "train", "train", "val", "train"]
    write_parquet(tmp_path / "toy.parquet", x, struct=False, label=[0, 1, 2, 3, 4], split=split)
    found = parquet_images([tmp_path / "toy.parquet"], "toy", ["label"], 3, 8)
    np.testing.assert_array_equal(found["train"].labels["label"], [1, 2, 4])
    np.testing.assert_array_equal(found["train"].read(np.arange(3)), x[[1, 2, 4]])
    np.testing.assert_array_equal(found["test"].read(np.arange(2)), x[[0, 3]])


def test_grey_images_and_other_sizes_are_brought_to_one_form(tmp_path):
    x = pictures(3, channels=1)
    write_parquet(tmp_path / "train.parquet", [*x[:2], pictures(1, 16)[0]], label=[0, 1, 1])
    found = parquet_images([tmp_path / "train.parquet"], "toy", ["label"], 1, 4)["train"].read(np.arange(3))
    assert found.shape == (3, 4, 4, 1)
    boxes = x[:2].reshape(2, 4, 2, 4, 2).mean((2, 4))
    assert np.abs(found[:2, ..., 0] - boxes).max() <= 1  # rounded along rows, then along columns


def test_resizing_takes_the_centre_square_and_the_mean_of_boxes():
    x = np.zeros((1, 4, 6, 3), np.uint8)
    x[:, :, 1:3], x[:, :, 3:5] = 100, 200  # the borders are cut off
    np.testing.assert_array_equal(resized(x, 2)[0, :, :, 0], [[100, 200], [100, 200]])


def test_a_sheet_of_images_and_its_labels(tmp_path):
    x = stream(0, "sheet").integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    for split in ("train", "test"):
        sheet = x.reshape(2, 100, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, 3200, 3)
        Image.fromarray(sheet).save(tmp_path / f"{split}.webp", lossless=True)
    y = np.arange(200, dtype=np.uint8)
    np.savez(tmp_path / "labels.npz", y_train=y, y_test=y)
    found = sheets(tmp_path, {"label": "y"}, 32)
    rows = np.array([199, 3, 100])
    np.testing.assert_array_equal(found["train"].read(rows), x[rows])
    np.testing.assert_array_equal(found["train"].labels["label"], y)
    (tmp_path / "test.webp").unlink()
    with pytest.raises(BadInput, match=r"test.webp is missing"):
        sheets(tmp_path, {"label": "y"}, 32)
    with pytest.raises(BadInput, match="'coarse_train' is missing"):
        sheets(tmp_path, {"label": "y", "coarse_label": "coarse"}, 32)


def test_an_npz_with_and_without_a_test_set(tmp_path):
    x = pictures(6, channels=1)
    np.savez(tmp_path / "a.npz", x_train=x[:4], y_train=np.arange(4), x_test=x[4:], y_test=np.arange(2))
    np.savez(tmp_path / "b.npz", x=x, y=np.arange(6))
    assert {k: len(v) for k, v in npz_images(tmp_path / "a.npz", "a", 8).items()} == {"train": 4, "test": 2}
    found = npz_images(tmp_path / "b.npz", "b", 8)
    assert list(found) == ["train"]
    np.testing.assert_array_equal(found["train"].read(np.array([5, 1]))[..., 0], x[[5, 1]])


def test_files_that_cannot_be_read_are_named_in_one_line(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no")
    write_parquet(tmp_path / "b" / "train.parquet", pictures(2), label=["cat", "dog"])
    write_parquet(tmp_path / "c" / "train.parquet", pictures(2), other=[0, 1])
    write_parquet(tmp_path / "d" / "holdout.parquet", pictures(2), label=[0, 1])
    cells = [{"bytes": b"no picture", "path": None}]
    pq.write_table(pa.table({"img": cells, "label": [0]}), tmp_path / "train-e.parquet")
    np.savez(tmp_path / "f.npz", z=np.zeros(3))
    np.savez(tmp_path / "g.npz", x=np.zeros((2, 4, 4)), y=np.zeros(2, int))

    def read(name):
        return parquet_images([tmp_path / name], "toy", ["label"], 3, 8)

    for attempt, says in (
        (lambda: read("train.parquet"), "cannot be read as parquet"),
        (lambda: read("b/train.parquet"), "whole class numbers"),
        (lambda: read("c/train.parquet"), "column 'label' is missing; found: img, other"),
        (lambda: read("d/holdout.parquet"), "no training split"),
        (lambda: read("train-e.parquet")["train"].read(np.array([0])), "record 0 holds no readable image"),
        (lambda: npz_images(tmp_path / "f.npz", "f", 8), "neither x_train nor x"),
        (lambda: npz_images(tmp_path / "g.npz", "g", 8), "uint8"),
    ):
        with pytest.raises(BadInput, match=says) as error:
            attempt()
        assert "\n" not in str(error.value)
