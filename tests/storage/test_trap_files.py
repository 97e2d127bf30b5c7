"""Keys and captures: apart from the result, for the owner alone, read back whole."""

import json
import stat

import numpy as np
import pytest

from undertow.rng import stream
from undertow.sources.checkpoints.files import read_checkpoint, write_checkpoint
from undertow.sources.checkpoints.trap_key import SCALARS, read_key, write_key
from undertow.storage.captures_file import Held, load_captures, save_captures
from undertow.traps import Candidates, Captures, mlp_trap, plant
from undertow.types import BadInput, StoreError


def params():
    rng = stream(0, "weights")
    return {"0.weight": rng.standard_normal((40, 6)), "0.bias": rng.standard_normal(40),
            "2.weight": rng.standard_normal((9, 40)), "2.bias": rng.standard_normal(9)}  # fmt: skip


@pytest.fixture
def trap():
    return mlp_trap(params(), stream(1, "x").random((300, 6)), 4, 0.02, stream(2, "b"), layer="0", following="2")


def test_a_key_reads_back_and_plants_the_same(tmp_path, trap):
    write_key(tmp_path / "key.safetensors", trap)
    again = read_key(tmp_path / "key.safetensors")
    assert stat.S_IMODE((tmp_path / "key.safetensors").stat().st_mode) == 0o600
    assert all((a == b).all() for a, b in zip(plant(params(), trap).values(), plant(params(), again).values()))
    assert again.domain == trap.domain


def test_a_key_with_two_channels_reads_back_and_an_older_one_has_none(tmp_path):
    x = stream(1, "x").random((300, 6))
    two = mlp_trap(params(), x, 4, 0.02, stream(2, "b"), layer="0", following="2", rate=0.01)
    write_key(tmp_path / "key.safetensors", two)
    assert read_key(tmp_path / "key.safetensors").second == two.second is not None
    arrays, metadata = read_checkpoint(tmp_path / "key.safetensors")
    scalars = json.loads(metadata[SCALARS])
    del scalars["second"]
    write_checkpoint(tmp_path / "old.safetensors", arrays, {**metadata, SCALARS: json.dumps(scalars)})
    assert read_key(tmp_path / "old.safetensors").second is None
    del scalars["layer"]
    write_checkpoint(tmp_path / "old.safetensors", arrays, {**metadata, SCALARS: json.dumps(scalars)})
    with pytest.raises(BadInput, match="the key is damaged"):
        read_key(tmp_path / "old.safetensors")


def test_what_is_no_key_is_refused(tmp_path):
    write_checkpoint(tmp_path / "model.safetensors", params(), {})
    with pytest.raises(BadInput, match="is no key of planted traps"):
        read_key(tmp_path / "model.safetensors")


def test_captures_read_back(tmp_path):
    values = stream(0, "v").random((3, 1, 4)).astype(np.float32)
    read = Candidates(
        values, np.full((3, 1), -0.1), np.array([[True], [False], [True]]), np.array([[""], ["no"], [""]])
    )
    found = Captures(np.array([5, 0, 2]), np.array([1e-6, np.inf, 1e-3]), np.array([True, False, False]),
                     np.array([True, False, True]), np.array([True, False, True]))  # fmt: skip
    save_captures(Held(7, read, found, values[:, 0], ("a", "b", "c"), (2, 2)), tmp_path)
    again = load_captures(tmp_path)
    assert stat.S_IMODE((tmp_path / "captures.npz").stat().st_mode) == 0o600
    assert (again.seed, again.ids, again.shape) == (7, ("a", "b", "c"), (2, 2))
    assert (again.candidates.values == values).all()
    assert (again.captures.exact == found.exact).all()


def test_no_captures_and_damaged_ones(tmp_path):
    assert load_captures(tmp_path) is None
    np.savez(tmp_path / "captures.npz", seed=np.array(1))
    with pytest.raises(StoreError, match="damaged"):
        load_captures(tmp_path)
