"""Image-caption pairs of labelled images: balanced, disjoint, captions that name the class."""

import functools

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL.Image")
from tests.sources.records.toy_images import pictures

from undertow.audits.supply import row_hashes
from undertow.models.clip import TEMPLATES
from undertow.sources.checkpoints.clip import Preprocessor
from undertow.sources.records import clip_data as module
from undertow.sources.records import image_files
from undertow.sources.records.clip_data import SMALL, Sizes, clip_class_names, clip_data
from undertow.sources.records.image_files import ImageSet
from undertow.types import BadInput, ConfigError

SIZES = Sizes(candidates=40, lookalikes=40, auxiliary=60, pretrain=100)


def parts(supply):
    every = (supply.candidates, supply.lookalikes, supply.auxiliary, supply.held_out)
    return [part for part in every if part is not None]


@pytest.fixture(scope="module")
def load(shared_data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "decoded", functools.cache(image_files.decoded))
        yield lambda dataset, seed=0, sizes=SIZES, **more: clip_data(dataset, str(shared_data), seed, sizes, **more)


def test_the_names_are_those_of_the_dataset(shared_data):
    labels = np.load(shared_data / "cifar100" / "labels.npz", allow_pickle=False)
    assert clip_class_names("cifar100", str(shared_data)) == tuple(labels["class_names"].tolist())
    few = clip_class_names("cifar100", str(shared_data), 5)
    assert few == ("beaver", "dolphin", "otter", "seal", "whale")


@pytest.mark.parametrize(("dataset", "classes", "count"), [("cifar10", 0, 10), ("cifar100", 20, 20)])
def test_parts_are_balanced_disjoint_and_repeatable(load, dataset, classes, count):
    supply = load(dataset, classes=classes)
    assert supply.classes == count
    assert [len(p) for p in parts(supply)[:3]] == [40, 40, 160]
    for part in parts(supply):
        assert part.x.shape[1:] == SMALL.shape
        assert part.x.dtype == np.float32
    keys = [key for part in parts(supply) for key in row_hashes(part.x)]
    assert len(set(keys)) == len(keys)
    np.testing.assert_array_equal(np.bincount(supply.candidates.y[:count]), np.ones(count))
    classes_of = supply.pretrain.y // len(TEMPLATES)
    assert np.bincount(classes_of).tolist() == [100 // count] * count
    assert set(supply.pretrain.y % len(TEMPLATES)) == set(range(len(TEMPLATES)))
    np.testing.assert_array_equal(supply.auxiliary.x[60:], supply.pretrain.x)  # the attacker holds those pairs too
    again, other = load(dataset, classes=classes), load(dataset, 1, classes=classes)
    for a, b in zip(parts(supply), parts(again), strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)
    assert supply.ids == again.ids != other.ids


def test_a_given_base_needs_no_pretraining_pairs_and_has_its_own_view(load):
    view = Preprocessor(40, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    supply = load("cifar10", sizes=Sizes(20, 20, 20, 0), preprocessor=view, templates=1)
    assert supply.pretrain is None
    assert len(supply.auxiliary) == 20
    assert supply.candidates.x.shape == (20, 3, 40, 40)
    assert supply.auxiliary.y.max() == 9
    assert supply.pictures.shape == (20, 32, 32, 3)


def test_copies_are_passed_over_and_said(monkeypatch):
    train, test = pictures(60, 32), pictures(30, 32, seed=1)
    train[3], test[2] = train[1], train[0]  # a copy inside, and one across
    label = {"label": np.arange(60) % 2}
    splits = {
        "train": ImageSet("toy-train", label, train.__getitem__),
        "test": ImageSet("toy-test", {"label": np.arange(30) % 2}, test.__getitem__),
    }
    monkeypatch.setattr(module, "open_images", lambda *_: splits)
    supply = clip_data("cifar10", "", 0, Sizes(20, 10, 10, 18))
    assert len(supply.held_out) == 29
    assert any("passed over" in note and "toy-train" in note for note in supply.notes)
    assert any("test records" in note and "toy-test-2" in note for note in supply.notes)
    keys = [key for part in parts(supply) for key in row_hashes(part.x)]
    assert len(set(keys)) == len(keys)


def test_what_cannot_be_drawn_is_one_line(load, tmp_path):
    with pytest.raises(ConfigError, match="'digits' has no captions"):
        clip_data("digits", "", 0)
    with pytest.raises(ConfigError, match="300 training images of each of 100 classes, but 60840 are needed"):
        load("cifar100", sizes=Sizes(40, 400, 400, 60_000))
    with pytest.raises(BadInput, match="no such folder"):
        clip_data("cifar10", str(tmp_path / "absent"), 0)
