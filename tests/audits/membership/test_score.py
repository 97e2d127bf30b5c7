"""Signals made anywhere: believed when sound, refused in one line when not."""

import csv

import numpy as np
import pytest

from undertow.audits.membership.score import SignalSet, audit_score
from undertow.engine.design import Design
from undertow.rng import stream
from undertow.storage.signals_file import read_signals
from undertow.types import BadInput, ConfigError, MissingExtra


def member(models=8, points=40, seed=0):
    return np.stack([s.member for s in Design(seed, points, models, 1, points).slots("shadow")])


def leak(truth, strength=1.5, seed=0):
    return stream(seed, "values").normal(size=truth.shape) + strength * truth


def logits(truth, classes=3, views=2, strength=2.0):
    labels = stream(0, "labels").integers(classes, size=truth.shape[1])
    z = stream(0, "logits").normal(size=(*truth.shape, views, classes))
    own = np.arange(classes) == labels[:, None]
    return z + strength * (truth[:, :, None, None] & own[None, :, None, :]), labels


def save(tmp_path, **arrays):
    path = tmp_path / "signals.npz"
    np.savez(path, **arrays)
    return path


def scored(tmp_path, attacks=(), **arrays):
    return audit_score(read_signals(save(tmp_path, **arrays)), attacks)


def test_values_are_used_as_they_are(tmp_path):
    truth = member()
    result = scored(tmp_path, member=truth, values=leak(truth))
    assert {m.attack for m in result.measurements} == {"threshold", "lira", "lira-offline", "bavaria"}
    assert result.find("lira", "auc").value > 0.7
    assert result.find("lira", "auc").unit == "models"
    assert result.find("lira", "auc").n == 8


def test_logits_with_labels_give_every_attack_that_needs_no_more(tmp_path):
    truth = member(16)
    z, labels = logits(truth)
    result = scored(tmp_path, member=truth, logits=z, labels=labels)
    found = {m.attack for m in result.measurements}
    assert {"loss", "lira", "rmia", "bavaria", "tmi", "tmi-lda", "adapted-lira", "tmi-knn"} <= found
    assert not {"threshold", "blind", "direct-lira"} & found
    assert result.find("tmi-lda", "auc").value > 0.6


def test_one_view_needs_no_axis_of_its_own(tmp_path):
    truth = member()
    z, labels = logits(truth, views=1)
    flat = scored(tmp_path, ["loss"], member=truth, logits=z[:, :, 0], labels=labels)
    full = scored(tmp_path, ["loss"], member=truth, logits=z, labels=labels)
    assert flat.measurements == full.measurements


def test_one_model_is_counted_in_points_and_needs_no_shadows(tmp_path):
    truth = (np.arange(60) < 40)[None]
    result = scored(tmp_path, member=truth, values=leak(truth))
    assert {m.attack for m in result.measurements} == {"threshold"}
    assert result.find("threshold", "auc").unit == "points"


def test_held_out_targets(tmp_path):
    truth = member(10)
    result = scored(tmp_path, ["lira"], member=truth, values=leak(truth), target=np.array([5, 8]))
    assert (result.find("lira", "auc").n, result.find("lira", "auc").unit) == (2, "models")
    assert result.scores[0].values.shape == (2, 40)


def test_a_pair_that_is_held_out_is_one_draw(tmp_path):
    truth = member(10)
    result = scored(tmp_path, ["lira"], member=truth, values=leak(truth), target=np.array([8, 9]))
    assert (result.find("lira", "auc").n, result.find("lira", "auc").unit) == (40, "points")


@pytest.mark.parametrize(
    ("attack", "names"),
    [("rmia", "logits"), ("tmi", "logits"), ("blind", "features"), ("direct-lira", "pretrained_logits")],
)
def test_an_attack_whose_input_is_absent_is_refused_by_key(tmp_path, attack, names):
    truth = member()
    with pytest.raises(BadInput, match=f"{attack}.*{names}"):
        scored(tmp_path, [attack], member=truth, values=leak(truth))


def test_an_unknown_attack_names_the_nearest(tmp_path):
    truth = member()
    with pytest.raises(ConfigError, match="lira"):
        scored(tmp_path, ["lyra"], member=truth, values=leak(truth))


def test_no_signal_is_refused_with_the_keys_that_would_do(tmp_path):
    with pytest.raises(BadInput, match="give `values`, or `logits` with `labels`"):
        scored(tmp_path, member=member())


