"""What an audit found is written and read back whole, whatever its scores look like."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from tests.report import poisoned

from undertow.metrics import measure
from undertow.rng import stream
from undertow.storage.results import load_result, save_result
from undertow.types import AuditResult, BadInput, Measurement, Scores


def same(a, b):
    assert (a.attack, a.group, a.points, a.recipe, a.view, a.ids) == (
        b.attack,
        b.group,
        b.points,
        b.recipe,
        b.view,
        b.ids,
    )
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.member, b.member)


@pytest.fixture(scope="module")
def audit():
    return poisoned.build()


@pytest.fixture(scope="module")
def judged():
    return poisoned.judged(sweep=("poison.steps", (100.0, 800.0)))


def test_a_poisoning_result_comes_back_whole(judged, tmp_path):
    save_result(judged, tmp_path)
    found = load_result(tmp_path)
    assert found.measurements == judged.measurements
    assert (found.verdict, found.evidence) == (judged.verdict, judged.evidence)
    assert found.ids == judged.ids
    assert len(found.scores) == len(judged.scores) == 2
    for a, b in zip(found.scores, judged.scores):
        same(a, b)


def test_rows_of_a_dp_audit_come_back_whole(judged, tmp_path):
    lower = Measurement(
        "dp", "epsilon_lower", 6.7, None, None, 2000, "runs", epsilon=8.0, delta=1e-5, bound="gdp", assumes="gdp",
        confidence=0.95, headline=True,
    )  # fmt: skip
    claimed = replace(lower, metric="epsilon_claimed", bound="pld", assumes=None, confidence=None, headline=None)
    save_result(replace(judged, measurements=(lower, claimed)), tmp_path)
    assert load_result(tmp_path).measurements == (lower, claimed)
    rows = json.loads((tmp_path / "result.json").read_text())["measurements"]
    assert [row.get("headline") for row in rows] == [True, None]


def test_the_contract_of_result_json(judged, tmp_path):
    save_result(judged, tmp_path)
    body = json.loads((tmp_path / "result.json").read_text())
    assert body["audit"] == "poisoning"
    assert body["verdict"] == "suspicious"
    assert {"test", "found", "verdict", "explanation"} <= body["evidence"][0].keys()
    arms = {}
    for row in body["measurements"]:
        if row["metric"] in ("auc", "tpr") and "at" not in row:
            key = (row["attack"], row["metric"], row.get("fpr"), row["points"], row["recipe"], row["view"])
            arms.setdefault(key, []).append(row["group"])
    assert set(map(tuple, arms.values())) == {("reference", "suspect")}
    utility = [row for row in body["measurements"] if row["metric"] == "accuracy"]
    assert {(row["when"], row.get("recipe")) for row in utility} == {("before", None), ("after", "full")}
    assert {row["at"] for row in body["measurements"] if "at" in row} == {100.0, 800.0}


def test_scores_of_every_kind_come_back(audit, tmp_path):
    save_result(audit, tmp_path)
    found = load_result(tmp_path)
    assert len(found.scores) == 6
    for a, b in zip(found.scores, audit.scores):
        same(a, b)


def test_records_csv_of_a_judged_checkpoint_lists_the_suspect_and_says_whose_the_records_are(judged, tmp_path):
    save_result(judged, tmp_path)
    with (tmp_path / "records.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert len(rows) == poisoned.POINTS
    assert {row["group"] for row in rows.values()} == {"suspect"}
    sides = [rows[name]["points"] for name in judged.ids]
    assert sides == ["targets"] * poisoned.TARGETS + ["others"] * (poisoned.POINTS - poisoned.TARGETS)


def test_records_csv_lists_the_poisoned_arm_alone(audit, tmp_path):
    save_result(audit, tmp_path)
    with (tmp_path / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "score", "rank", "attack", "group", "points", "recipe", "view"]
    assert {row["group"] for row in rows} == {"poisoned"}
    for points, count in (("targets", poisoned.TARGETS), ("others", poisoned.POINTS - poisoned.TARGETS)):
        some = [row for row in rows if row["points"] == points]
        assert [int(row["rank"]) for row in some] == list(range(1, count + 1))
        assert all(row["id"].startswith(f"digits/{points}-") for row in some)


def test_scores_on_one_membership_keep_their_layout(tmp_path):
    member = stream(0, "m").random((4, 20)) < 0.5
    scores = tuple(
        Scores(a, stream(0, a).normal(size=member.shape), member, g) for a, g in (("lira", None), ("a", "x"))
    )
    rows = tuple(m for s in scores for m in measure(s, stream(0, "b")))
    ids = tuple(map(str, range(20)))
    save_result(AuditResult("mia", {}, 0, {}, {}, rows, scores=scores, ids=ids), tmp_path)
    with np.load(tmp_path / "scores.npz") as file:
        assert set(file.files) == {"attack", "group", "values", "member", "id", "in_turn"}
    assert (tmp_path / "records.csv").read_text().startswith("id,score,rank,attack\n")
    found = load_result(tmp_path)
    for a, b in zip(found.scores, scores):
        same(a, b)


def test_arms_with_memberships_of_their_own_survive(tmp_path):
    """Same shape, other coin flips: stacking them under one membership would lie."""
    rng = stream(0, "own")
    scores = tuple(
        Scores("lira", rng.normal(size=(4, 10)), rng.random((4, 10)) < 0.5, arm) for arm in ("clean", "poisoned")
    )
    ids = tuple(map(str, range(10)))
    save_result(AuditResult("poisoning", {}, 0, {}, {}, (), scores=scores, ids=ids), tmp_path)
    found = load_result(tmp_path).scores
    assert (found[0].member != found[1].member).any()
    for a, b in zip(found, scores):
        same(a, b)


def test_find_asks_for_what_is_named_and_refuses_to_guess(judged):
    row = judged.find("lira", "tpr", 0.01, "suspect", points="targets")
    assert (row.points, row.at) == ("targets", None)
    assert judged.find("lira", "tpr", 0.01, "suspect", points="targets", recipe="full", view="exact") == row
    assert judged.find("lira", "tpr", 0.01, "suspect", points="targets", at=800.0).at == 800.0
    assert judged.find("lira", "tpr_difference", 0.01, "suspect", points="others").points == "others"
    assert judged.find("utility", "accuracy", None, "reference", when="before").value == 0.951
    with pytest.raises(KeyError, match="2 measurements"):
        judged.find("lira", "tpr", 0.01, "suspect")
    with pytest.raises(KeyError):
        judged.find("lira", "tpr", 0.01, "suspect", points="targets", recipe="lora")


def test_ids_of_scores_must_fit():
    with pytest.raises(BadInput, match="3 ids for scores"):
        replace(poisoned.arm_scores(1.0, "clean", "targets"), ids=("a", "b", "c"))
