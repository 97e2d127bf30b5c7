"""A user's own records: labels of any kind, images in either layout, token ids; and nothing done to them unasked."""

from dataclasses import replace

import numpy as np
import pytest

from undertow.audits.settings import DataSettings, ModelSettings
from undertow.rng import stream
from undertow.sources.records.datasets import load_supply
from undertow.sources.records.labels import classes_of, plain_labels
from undertow.sources.records.npz_records import npz_records
from undertow.types import BadInput, ConfigError

CNN, TEXT = ModelSettings(kind="cnn"), ModelSettings(kind="transformer")


def write(folder, stage, y, x=None):
    rng = stream(0, stage)
    np.savez(folder / f"{stage}.npz", x=rng.normal(size=(len(y), 5)) if x is None else x, y=np.asarray(y))


@pytest.mark.parametrize(
    ("y", "coded", "mapping"),
    [
        ([3, 10, 66, 3], [0, 1, 2, 0], {"3": 0, "10": 1, "66": 2}),
        (["cat", "dog", "cat", "ape"], [1, 2, 1, 0], {"ape": 0, "cat": 1, "dog": 2}),
        ([1.0, 2.0, 2.0, 1.0], [0, 1, 1, 0], {"1": 0, "2": 1}),
        ([-1, 1, 1, -1], [0, 1, 1, 0], {"-1": 0, "1": 1}),
        ([True, False, True, True], [1, 0, 1, 1], {}),
        ([2, 0, 1, 1], [2, 0, 1, 1], {}),
    ],
)
def test_labels_are_mapped_and_the_mapping_is_said(tmp_path, y, coded, mapping):
    write(tmp_path, "finetune", y)
    supply = load_supply("mia", DataSettings(source=str(tmp_path)), 0)
    np.testing.assert_array_equal(supply.secret.y, coded)
    assert supply.describe().get("labels", {}) == ({"finetune": mapping} if mapping else {})
    said = [note for note in supply.notes if "were mapped to class numbers" in note]
    assert len(said) == bool(mapping)
    assert all(f"{name} = {number}" in said[0] for name, number in mapping.items())


def test_test_records_are_mapped_with_the_finetuning_and_the_base_by_itself(tmp_path):
    write(tmp_path, "pretrain", ["x", "y"] * 4)
    write(tmp_path, "finetune", [10, 30] * 4)
    write(tmp_path, "test", [30, 20, 30])
    supply = load_supply("tmi", DataSettings(source=str(tmp_path)), 0)
    assert (supply.secret.y.max(), set(supply.other.y), list(supply.test.y)) == (1, {0, 2}, [2, 1, 2])


def test_classes_that_are_said_to_be_the_same_must_be(tmp_path):
    write(tmp_path, "pretrain", ["b", "a"] * 4)
    write(tmp_path, "finetune", ["a", "b"] * 4)
    settings = DataSettings(source=str(tmp_path), same_labels=True)
    supply = load_supply("tmi", settings, 0)
    assert (list(supply.secret.y[:2]), list(supply.other.y[:2])) == ([1, 0], [0, 1])
    assert any("taken to be the same" in note for note in supply.notes)
    write(tmp_path, "finetune", ["a", "c"] * 4)
    with pytest.raises(ConfigError, match="hold different labels; set it to false"):
        load_supply("tmi", settings, 0)


def test_one_class_is_refused(tmp_path):
    write(tmp_path, "finetune", [7] * 6)
    with pytest.raises(BadInput, match=r"finetune.npz: only one class is there \(7\)"):
        load_supply("mia", DataSettings(source=str(tmp_path)), 0)
    with pytest.raises(BadInput, match="one file labels its records by numbers, another by texts"):
        classes_of([plain_labels(np.array([1, 2]), "a"), plain_labels(np.array(["a", "b"]), "b")], "both")


def test_images_come_in_either_layout(tmp_path):
    x = stream(0, "images").random((6, 8, 8, 3)).astype(np.float32)
    write(tmp_path, "finetune", [0, 1] * 3, x)
    supply = load_supply("mia", DataSettings(source=str(tmp_path)), 0, CNN)
    assert supply.secret.x.shape == (6, 3, 8, 8)
    assert any("(height, width, channels)" in note for note in supply.notes)
    channel = x[..., 1].reshape(-1)
    got = supply.secret.x[:, 1].reshape(-1)
    assert np.corrcoef(channel, got)[0, 1] > 0.999  # standardised, and still the same pixels
    write(tmp_path, "finetune", [0, 1] * 3, x.transpose(0, 3, 1, 2))
    again = load_supply("mia", DataSettings(source=str(tmp_path)), 0, CNN)
    np.testing.assert_array_equal(again.secret.x, supply.secret.x)
    assert not again.notes


