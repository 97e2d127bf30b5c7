"""How many records are asked about together: the rows say what fewer give, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.auc import auc
from tests.oracles.noise import noise

from undertow.attacks.attack import run
from undertow.attacks.catalog import ATTACKS
from undertow.audits.in_turn import at_points
from undertow.audits.leakage import attack_all, measure_all
from undertow.audits.membership.together import TOGETHER, asked_together, in_groups, together_rows
from undertow.engine.membership import Fold
from undertow.rng import stream

MODELS, POINTS = 24, 60
FOLDS = [Fold(np.arange(16, MODELS), np.arange(16))]
TRUTH = slice(16, MODELS)


def shared(seed, leak=1.2, points=POINTS):
    """A leak, and a peculiarity of each model that all points share: other answers tell it."""
    clean = noise(seed, MODELS, points)
    own = stream(seed, "own").normal(0, 1.5, (MODELS, 1, 1, 4))
    shown = clean.logits + own + leak * clean.member[:, :, None, None] * np.eye(4)[clean.labels][None, :, None]
    return replace(clean, logits=shown)


def alone(name, evidence, q):
    """The rule by hand on one point."""
    point = at_points(evidence, np.array([q]))
    return run(ATTACKS[name], point, FOLDS[0].shadows, FOLDS[0].targets, stream(0, "unused"))[:, 0]


@pytest.mark.parametrize("name", ["tmi-default", "rmia"])
def test_all_records_together_are_the_ordinary_scores_and_row(name):
    evidence = shared(0)
    scores = attack_all(evidence, FOLDS, [name], 0)
    np.testing.assert_array_equal(in_groups(evidence, FOLDS, name, POINTS, 0), scores[0].values)
    ordinary = {(m.metric, m.fpr): m for m in measure_all(scores, 0)}
    rows = [m for m in together_rows(evidence, FOLDS, scores, [name], 0) if m.at == POINTS]
    assert [(m.metric, m.fpr) for m in rows] == [("auc", None), ("tpr", 0.01)]
    for row in rows:
        assert replace(row, group=None, at=None) == ordinary[row.metric, row.fpr]


def test_one_record_together_is_each_record_alone():
    evidence = shared(1)
    found = in_groups(evidence, FOLDS, "tmi-default", 1, 0)
    by_hand = np.stack([alone("tmi-default", evidence, q) for q in range(POINTS)], 1)
    np.testing.assert_array_equal(found, by_hand)


def test_what_is_said_of_one_record_uses_no_other():
    evidence, rng = shared(2), stream(2, "test")
    changed = evidence.logits.copy()
    changed[:, 1:] = rng.normal(0, 5, changed[:, 1:].shape)
    before, after = (
        in_groups(e, FOLDS, "tmi-default", 1, 0)[:, 0] for e in (evidence, replace(evidence, logits=changed))
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("k", [7, 10, 50])
def test_every_record_is_asked_among_exactly_so_many(k, monkeypatch):
    """Also where the points do not divide: no record is scored among fewer."""
    evidence, asked = shared(3), []
    evidence = replace(evidence, features=np.arange(POINTS)[:, None].astype(float))

    def spy(some, folds, names, seed):
        asked.append(some.features[:, 0].astype(int))
        return attack_all(some, folds, names, seed)

    monkeypatch.setattr("undertow.audits.membership.together.attack_all", spy)
    found = in_groups(evidence, FOLDS, "tmi-default", k, 0)
    assert all(len(set(group)) == k for group in asked)
    assert set(np.concatenate(asked)) == set(range(POINTS))
    assert len(asked) == -(-POINTS // k)
    assert found.shape == (8, POINTS)
    first = asked[0]  # none of it is asked again but to fill the last group up
    by_hand = run(
        ATTACKS["tmi-default"], at_points(evidence, first), FOLDS[0].shadows, FOLDS[0].targets, stream(0, "unused")
    )
    np.testing.assert_array_equal(found[:, first], by_hand)


def test_more_records_together_find_more_where_they_share_something():
    found = {k: [] for k in (1, 10, POINTS)}
    for seed in range(6):
        evidence = shared(seed)
        for k, values in found.items():
            values.append(auc(in_groups(evidence, FOLDS, "tmi-default", k, seed), evidence.member[TRUTH]))
    one, ten, everyone = (np.mean(values) for values in found.values())
    assert 0.52 < one < ten - 0.02
    assert ten < everyone - 0.02


@pytest.mark.parametrize(("name", "least"), [("tmi-default", 1), ("rmia", 2)])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_nothing_is_found_where_nothing_leaks(name, least, k):
    """Mean AUC over 8 null games, 480 pairs each: its standard error is about .01."""
    if k < least:
        pytest.skip("the rule compares records")
    found = []
    for seed in range(8):
        evidence = noise(100 + seed, MODELS, POINTS)
        found.append(auc(in_groups(evidence, FOLDS, name, k, seed), evidence.member[TRUTH]))
    assert abs(np.mean(found) - 0.5) < 0.04


def test_the_rows():
    evidence = shared(4)
    names = ["tmi-default", "tmi-lda", "rmia"]
    scores = attack_all(evidence, FOLDS, names, 0)
    rows = together_rows(evidence, FOLDS, scores, ["tmi-default", "rmia", "rmia-offline"], 0)
    assert {m.group for m in rows} == {TOGETHER}
    assert [(m.attack, m.metric, m.at) for m in rows] == [
        (name, metric, k)
        for name in ("tmi-default", "rmia")
        for k in (1.0, 10.0, 50.0, 60.0)
        for metric in ("auc", "tpr")
    ]
    unknown = [m for m in rows if m.value is None]
    assert [(m.attack, m.at) for m in unknown] == [("rmia", 1.0)] * 2
    assert all("compares records with each other: it needs at least 2, not 1" in m.reason for m in unknown)
    assert rows == together_rows(evidence, FOLDS, scores, ["tmi-default", "rmia", "rmia-offline"], 0)


def test_few_challenge_points_leave_out_what_is_more():
    evidence = shared(5, points=10)
    scores = attack_all(evidence, FOLDS, ["tmi-default"], 0)
    rows = together_rows(evidence, FOLDS, scores, ["tmi-default"], 0)
    assert [m.at for m in rows if m.metric == "auc"] == [1.0, 10.0]


def test_who_asks_about_records_together():
    every = ["loss", "lira", "rmia", "tmi-default", "tmi-global", "adapted-lira-averaged", "blind"]
    member = np.arange(50)[:, None] % 2 == np.zeros(60)
    assert asked_together(every, member, np.array([0, 1])) == {"rmia": 60, "tmi-default": 60}
    pooled = {"rmia": 60, "tmi-default": 60, "adapted-lira-averaged": 60}
    assert asked_together(every, member, np.arange(4)) == pooled  # 23 shadows on each side: one variance for all
    assert set(asked_together(every, member[2:], None)) == set(pooled)  # 24, less the target


@pytest.mark.parametrize(("shadows", "alone"), [(48, True), (46, False)])
def test_the_number_of_shadows_decides_whether_the_adapted_lira_asks_alone(shadows, alone):
    evidence, rng = noise(7, 52, 20), stream(7, "test")
    fold = Fold(np.arange(50, 52), np.arange(shadows))
    changed = evidence.logits.copy()
    changed[50:, 1:] = rng.normal(0, 5, changed[50:, 1:].shape)
    name = "adapted-lira-averaged"
    before, after = (
        attack_all(e, [fold], [name], 0)[0].values[:, 0] for e in (evidence, replace(evidence, logits=changed))
    )
    assert np.allclose(before, after) == alone
    kept = evidence.member[np.r_[np.arange(shadows), 50:52]]
    assert (name not in asked_together([name], kept, np.arange(shadows, shadows + 2))) == alone


def test_the_evidence_at_some_points():
    evidence, some = shared(6), np.array([5, 2])
    evidence = replace(evidence, groups=np.arange(POINTS))
    found = at_points(evidence, some)
    for key, value in vars(evidence).items():
        if value is not None:
            of_models = key in ("member", "values", "logits", "pretrained_logits")
            np.testing.assert_array_equal(getattr(found, key), value[:, some] if of_models else value[some])
    assert found.pretrained_values is None
