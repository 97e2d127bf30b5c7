"""Cleaned files: bit for bit what was not edited, whatever the dtype."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from undertow.opening import open_checkpoint
from undertow.rng import stream
from undertow.sources.checkpoints.cleaned import check_new, stored, write_cleaned
from undertow.types import StoreError


def test_every_dtype_is_written_as_it_was(tmp_path):
    rng = stream(0, "test")
    arrays = {
        "a": rng.normal(size=(3, 5)).astype(np.float32), "b": rng.normal(size=7).astype(np.float64),
        "c": rng.normal(size=(2, 2, 2)).astype(np.float16), "d": np.arange(6, dtype=np.int64).reshape(2, 3),
        "e": np.array([True, False]), "f": np.array(3, np.float32), "g": np.zeros((0, 4), np.float32),
    }  # fmt: skip
    save_file(arrays, tmp_path / "old.safetensors", {"format": "pt"})
    with open_checkpoint(tmp_path / "old.safetensors") as opened:
        params = {name: tensor.whole() for name, tensor in opened.tensors.items()}
        dtypes = {name: tensor.dtype for name, tensor in opened.tensors.items()}
    write_cleaned(tmp_path / "new.safetensors", params, dtypes, {"format": "pt"}, {"how": "test"})
    with safe_open(tmp_path / "new.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt", "undertow.cleaned": '{"how": "test"}'}
        for name, value in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), value)
            assert file.get_tensor(name).dtype == value.dtype


def test_bfloat16_keeps_its_bits_and_rounds_to_even():
    bits = np.arange(1 << 16, dtype=np.uint32)
    wide = (bits << 16).view(np.float32)
    back = np.frombuffer(stored(wide, "BF16"), "<u2")
    normal = ~np.isnan(wide)
    np.testing.assert_array_equal(back[normal], bits[normal])
    assert np.isnan((back[~normal].astype(np.uint32) << 16).view(np.float32)).all()
    torch = pytest.importorskip("torch")
    x = stream(0, "test").normal(size=10_000).astype(np.float32)
    expected = torch.tensor(x).bfloat16().view(torch.int16).numpy().view("<u2")
    np.testing.assert_array_equal(np.frombuffer(stored(x, "BF16"), "<u2"), expected)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "there").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("there", "link"):
        with pytest.raises(StoreError, match="never overwrites"):
            check_new(tmp_path / name)
    check_new(tmp_path / "new")