def test_an_ambiguous_layout_is_asked_for(tmp_path):
    x = stream(0, "images").random((6, 3, 8, 3))
    write(tmp_path, "finetune", [0, 1] * 3, x)
    settings = DataSettings(source=str(tmp_path))
    with pytest.raises(BadInput, match=r"data.layout = 'NCHW' or 'NHWC'"):
        load_supply("mia", settings, 0, CNN)
    assert load_supply("mia", replace(settings, layout="NHWC"), 0, CNN).secret.x.shape == (6, 3, 3, 8)
    np.savez(tmp_path / "mine.npz", x=x, y=[0, 1] * 3)
    with pytest.raises(BadInput, match=r"store them as \(N, C, H, W\)"):
        npz_records(tmp_path / "mine.npz")


def test_grey_images_get_their_channel_for_a_cnn_only(tmp_path):
    write(tmp_path, "finetune", [0, 1] * 3, stream(0, "grey").random((6, 28, 28)))
    settings = DataSettings(source=str(tmp_path))
    assert load_supply("mia", settings, 0, CNN).secret.x.shape == (6, 1, 28, 28)
    assert load_supply("mia", settings, 0).secret.x.shape == (6, 28, 28)


def test_token_ids_stay_whole_numbers_for_a_text_model(tmp_path):
    ids = np.array([[5, 7, 0, 0], [9, 1, 2, 0], [3, 3, 3, 3], [4, 0, 0, 0]])
    write(tmp_path, "finetune", [0, 1, 0, 1], ids)
    settings = DataSettings(source=str(tmp_path), vocabulary=300)
    np.testing.assert_array_equal(load_supply("mia", settings, 0, TEXT).secret.x, ids)
    assert load_supply("mia", settings, 0).secret.x.dtype == np.float32
    for wrong, says in (
        (ids + 299, "set data.vocabulary to at least 309"),
        (ids - 1, "no token may be negative"),
        (np.array([[5, 0, 7, 0]] * 4), "token 0 stands inside record 0, but 0 is the pad"),
        (ids / 2, "the model reads token ids"),
    ):
        write(tmp_path, "finetune", [0, 1, 0, 1], wrong)
        with pytest.raises(BadInput, match=says):
            load_supply("mia", settings, 0, TEXT)


@pytest.mark.parametrize(("key", "value"), [("label_noise", 0.3), ("pool", 4), ("other", 6), ("draw", 5)])
def test_records_are_changed_or_left_out_only_where_that_is_asked_for(tmp_path, key, value):
    write(tmp_path, "pretrain", [0, 1] * 4)
    write(tmp_path, "finetune", [0, 1] * 5)
    settings = DataSettings(source=str(tmp_path), **{key: value})
    with pytest.raises(ConfigError, match=rf"data.{key} = {value} .*data.change_records = true"):
        load_supply("tmi", settings, 0)
    supply = load_supply("tmi", replace(settings, change_records=True), 0)
    assert any(f"data.{key}" in note for note in supply.notes)


def test_as_many_as_there_are_is_no_change(tmp_path):
    write(tmp_path, "pretrain", [0, 1] * 4)
    write(tmp_path, "finetune", [0, 1] * 5)
    settings = DataSettings(source=str(tmp_path), pool=8, other=10, draw=10)
    assert load_supply("tmi", settings, 0).notes == ()


def test_a_file_in_place_of_a_folder(tmp_path):
    write(tmp_path, "finetune", [0, 1])
    with pytest.raises(BadInput, match=r"is a file; give the folder that holds finetune.npz"):
        load_supply("mia", DataSettings(source=str(tmp_path / "finetune.npz")), 0)


def test_two_files_of_one_audit_share_their_classes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2)), y=["b", "c", "b"])
    np.savez(tmp_path / "b.npz", x=np.ones((2, 2)), y=["a", "c"])
    mine, like = npz_records(tmp_path / "a.npz", tmp_path / "b.npz")
    assert (list(mine.records.y), list(like.records.y)) == ([1, 2, 1], [0, 2])
    assert mine.mapping == {"a": 0, "b": 1, "c": 2}
