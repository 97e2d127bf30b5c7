import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.noise import noise

from undertow.attacks import catalog
from undertow.attacks.attack import REFERENCE, SCORE, Attack, missing, one_signal, run
from undertow.attacks.catalog import ATTACKS, check_names, direct_name, offered_by, unrealistic
from undertow.attacks.lira import lira
from undertow.registry import Registry, instance_of
from undertow.rng import stream
from undertow.signals import label_confidence
from undertow.types import BadInput, ConfigError, Evidence, Signals

SHADOWS, TARGETS = np.arange(12), np.arange(12, 16)


def scores(name, evidence, seed=0):
    return run(ATTACKS[name], evidence, SHADOWS, TARGETS, stream(seed, "attack", name))


def leaky(leak):
    """Evidence in which every kind of output, and the records of the targets, give membership away."""
    clean = noise(0, 16, 100)
    own = leak * np.eye(4)[clean.labels][None, :, None] * clean.member[:, :, None, None]
    return replace(
        clean,
        values=clean.values + leak * clean.member,
        logits=clean.logits + own,
        pretrained_logits=clean.pretrained_logits + own,
    )


def test_the_names():
    assert " ".join(ATTACKS) == (
        "threshold loss confidence entropy margin modified-entropy lira lira-offline calibrated rmia rmia-offline "
        "bavaria tmi tmi-averaged tmi-lda tmi-default tmi-global tmi-knn tmi-label-only tmi-top-k "
        "adapted-lira adapted-lira-averaged direct-lira "
        "direct-tmi direct-tmi-averaged direct-tmi-lda direct-tmi-default direct-tmi-global direct-tmi-knn "
        "direct-tmi-label-only direct-tmi-top-k direct-adapted-lira direct-adapted-lira-averaged blind"
    )
    kinds = {name: attack.kind for name, attack in ATTACKS.items() if attack.kind != "attack"}
    baselines = dict.fromkeys(["threshold", "loss", "confidence", "entropy", "margin", "modified-entropy"], "baseline")
    direct = dict.fromkeys([name for name in ATTACKS if name.startswith("direct-")], "direct")
    assert kinds == {**baselines, **direct, "blind": "blind"}
    unasked = {name for name in direct if SCORE in ATTACKS[name].offered}
    assert unasked == {"direct-lira", "direct-tmi-default"}
    assert {name for name in ATTACKS if SCORE not in ATTACKS[name].offered and name not in direct} == {
        "modified-entropy",
        "calibrated",
    }
    assert {name for name, attack in ATTACKS.items() if not attack.shadows} == {*baselines, "blind"}


@pytest.mark.parametrize("name", list(ATTACKS))
@pytest.mark.parametrize(("views", "classes"), [(1, 2), (2, 3)])
def test_finite_at_extreme_logits(name, views, classes):
    evidence = noise(1, 16, 20, views, classes)
    extremes = np.where(evidence.logits > 0, 100.0, -100.0)
    evidence = replace(evidence, logits=extremes, pretrained_logits=extremes, values=np.full((16, 20), 100.0))
    assert np.isfinite(scores(name, evidence)).all()


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.shadows])
def test_too_few_shadows_names_the_point(name):
    evidence = noise(2, 16, 20)
    member = evidence.member.copy()
    member[:12, 7] = False
    if name in ("lira-offline", "rmia-offline", "calibrated"):
        member[:12, 7] = True
    with pytest.raises(BadInput, match="point 7 is IN"):
        scores(name, replace(evidence, member=member))


@pytest.mark.parametrize("name", ["threshold", "lira", "lira-offline", "calibrated", "bavaria"])
def test_given_values_are_used_as_they_are(name):
    evidence = noise(3, 16, 20)
    np.testing.assert_array_equal(scores(name, evidence), scores(name, replace(evidence, logits=None, labels=None)))


