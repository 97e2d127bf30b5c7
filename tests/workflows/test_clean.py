"""What `undertow clean` leaves of a trapped vision transformer, and what it says of its price."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from undertow.audits.prove.records import image_records
from undertow.rng import stream
from undertow.scanner import ScanResult
from undertow.scanner.clean import Change
from undertow.traps import plant, vit_trap
from undertow.types import BadInput
from undertow.workflows.clean import COSTLY, CleanReport, clean_checkpoint, told

NORM = Change("vit.layers.0.layernorm_after.bias", "reinit", (3,))
REPORT = CleanReport("in", "out", "reinit", ScanResult("unsafe"), ScanResult("safe"), (NORM,))


def test_an_edited_norm_is_told_to_be_costly_unless_a_parent_gave_its_place():
    assert COSTLY in told(REPORT)
    assert COSTLY not in told(replace(REPORT, alone=False))


def test_edited_units_are_not():
    assert COSTLY not in told(replace(REPORT, changes=(replace(NORM, tensor="1.weight"),)))


SHAPE = {
    "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip


def vit(params=None, kind=None):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    net = transformers.ViTForImageClassification(transformers.ViTConfig(**SHAPE, num_labels=3))
    if params is not None:
        net.load_state_dict({name: torch.from_numpy(value) for name, value in params.items()})
    return net.to(kind or torch.float32).eval()


@pytest.fixture(scope="module")
def planted():
    """(untrapped weights, trapped ones, the attacker's key)."""
    params = {name: value.detach().numpy().copy() for name, value in vit().state_dict().items()}
    aux = image_records((3, 16, 16), 400, stream(0, "auxiliary"))
    trap = vit_trap(params, aux, 8, 4 / 400 / 16, stream(0, "traps"), side=4, key=8)
    return params, plant(params, trap), trap


@pytest.fixture
def folder(tmp_path, planted):
    """The trapped checkpoint as it is downloaded."""
    source = tmp_path / "trapped"
    source.mkdir()
    save_file(planted[1], source / "model.safetensors")
    (source / "config.json").write_text(json.dumps({"model_type": "vit", **SHAPE}))
    return source


def quiet(trap):
    """Images that fire no trap."""
    x = image_records((3, 16, 16), 300, stream(1, "others"))
    fires = (trap.white(trap.room.grey(x)) @ trap.baits.directions.T - trap.baits.thresholds > -0.1).any((1, 2))
    return x[~fires], x[fires]


def features(params, x):
    """(N, D) what the head reads."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return vit(params, torch.float64).vit(torch.from_numpy(x).double()).last_hidden_state[:, 0].numpy()


def off(params, planted, x):
    """Squared distance of what the head reads to what the trapped model gives it, in variances."""
    one, other = (features(weights, x)[:, planted[2].room.features] for weights in (params, planted[1]))
    return ((one - other) ** 2).mean() / other.var(0).mean()


def test_a_trapped_transformer_becomes_its_parent_again(tmp_path, planted, folder):
    save_file(planted[0], tmp_path / "parent.safetensors")
    report = clean_checkpoint(folder, tmp_path / "out", parent=tmp_path / "parent.safetensors")
    assert (report.before.verdict, report.after.verdict, report.alone) == ("unsafe", "safe", False)
    after = load_file(tmp_path / "out" / "model.safetensors")
    for name, value in planted[0].items():
        np.testing.assert_array_equal(after[name], value)
    assert report.same
    assert "that one serves as well" in told(report)


def test_alone_it_computes_what_it_did_without_its_traps(tmp_path, planted, folder):
    report = clean_checkpoint(folder, tmp_path / "out")
    assert (report.before.verdict, report.after.verdict, report.alone) == ("unsafe", "safe", True)
    assert not report.same
    assert {"emptied", "fitted"} <= {change.how for change in report.changes}
    assert not report.costly
    after = load_file(tmp_path / "out" / "model.safetensors")
    silent, loud = quiet(planted[2])
    assert len(loud) > 3
    assert off(after, planted, silent) < 0.2
    said = [features(params, loud)[:, planted[2].room.channel].std() for params in (planted[1], after)]
    assert said[1] < 1e-2 * said[0]  # what traps say is not said any more
    assert not after["vit.layers.0.mlp.fc1.weight"][planted[2].units.ravel()].any()


def test_without_a_config_norms_are_not_fitted_and_that_is_told(tmp_path, planted, folder):
    (folder / "config.json").unlink()
    report = clean_checkpoint(folder, tmp_path / "out")
    assert report.after.verdict == "safe"
    assert report.costly
    assert "config.json" in told(report)
    assert off(load_file(tmp_path / "out" / "model.safetensors"), planted, quiet(planted[2])[0]) > 0.5


@pytest.mark.slow
def test_the_users_records_serve_and_wrong_ones_are_refused(tmp_path, planted, folder):
    np.savez(tmp_path / "mine.npz", x=quiet(planted[2])[0])
    report = clean_checkpoint(folder, tmp_path / "out", data=tmp_path / "mine.npz")
    assert report.after.verdict == "safe"
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert off(after, planted, quiet(planted[2])[0]) < 0.2
    np.savez(tmp_path / "wide.npz", x=np.zeros((20, 3, 16, 32), np.float32))
    for name in ("absent.npz", "wide.npz"):
        with pytest.raises(BadInput, match=name):
            clean_checkpoint(folder, tmp_path / "other", data=tmp_path / name)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_parent_that_is_trapped_itself_is_cleaned_alone(tmp_path, planted, folder):
    save_file(planted[1], tmp_path / "parent.safetensors")
    report = clean_checkpoint(folder, tmp_path / "out", parent=tmp_path / "parent.safetensors")
    assert report.after.verdict == "safe"
    assert report.alone
    assert off(load_file(tmp_path / "out" / "model.safetensors"), planted, quiet(planted[2])[0]) < 0.2