def test_a_point_that_every_model_saw_is_left_out_and_counted(tmp_path):
    truth = member()
    truth[:, 7] = True
    result = scored(tmp_path, ["lira"], member=truth, values=leak(truth))
    assert [(e["attack"], e["records"], e["of"]) for e in result.left_out] == [("lira", 1, 40)]
    assert scored(tmp_path, ["threshold"], member=truth, values=leak(truth)).left_out == ()


def test_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, member=np.array([object()], dtype=object))
    with pytest.raises(BadInput, match="without unpickling"):
        read_signals(path)


def long_rows(truth, values):
    for m in range(truth.shape[0]):
        for q in range(truth.shape[1]):
            yield f"m{m}", f"e{q}", values[m, q], "true" if truth[m, q] else "0"


def write_csv(path, rows, header=("model", "example", "value", "member")):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def test_csv_is_the_same_as_npz(tmp_path):
    truth = member()
    values = leak(truth)
    from_csv = audit_score(read_signals(write_csv(tmp_path / "s.txt", long_rows(truth, values))), ["lira"])
    from_npz = scored(tmp_path, ["lira"], member=truth, values=values)
    np.testing.assert_allclose(from_csv.scores[0].values, from_npz.scores[0].values)
    assert from_csv.ids[:2] == ("e0", "e1")


def test_parquet_is_the_same_as_csv(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    truth = member()
    values = leak(truth)
    rows = list(long_rows(truth, values))
    table = pa.table({n: [r[i] for r in rows] for i, n in enumerate(("model", "example", "value", "member"))})
    pq.write_table(table, tmp_path / "s.data")
    result = audit_score(read_signals(tmp_path / "s.data"), ["threshold"])
    np.testing.assert_allclose(result.scores[0].values, values)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    import sys

    (tmp_path / "s.parquet").write_bytes(b"PAR1....")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'undertow\[data\]'"):
        read_signals(tmp_path / "s.parquet")


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        ([("a", "x", 1, 1), ("a", "x", 2, 0)], None, "occurs twice"),
        ([("a", "x", 1, 1), ("b", "y", 2, 0)], None, "pairs are absent"),
        ([("a", "x", 1, "maybe")], None, "row 2: member is 'maybe'"),
        ([("a", "x", "high", 1)], None, "row 2: value is 'high'"),
        ([], None, "no rows"),
        ([("a", "x", 1)], ("model", "example", "value"), "column 'member' is missing"),
    ],
)
def test_bad_tables_are_refused_by_row(tmp_path, rows, header, says):
    path = write_csv(tmp_path / "s.csv", rows, header or ("model", "example", "value", "member"))
    with pytest.raises(BadInput, match=says):
        audit_score(read_signals(path))


def test_files_that_are_none_of_these(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_signals(tmp_path / "nothing.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(BadInput, match="is empty"):
        read_signals(tmp_path / "empty.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(BadInput, match="cannot be read as npz"):
        read_signals(tmp_path / "torn.npz")
    (tmp_path / "noise.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadInput, match="neither npz, parquet nor csv"):
        read_signals(tmp_path / "noise.csv")


def test_a_balanced_design_without_complements_is_attacked_without_bias():
    """Three of six models hold each record: what is left out with a target must not lean scores below chance."""
    aucs = []
    for seed in range(40):
        truth = np.argsort(stream(seed, "balanced").random((6, 40)), 0) < 3
        signals = SignalSet("s", "", {"member": truth, "values": leak(truth, 0.0, seed)})
        aucs.append(audit_score(signals, ["lira"]).find("lira", "auc").value)
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * np.std(aucs) / np.sqrt(40))


def test_the_public_cifar_score_set_gives_its_published_figures(shared_data):
    """Three real models, 20,000 members, 5,000 non-members; figures from the README beside the data."""
    z = np.load(shared_data / "cifar10" / "reference_logits.npz")
    y = np.load(shared_data / "cifar10" / "labels.npz")
    figures = {"resnet20": (0.5408, 0.5411, 0.5364), "resnet56": (0.5580, 0.5587, 0.5560),
               "mlperf_resnet8": (0.5252, 0.5259, 0.5166)}  # fmt: skip
    for name, expected in figures.items():
        outputs = np.concatenate([z[f"{name}_train"], z[f"{name}_test"]])[None]
        labels = np.concatenate([y["y_train"], y["y_test"]]).astype(int)
        truth = (np.arange(25000) < 20000)[None]
        signals = SignalSet(name, "", {"member": truth, "logits": outputs, "labels": labels})
        result = audit_score(signals, ["loss", "margin", "confidence"])
        found = [result.find(a, "auc").value for a in ("loss", "margin", "confidence")]
        np.testing.assert_allclose(found, expected, atol=5.1e-5)
