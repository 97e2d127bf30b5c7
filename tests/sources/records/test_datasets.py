"""Where records come from, and the ones that are refused."""

import numpy as np
import pytest

from undertow.audits.settings import DataSettings, ModelSettings
from undertow.audits.supply import Supply, without_duplicates
from undertow.rng import stream
from undertow.sources.records.datasets import load_supply
from undertow.sources.records.own_records import read_part
from undertow.types import BadInput, ConfigError, Examples

DIGITS = DataSettings(pool=400, other=1000, label_noise=0.3)


def folder(tmp_path, count=30, shape=(5,), **extra):
    for stage in ("pretrain", "finetune"):
        rng = stream(0, stage)
        arrays = {"x": rng.normal(size=(count, *shape)), "y": rng.integers(3, size=count)}
        np.savez(tmp_path / f"{stage}.npz", **{**arrays, **extra.get(stage, {})})
    return DataSettings(source=str(tmp_path))


def test_digits_are_split_without_overlap_by_the_seed():
    pytest.importorskip("sklearn")
    supply, again, other = (load_supply("tmi", DIGITS, seed) for seed in (0, 0, 1))
    assert (len(supply.secret), len(supply.other), len(supply.test)) == (400, 1000, 397)
    assert supply.ids == again.ids != other.ids
    rows = [r.tobytes() for part in (supply.secret, supply.other, supply.test) for r in part.x]
    assert len(set(rows)) == 1797
    assert supply.embedded
    assert supply.pictures.shape == (400, 8, 8)


def test_label_noise_changes_about_its_share_of_labels():
    pytest.importorskip("sklearn")
    clean = load_supply("tmi", DataSettings(pool=400, other=1000), 0)
    noisy = load_supply("tmi", DIGITS, 0)
    assert 0.2 < (clean.secret.y != noisy.secret.y).mean() < 0.34  # a tenth of the draws hit the old label
    np.testing.assert_array_equal(clean.secret.x, noisy.secret.x)


def test_asking_for_more_records_than_there_are():
    pytest.importorskip("sklearn")
    with pytest.raises(ConfigError, match="1797"):
        load_supply("tmi", DataSettings(pool=1000, other=1000), 0)


def test_a_folder_of_npz_files(tmp_path):
    settings = folder(tmp_path, pretrain={"id": np.array([f"person-{i}" for i in range(30)])})
    supply = load_supply("tmi", settings, 0)
    assert supply.ids[3] == "person-3"
    assert supply.other.x.dtype == np.float32
    assert abs(float(supply.other.x.mean())) < 1e-5  # standardised by what is not audited
    assert not supply.embedded


def test_mia_needs_no_base_and_tmi_needs_both(tmp_path):
    settings = folder(tmp_path)
    (tmp_path / "pretrain.npz").unlink()
    assert load_supply("mia", settings, 0).other is None
    with pytest.raises(BadInput, match=r"pretrain.npz is missing"):
        load_supply("tmi", settings, 0)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((3, 2))}, "key 'y' is missing"),
        ({"x": np.array([[0.0], [np.nan]]), "y": np.array([0, 1])}, "nan at record 1"),
        ({"x": np.zeros((3, 2)), "y": np.array([0.0, 0.5, 1.0])}, "Regression is not trained here"),
        ({"x": np.zeros((3, 2)), "y": np.array([0.0, np.nan, 1.0])}, "leave out records without a label"),
        ({"x": np.zeros((3, 2)), "y": np.eye(3)}, r"one-hot; store class numbers: y.argmax\(1\)"),
        ({"x": np.zeros((3, 2)), "y": np.ones((3, 4))}, "several labels per record are not trained here"),
        ({"x": np.zeros((3, 2)), "y": np.array([1j, 0, 1])}, "class labels: whole numbers or texts"),
        ({"x": np.zeros(3), "y": np.zeros(3, int)}, "one row for each record"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2, int)}, "labels must be"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0, int)}, "no examples"),
        ({"x": np.zeros((3, 2)), "y": np.array([0, -1, 1])}, "negative"),
        ({"x": np.array(["a"]), "y": np.array([0])}, "must be numbers"),
    ],
)
def test_bad_records_are_refused_in_one_line(tmp_path, arrays, says):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(BadInput, match=says) as error:
        read_part(tmp_path / "x.npz", DataSettings(), ModelSettings())
    assert "\n" not in str(error.value)


def test_a_missing_folder(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        load_supply("tmi", DataSettings(source=str(tmp_path / "nowhere")), 0)


def supply_with(secret, other):
    y = np.zeros(len(secret), int)
    return Supply("s", Examples(secret, y, "secret"), Examples(other, np.zeros(len(other), int), "other"), None,
                  tuple(f"r{i}" for i in range(len(secret))))  # fmt: skip


def test_duplicates_across_the_boundary_are_refused_by_name_and_removed_on_request():
    x = np.arange(60.0).reshape(20, 3)
    x[7] = x[2]
    other = np.arange(100.0, 130.0).reshape(10, 3)
    other[0] = x[11]
    supply = supply_with(x, other)
    with pytest.raises(BadInput, match=r"2 audited records.*r7, r11.*--drop-duplicates"):
        without_duplicates(supply, drop=False)
    kept = without_duplicates(supply, drop=True)
    assert len(kept.secret) == 18
    assert not {"r7", "r11"} & set(kept.ids)
    assert "removed" in kept.notes[0]
    assert without_duplicates(kept, drop=False) is kept


def test_the_real_cifar100_subset_has_duplicates_that_are_found(shared_data):
    pil = pytest.importorskip("PIL.Image")
    sheet = np.asarray(pil.open(shared_data / "cifar100" / "train.webp").convert("RGB"))
    x = sheet.reshape(sheet.shape[0] // 32, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
    with pytest.raises(BadInput, match="9 audited records"):
        without_duplicates(supply_with(x, np.zeros((1, 32, 32, 3), np.uint8) + 1), drop=False)
