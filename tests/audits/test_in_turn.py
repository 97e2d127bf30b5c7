"""Thin records are left out by attack and counted; an attack without enough of them says so."""

import numpy as np
import pytest

from undertow.attacks.catalog import ATTACKS
from undertow.audits.in_turn import attack_in_turn
from undertow.audits.leakage import attack_all
from undertow.engine.membership import folds
from undertow.rng import stream
from undertow.types import Evidence


def game(models=24, points=200, thin=9, seed=0):
    """Independent rows; the first `thin` points are members of one model only."""
    rng = stream(seed, "test")
    member = rng.random((models, points)) < 0.5
    member[:, :thin] = False
    member[rng.integers(models, size=thin), np.arange(thin)] = True
    while len(bad := np.flatnonzero((member.sum(0) < 4)[thin:])):
        member[:, thin + bad] = rng.random((models, len(bad))) < 0.5
    values = rng.normal(size=member.shape) + 3 * member + 2 * rng.normal(size=points)
    return Evidence(member, values)


def test_thin_records_are_left_out_and_counted():
    found = attack_in_turn(game(), ("threshold", "lira", "lira-offline"), 0)
    sizes = {s.attack: s.values.shape[1] for s in found.scores}
    assert sizes == {"threshold": 200, "lira": 191, "lira-offline": 200}
    assert [(e["attack"], e["records"], e["of"]) for e in found.left_out if e["records"]] == [("lira", 9, 200)]
    assert found.not_run == ()
    lira = next(s for s in found.scores if s.attack == "lira")
    assert lira.ids[0] == "9"
    assert lira.in_turn
    assert not found.scores[0].in_turn


def test_what_is_left_out_does_not_move_the_rest():
    evidence = game()
    alone = Evidence(evidence.member[:, 9:], evidence.values[:, 9:])
    a, b = (attack_in_turn(e, ("lira",), 0).scores[0].values for e in (evidence, alone))
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_an_attack_without_enough_models_is_named_with_the_fix():
    member = np.array([[True, False], [False, True], [True, True]]).repeat(25, 1)
    evidence = Evidence(member, stream(0, "values").normal(size=member.shape))
    found = attack_in_turn(evidence, ("threshold", "lira"), 0)
    assert [s.attack for s in found.scores] == ["threshold"]
    (entry,) = found.not_run
    assert entry["attack"] == "lira"
    assert "2 models with and 2 without" in entry["reason"]
    assert "more models than 3" in entry["fix"]


@pytest.mark.parametrize("name", ["lira", "bavaria", "tmi-lda", "tmi-knn"])
def test_pairs_in_turn_are_the_folds_of_the_engine(name):
    rng = stream(0, "test")
    half = np.argsort(rng.random((6, 30)), 1) < 15
    member = np.concatenate([half, ~half])
    evidence = Evidence(member, None, rng.normal(size=(12, 30, 2, 4)), rng.integers(4, size=30))
    own = attack_in_turn(evidence, (name,), 0).scores[0].values
    folded = attack_all(evidence, folds(member), (name,), 0)[0].values
    np.testing.assert_allclose(own, folded, rtol=1e-10, atol=1e-10)


def test_an_attack_without_shortcut_runs_on_balanced_columns():
    """Nothing leaks: leaving out another model at every point, the null of a rule without a closed form is one half."""
    aucs = []
    for seed in range(20):
        rng = stream(seed, "test")
        member = np.argsort(rng.random((8, 40)), 0) < 4
        evidence = Evidence(member, None, rng.normal(size=(8, 40, 1, 3)) + rng.normal(size=(40, 1, 3)))
        s = attack_in_turn(evidence, ("tmi-lda",), seed).scores[0]
        inside, outside = s.values[s.member], s.values[~s.member]
        aucs.append((inside[:, None] > outside).mean())
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * np.std(aucs) / np.sqrt(20))
    assert ATTACKS["tmi-lda"].shadows


@pytest.mark.parametrize("name", ["lira", "bavaria", "tmi-knn"])
def test_thin_pairs_are_chosen_by_the_models_that_remain(name):
    """Few models of independent rows: choosing points by how many models hold them, the target too, would tell."""
    aucs = []
    for seed in range(30):
        rng = stream(seed, "test")
        member = rng.random((8, 150)) < 0.5
        hard = 2 * rng.normal(size=150)
        z = rng.normal(size=(8, 150, 1, 2)) + hard[:, None, None] * np.array([1, -1])
        evidence = Evidence(member, rng.normal(size=member.shape) + hard, z)
        (s,) = attack_in_turn(evidence, (name,), seed).scores
        assert s.scored is not None
        inside, outside = s.values[s.inside], s.values[s.outside]
        aucs.append((inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2)
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * np.std(aucs) / np.sqrt(30))
    assert np.std(aucs) / np.sqrt(30) < 0.008


def test_what_the_models_of_one_cross_validation_share_tells_nothing():
    """An effect of the repeat: leaving out one model of it would leave the others to tell (null .42)."""
    aucs = []
    for seed in range(25):
        rng = stream(seed, "test")
        parts = [rng.permutation(np.arange(200) % 4) for _ in range(4)]
        member = np.stack([part != k for part in parts for k in range(4)])
        shared = np.repeat(rng.normal(size=(4, 200)), 4, 0)
        (s,) = attack_in_turn(Evidence(member, rng.normal(size=member.shape) + shared), ("lira",), seed).scores
        inside, outside = s.values[s.inside], s.values[s.outside]
        aucs.append((inside[:, None] > outside).mean())
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * np.std(aucs) / 5)
    assert np.std(aucs) / 5 < 0.01


def test_a_model_with_one_usable_record_is_attacked_on_it():
    rng = stream(2, "edge")
    member = rng.random((5, 8)) < 0.5
    evidence = Evidence(member, logits=rng.normal(size=(5, 8, 1, 3)), labels=np.zeros(8, int))
    names = ("tmi-lda", "tmi-knn", "adapted-lira", "adapted-lira-averaged")
    found = {s.attack: s for s in attack_in_turn(evidence, names, 0).scores}
    right = {  # each rule on this one record, the other models as shadows
        "tmi-lda": {(0, 1): 5.030022157828572},
        "tmi-knn": {(0, 1): 1.0},
        "adapted-lira": {(4, 3): -23.354828874419162},
        "adapted-lira-averaged": {(4, 3): -23.378757008274633},
    }
    for name, pairs in right.items():
        scores = found[name]
        for (model, point), value in pairs.items():
            at = scores.ids.index(str(point)) if scores.ids else point
            assert scores.scored is None or scores.scored[model, at]
            assert scores.values[model, at] == pytest.approx(value, rel=1e-9)
