"""A finished run stays what it is: whatever decides its result must be the same, or the run folder is refused."""

import json

import pytest

from undertow.storage.finished import refuse_other_run
from undertow.types import StoreError

CONFIG = {"seed": 3, "shadows": 8, "attacks": ("lira",), "data": {"source": "a", "pool": 40, "drop_duplicates": False},
          "engine": {"name": "auto", "dtype": "float32", "threads": 1}}  # fmt: skip
DATA = {"name": "a", "sha256": {"audited": "x"}}


@pytest.fixture
def run(tmp_path):
    body = {"config": CONFIG, "seed": 3, "data": DATA, "environment": {"published": {"suspect": "k"}}}
    (tmp_path / "result.json").write_text(json.dumps(body))
    return tmp_path


def changed(**changes):
    return {**CONFIG, **{k: {**CONFIG[k], **v} if isinstance(v, dict) else v for k, v in changes.items()}}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"seed": 4}, "seed (3 there, 4 now)"),
        ({"shadows": 16}, "shadows (8 there, 16 now)"),
        ({"attacks": ("lira", "rmia")}, "attacks"),
        ({"data": {"pool": 20}}, "data.pool (40 there, 20 now)"),
        ({"engine": {"dtype": "float64"}}, "engine.dtype"),
    ],
)
def test_what_decides_the_result_is_named(run, changes, names):
    with pytest.raises(StoreError) as caught:
        refuse_other_run(run, changed(**changes), DATA)
    assert names in str(caught.value)
    assert "choose another --out" in str(caught.value)


def test_other_records_and_another_checkpoint_are_named(run):
    with pytest.raises(StoreError, match=r"the records \(data.sha256\)"):
        refuse_other_run(run, CONFIG, {"sha256": {"audited": "y"}})
    with pytest.raises(StoreError, match="differs in suspect"):
        refuse_other_run(run, CONFIG, DATA, {"suspect": "other"})
    with pytest.raises(StoreError, match="differs in reference"):
        refuse_other_run(run, CONFIG, DATA, {"suspect": "k", "reference": "r"})


@pytest.mark.parametrize(
    "changes",
    [{}, {"engine": {"name": "sequential", "threads": 2}}, {"data": {"source": "./a", "drop_duplicates": True}}],
)
def test_what_does_not_decide_it_is_let_through(run, changes):
    refuse_other_run(run, changed(**changes), DATA, {"suspect": "k"})


def test_another_way_to_the_records_counts_where_the_records_are_not_known(run):
    with pytest.raises(StoreError, match=r"data\.source"):
        refuse_other_run(run, changed(data={"source": "b"}))


def test_keys_of_another_version_and_unfinished_or_unreadable_runs_are_let_through(run, tmp_path):
    refuse_other_run(run, {**CONFIG, "new": 1}, DATA)
    refuse_other_run(tmp_path / "nowhere", CONFIG, DATA)
    (run / "result.json").write_text("{")
    refuse_other_run(run, changed(seed=9), DATA)
