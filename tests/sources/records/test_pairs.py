"""Pairs of public datasets: balanced, disjoint, without copies; one pool for all downstream tasks."""

import functools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("PIL.Image")
pytest.importorskip("pyarrow")
from tests.sources.records.toy_images import pictures, write_parquet

from undertow.audits.settings import DataSettings
from undertow.audits.supply import row_hashes, without_duplicates
from undertow.sources.records import image_files, pairs
from undertow.sources.records.datasets import load_supply
from undertow.sources.records.pairs import PAIRS
from undertow.types import BadInput, ConfigError

SMALL = DataSettings(classes=20, pool=600, other=2000, label_noise=0.3)
SHAPES = {
    "cifar100-cifar10": (3, 32, 32),
    "cifar100-coarse": (3, 32, 32),
    "tiny-caltech": (3, 32, 32),
    "omniglot-fashion": (1, 28, 28),
}
DOWNSTREAM = {"cifar100-cifar10": 10, "cifar100-coarse": 4, "tiny-caltech": 99, "omniglot-fashion": 10}


@pytest.fixture(scope="module", autouse=True)
def decode_once():
    """Sheets take a second to decode: these tests read them again and again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "decoded", functools.cache(image_files.decoded))
        yield


@pytest.fixture(scope="module")
def load(shared_data):
    def load(pair, seed=0, **changes):
        classes = 30 if pair == "omniglot-fashion" else 20  # 20 drawings of each character
        settings = replace(SMALL, pair=pair, source=str(shared_data), classes=classes)
        return load_supply("tmi", replace(settings, **changes), seed)

    return load


@pytest.mark.parametrize("pair", SHAPES)
def test_the_pool_is_balanced_and_nothing_is_on_two_sides(load, pair):
    supply = load(pair, label_noise=0.0)
    assert supply.secret.x.shape == (600, *SHAPES[pair])
    classes, counts = np.unique(supply.secret.y, return_counts=True)
    np.testing.assert_array_equal(classes, np.arange(len(classes)))
    assert set(counts) == {600 // len(classes)}
    np.testing.assert_array_equal(np.unique(supply.other.y), np.arange(DOWNSTREAM[pair]))
    assert len(supply.other) == 2000
    assert 990 < len(supply.test) <= 1000
    keys = [set(row_hashes(part.x)) for part in (supply.secret, supply.other, supply.test)]
    assert len(keys[0]) == 600
    assert not keys[0] & (keys[1] | keys[2])
    assert without_duplicates(supply, drop=False) is supply
    assert len(set(supply.ids)) == 600
    assert not supply.embedded
    assert supply.pictures.shape[:3] == (600, *SHAPES[pair][1:])
    shown = supply.pictures.reshape(600, *SHAPES[pair][1:], -1).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(supply.secret.x * 0.25 + 0.5, shown / 255, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 3])
def test_both_tasks_of_cifar100_have_the_identical_pool(load, seed):
    """One --store serves both without pretraining again."""
    one, two = (load(pair, seed) for pair in ("cifar100-cifar10", "cifar100-coarse"))
    np.testing.assert_array_equal(one.secret.x, two.secret.x)
    np.testing.assert_array_equal(one.secret.y, two.secret.y)  # label noise included
    assert one.ids == two.ids
    assert (one.secret.y != load("cifar100-cifar10", seed, label_noise=0.0).secret.y).mean() > 0.2


def test_the_seed_draws_the_records_but_not_the_classes(load):
    one, again, other = (load("cifar100-coarse", seed, label_noise=0.0) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.secret.x, again.secret.x)
    np.testing.assert_array_equal(one.other.x, again.other.x)
    assert len(set(one.ids) & set(other.ids)) < 150
    np.testing.assert_array_equal(np.unique(one.secret.y), np.unique(other.secret.y))


def test_twenty_classes_of_cifar100_are_those_of_four_superclasses(load, shared_data):
    labels = np.load(shared_data / "cifar100" / "labels.npz")
    rows = [int(name.removeprefix("cifar100-train-")) for name in load("cifar100-coarse").ids]
    assert set(labels["coarse_train"][rows]) == {0, 4, 10, 14}
    assert len(set(labels["y_train"][rows])) == 20


def test_coarse_labels_are_the_superclasses_of_other_images_of_the_same_classes(load):
    """By content: every downstream image is looked up among the labelled ones."""
    supply = load("cifar100-coarse", pool=0, other=0, label_noise=0.0)
    part = load("cifar100-coarse", pool=600, other=0, label_noise=0.0)
    fine = dict(zip(row_hashes(supply.secret.x), supply.secret.y, strict=True))
    coarse = {fine[key]: set() for key in fine}
    for key, y in zip(row_hashes(part.other.x), part.other.y, strict=True):
        coarse[fine[key]].add(int(y))
    # fine classes are relabelled in the order of their numbers; some images occur in two fine classes
    assert {len(above) for above in coarse.values()} == {1}
    np.testing.assert_array_equal(np.bincount([above.pop() for above in coarse.values()]), [5, 5, 5, 5])


def test_the_known_copies_in_cifar100_are_passed_over_and_said(load):
    every = load("cifar100-coarse", classes=0, pool=0, other=500)
    assert len(every.secret) == 29_990  # of 30,000: 9 copies, and one more for an even number
    assert "passed over" in every.notes[0]
    assert "and 4 more" in every.notes[0]
    assert every.notes[1] == "the pool has 29990 records instead of 30000"
    four = load("cifar100-coarse", pool=0, other=500)
    assert len(four.secret) == 5996  # four of the nine are in superclasses 0 and 14
    kept = load("cifar100-coarse", pool=5800, other=500)  # 290 of 300 per class: copies have substitutes
    assert len(kept.secret) == 5800


def test_the_one_image_cifar10_shares_is_left_out_downstream(load, monkeypatch):
    monkeypatch.setattr(pairs, "TESTS", 5000)
    supply = load("cifar100-cifar10", classes=0, pool=0, other=0)
    assert (len(supply.other), len(supply.test)) == (20_000, 4999)
    assert any("cifar10-test-2510" in note for note in supply.notes)


def test_where_the_training_split_is_used_up_the_test_split_is_finetuned_on(load):
    supply = load("cifar100-coarse", classes=0, pool=0, other=5000)
    assert len(supply.other) == 4998  # two test images are also in the pool
    assert len(np.unique(supply.other.y)) == 20
    assert supply.test is None


@pytest.mark.parametrize(
    ("pair", "change", "says"),
    [
        ("cifar100-cifar10", {"pool": 50_000, "classes": 0}, "500 records of each of 100 classes.* 300 of class 0"),
        ("cifar100-cifar10", {"classes": 101}, "100 classes"),
        ("cifar100-cifar10", {"other": 50_000}, "cifar10 has 25000 downstream records; lower data.other"),
        ("omniglot-fashion", {"classes": 20}, "30 records of each of 20 classes"),
        ("cifar100-cifar1", {}, "did you mean 'cifar100-cifar10'"),
        ("nonsense", {}, "known: cifar100-cifar10"),
        ("cifar100-coarse", {"source": "digits"}, "--data DIR.*--data hub"),
    ],
)
def test_what_cannot_be_had_is_one_line(load, pair, change, says):
    with pytest.raises(ConfigError, match=says) as error:
        load(pair, **change)
    assert "\n" not in str(error.value)


def test_pairs_are_for_tmi_and_the_hub_is_for_pairs():
    with pytest.raises(ConfigError, match="is for tmi"):
        load_supply("mia", replace(SMALL, pair="tiny-caltech", source="x"), 0)
    with pytest.raises(ConfigError, match="downloads pairs"):
        load_supply("tmi", DataSettings(source="hub"), 0)


@pytest.fixture
def toy(tmp_path):
    """Two tiny datasets in hub form: CIFAR-100 with two copies within a class, CIFAR-10 with one copy of its pool."""
    x = pictures(80, 32)
    x[5], x[6] = x[4], x[4]
    y = np.repeat(np.arange(4), 20)
    write_parquet(tmp_path / "cifar100" / "train-00000.parquet", x, fine_label=y, coarse_label=y // 2)
    z = pictures(40, 32, seed=1)
    z[:20] = x[60:]  # the last class, whole
    write_parquet(tmp_path / "cifar10" / "train-00000.parquet", z, label=np.arange(40) % 2)
    return DataSettings(source=str(tmp_path), pair="cifar100-cifar10")


def test_copies_in_the_pool_are_replaced_by_other_images(toy):
    supply = load_supply("tmi", replace(toy, pool=72), 0)  # 18 of 20 per class, and class 0 has 18 different ones
    np.testing.assert_array_equal(np.bincount(supply.secret.y), [18] * 4)
    assert len(set(row_hashes(supply.secret.x))) == 72


def test_downstream_copies_of_pool_images_go_and_the_pool_stays(toy):
    supply = load_supply("tmi", replace(toy, pool=72, other=30), 0)
    rest = [*row_hashes(supply.other.x), *row_hashes(supply.test.x)]
    assert len(rest) == 40 - 18
    assert "left out of the downstream records" in supply.notes[-1]
    assert load_supply("tmi", replace(toy, pool=72, other=10), 0).ids == supply.ids


def test_without_a_test_split_what_is_left_of_training_tests(toy):
    supply = load_supply("tmi", replace(toy, pool=8, other=30, classes=2), 0)
    assert len(supply.other) == 30
    assert len(supply.test) == 10


def test_a_pool_short_of_distinct_images_is_even_and_says_so(toy):
    supply = load_supply("tmi", replace(toy, pool=80), 0)
    assert len(supply.secret) == 78
    assert supply.notes[1] == "the pool has 78 records instead of 80"


def test_images_come_at_the_size_that_is_asked_for(toy):
    assert load_supply("tmi", replace(toy, pool=8, size=16), 0).secret.x.shape == (8, 3, 16, 16)


def test_a_missing_half_is_named(toy, tmp_path):
    (tmp_path / "cifar10" / "train-00000.parquet").unlink()
    with pytest.raises(BadInput, match="cifar10 is missing"):
        load_supply("tmi", toy, 0)


def test_every_pair_has_presets():
    from undertow.audits.membership.presets import PRESETS

    named = {config.data.pair for _, config in PRESETS["tmi"].values()}
    assert named - {""} == set(PAIRS)


@pytest.mark.parametrize("budget", ["small", "medium"])
@pytest.mark.parametrize("pair", SHAPES)
def test_the_shared_subsets_are_large_enough_for_the_presets(pair, budget, shared_data):
    from undertow.audits.membership.presets import preset

    config = preset("tmi", f"{pair}-linear-{budget}")
    supply = load_supply("tmi", replace(config.data, source=str(shared_data)), 0)
    assert len(supply.secret) == config.data.pool
    assert config.data.draw < len(supply.other) <= config.data.other
