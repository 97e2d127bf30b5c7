"""Finding a public dataset: by what is there, from the hub, or in one line what is missing."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("PIL.Image")
pytest.importorskip("pyarrow")
from tests.sources.records.toy_images import pictures, write_parquet

from undertow.sources.records.hub import download
from undertow.sources.records.public import CALTECH101, CIFAR10, CIFAR100, FASHION_MNIST, open_images
from undertow.types import BadInput, MissingExtra

X = pictures(4, 32)


def hub_folder(root):
    """A repository as snapshot_download leaves it."""
    write_parquet(root / "cifar100" / "train-00000-of-00001.parquet", X, fine_label=[0, 1, 2, 3], coarse_label=[0] * 4)
    return root


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers with `hub.answer()`, and remembers what it was asked."""
    fake = SimpleNamespace(asked=[], answer=None)

    def snapshot_download(repository, repo_type, allow_patterns):
        fake.asked.append((repository, repo_type, allow_patterns))
        return str(fake.answer())

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    return fake


def test_the_hub_is_asked_for_parquet_of_the_right_dataset_only(hub, tmp_path):
    hub.answer = lambda: hub_folder(tmp_path)
    found = open_images(CIFAR100, "hub", 32)
    assert hub.asked == [("uoft-cs/cifar100", "dataset", ["*.parquet"])]
    assert set(found["train"].labels) == {"fine_label", "coarse_label"}
    np.testing.assert_array_equal(found["train"].read(np.arange(4)), X)


def test_a_hub_that_cannot_be_reached_is_one_line(hub):
    def answer():
        raise ConnectionError("cannot resolve huggingface.co\nTraceback: much more")

    hub.answer = answer
    with pytest.raises(BadInput, match=r"uoft-cs/cifar10 cannot be downloaded.*cannot resolve.*--data DIR") as error:
        open_images(CIFAR10, "hub", 32)
    assert "\n" not in str(error.value)


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"undertow\[data\]"):
        download("uoft-cs/cifar10")


def test_a_dataset_no_repository_is_known_for_is_refused_before_any_download(hub):
    with pytest.raises(BadInput, match="no repository is known that holds caltech101"):
        open_images(CALTECH101, "hub", 32)
    assert hub.asked == []


def test_the_same_files_in_a_folder(tmp_path):
    hub_folder(tmp_path)
    np.testing.assert_array_equal(open_images(CIFAR100, str(tmp_path), 32)["train"].read(np.arange(4)), X)


def test_a_single_npz_serves_too(tmp_path):
    (tmp_path / "small").mkdir()
    x = pictures(6, 28, channels=1)
    np.savez(tmp_path / "small" / "fashion_mnist.npz", x_train=x, y_train=np.arange(6))
    assert open_images(FASHION_MNIST, str(tmp_path), 28)["train"].read(np.array([0])).shape == (1, 28, 28, 1)


@pytest.mark.parametrize("place", ["cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar10/cifar-10-batches-py"])
def test_a_pickled_release_is_refused_by_name_with_the_way_to_parquet(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    with pytest.raises(BadInput, match=r"pickles, which are never read; .*uoft-cs/cifar10.*--data hub"):
        open_images(CIFAR10, str(tmp_path), 32)


def test_what_is_missing_is_named_with_what_to_do(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        open_images(CIFAR10, str(tmp_path / "nowhere"), 32)
    with pytest.raises(BadInput, match=r"cifar10 is missing; put its parquet files.*uoft-cs/cifar10.*--data hub"):
        open_images(CIFAR10, str(tmp_path), 32)
    with pytest.raises(BadInput, match=r"caltech101 is missing; put its parquet files") as error:
        open_images(CALTECH101, str(tmp_path), 32)
    assert "hub" not in str(error.value)