@pytest.mark.parametrize("rule", [name for name in ATTACKS if direct_name(name) in ATTACKS and name != "lira"])
def test_direct_access_is_the_same_rule_on_the_pretrained_outputs(rule):
    """Whatever the finetuned model says, and whatever its number of classes."""
    evidence = leaky(1.0)
    rng = stream(8, "test")
    elsewhere = replace(evidence, logits=evidence.pretrained_logits, pretrained_logits=None)
    blurred = replace(evidence, logits=rng.normal(size=(16, 100, 1, 3)), labels=None)
    direct, own = ATTACKS[direct_name(rule)], ATTACKS[rule]
    by_hand = run(own, elsewhere, SHADOWS, TARGETS, stream(0, "same"))
    np.testing.assert_array_equal(run(direct, blurred, SHADOWS, TARGETS, stream(0, "same")), by_hand)
    assert "does not have" in direct.title
    assert direct.together == own.together


def test_what_each_audit_runs_unasked_and_in_which_order():
    attacks = "lira lira-offline rmia rmia-offline bavaria"
    thresholds = "loss confidence entropy margin"
    assert " ".join(offered_by("mia", first=("threshold",))) == f"threshold {attacks} {thresholds} blind"
    assert " ".join(offered_by("tmi", first=("tmi-default",))) == (
        "tmi-default tmi tmi-averaged tmi-lda tmi-global tmi-knn tmi-label-only tmi-top-k "
        f"adapted-lira adapted-lira-averaged {thresholds} blind direct-lira direct-tmi-default"
    )
    assert " ".join(offered_by("model")) == f"threshold {thresholds} modified-entropy blind"
    assert " ".join(offered_by(REFERENCE)) == "calibrated rmia-offline"
    assert " ".join(offered_by("poisoning", first=("threshold",))) == "threshold lira lira-offline"


def test_an_attack_that_is_registered_is_offered_by_every_audit(monkeypatch):
    mine = replace(ATTACKS["lira"], name="mine", offered=Attack("x", "attack", "", (), one_signal).offered)
    known = Registry("no.such.group", "attack", {**ATTACKS, "mine": mine}, instance_of(Attack))
    monkeypatch.setattr(catalog, "ATTACKS", known)
    for audit in ("mia", "tmi", "score", "model", "poisoning"):
        assert "mine" in offered_by(audit)


def test_no_gate_counts_what_no_adversary_can_do():
    named = unrealistic()
    assert {"blind", "direct-lira", "direct-tmi-default", "direct-tmi-default - tmi-default"} <= named
    assert not named & {name for name, attack in ATTACKS.items() if attack.kind in ("attack", "baseline")}


def test_direct_access_may_be_a_likelihood_instead_of_logits():
    evidence = noise(7, 16, 20)
    direct = Evidence(evidence.member, pretrained_values=evidence.values)
    np.testing.assert_array_equal(scores("direct-lira", direct), scores("lira", evidence))


def test_without_values_the_confidence_in_the_label_is_read():
    evidence = replace(noise(4, 16, 20), values=None)
    values = label_confidence(evidence.logits, evidence.labels)
    expected = lira(Signals(values[SHADOWS], evidence.member[SHADOWS]), values[TARGETS])
    np.testing.assert_array_equal(scores("lira", evidence), expected)


def test_missing_names_the_absent_keys():
    full = noise(5, 8, 20)
    nothing = Evidence(full.member)
    assert all(missing(attack, full) is None for attack in ATTACKS.values())
    assert all(missing(attack, nothing) for attack in ATTACKS.values())
    assert missing(ATTACKS["loss"], nothing) == "missing logits and labels"
    assert missing(ATTACKS["loss"], Evidence(full.member, logits=full.logits)) == "missing labels"
    assert missing(ATTACKS["lira"], nothing) == "missing values, or logits and labels"
    assert missing(ATTACKS["lira"], Evidence(full.member, values=full.values)) is None
    direct = "missing pretrained_values, or pretrained_logits and pretrained_labels"
    assert missing(ATTACKS["direct-lira"], nothing) == direct
    with pytest.raises(BadInput, match="blind: missing features"):
        run(ATTACKS["blind"], nothing, SHADOWS, TARGETS, stream(0, "test"))


def test_an_unknown_name_is_answered_with_the_nearest():
    check_names(ATTACKS)
    with pytest.raises(ConfigError, match="did you mean 'lira-offline'"):
        check_names(["lira", "lira_offline"])


def test_importing_the_catalog_is_light():
    code = "import sys, undertow.attacks.catalog; print({'torch', 'scipy.stats'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
