"""The same rule on the pretrained and on the finetuned models, and the paired difference of the two."""

from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.auc import auc
from tests.oracles.noise import noise

from undertow.attacks.catalog import unrealistic
from undertow.audits.leakage import attack_all, measure_all
from undertow.audits.membership.direct import CLASSES, direct_differences, too_costly
from undertow.audits.membership.together import together_rows
from undertow.engine.membership import Fold
from undertow.metrics import FPRS, apply_gate, parse_gate
from undertow.rng import stream
from undertow.types import GateUndecided, Scores

FOLDS = [Fold(np.arange(16, 24), np.arange(16))]
TWIN = "direct-tmi-default - tmi-default"


def scored(seed, direct=2.0, finetuned=0.7, names=("tmi-default", "tmi-lda", "direct-tmi-default")):
    """Scores on a leak that is larger before finetuning than after."""
    clean = noise(seed, 24, 80)
    own = clean.member[:, :, None, None] * np.eye(4)[clean.labels][None, :, None]
    shown = replace(
        clean,
        logits=clean.logits + finetuned * own,
        pretrained_logits=clean.pretrained_logits + direct * own,
    )
    return attack_all(shown, FOLDS, names, seed)


def tpr_slowly(scores, fpr):
    """The largest share of members above a threshold that at most a share `fpr` of the non-members lie above."""
    members, others = scores.values[scores.member], scores.values[~scores.member]
    return max((members > x).mean() for x in scores.values.ravel() if (others > x).sum() <= np.floor(len(others) * fpr))


def test_the_difference_is_that_of_the_two_values():
    own, _, direct = scores = scored(0)
    rows = {(m.metric, m.fpr): m for m in direct_differences(scores)}
    assert list(rows) == [("auc_difference", None), *(("tpr_difference", fpr) for fpr in FPRS)]
    assert {(m.attack, m.group, m.at) for m in rows.values()} == {(TWIN, None, None)}
    slowly = auc(direct.values, direct.member) - auc(own.values, own.member)
    assert abs(rows["auc_difference", None].value - slowly) < 1e-12
    slowly = tpr_slowly(direct, 0.01) - tpr_slowly(own, 0.01)
    assert abs(rows["tpr_difference", 0.01].value - slowly) < 1e-12
    assert rows["tpr_difference", 0.0001].reason


def test_the_pairs_are_read_together():
    """Equal scores differ by nothing, surely; unpaired intervals would say that they might."""
    own, _, _ = scored(1)
    (row, *_) = direct_differences([own, replace(own, attack="direct-tmi-default")])
    assert row.value == 0
    assert abs(row.low) < 1e-9
    assert abs(row.high) < 1e-9


def test_what_finetuning_hides_is_shown_and_has_a_sign():
    (hidden, *_) = direct_differences(scored(2))
    assert hidden.low > 0
    (more, *_) = direct_differences(scored(2, direct=0.7, finetuned=2.0))
    assert more.high < 0


def test_only_where_both_ran():
    assert not direct_differences(scored(3, names=("tmi-default", "tmi-lda")))
    assert not direct_differences(scored(3, names=("direct-tmi-default", "tmi-lda")))
    named = {m.attack for m in direct_differences(scored(3, names=("tmi-lda", "direct-tmi-lda", "direct-lira")))}
    assert named == {"direct-tmi-lda - tmi-lda"}


def test_one_victim_is_compared_over_its_records():
    one = [Scores(s.attack, s.values[:1], s.member[:1]) for s in scored(4)]
    (row, *_) = direct_differences(one)
    assert row.unit == "points"
    assert row.low < row.value < row.high


def test_scores_on_different_records_are_not_compared():
    own, _, direct = scored(5)
    ids = tuple(map(str, range(80)))
    assert not direct_differences([replace(own, ids=ids), direct])


def test_many_classes_of_the_pretraining_are_not_run_unasked():
    few, rng = noise(5, 8, 4), stream(5, "test")
    assert too_costly(few) is None
    assert too_costly(replace(few, pretrained_logits=None)) is None
    many = replace(few, pretrained_logits=rng.normal(size=(8, 4, 1, CLASSES + 1)))
    said = too_costly(many)
    assert said["attack"] == "direct-tmi-default"
    assert str(CLASSES + 1) in said["reason"]
    assert "attacks" in said["fix"]


def test_no_gate_is_decided_by_direct_access_or_by_fewer_records():
    """Nor does a gate on a difference, which is for poisoning, take direct access for the poison."""
    clean, scores = noise(6, 24, 80), scored(6, direct=4.0, finetuned=0.3)
    rows = measure_all(scores, 0) + direct_differences(scores)
    value = {m.attack: m.value for m in rows if m.metric == "auc"}
    assert value["direct-tmi-default"] > 0.9 > value["tmi-default"]
    assert apply_gate(parse_gate("auc>0.9"), rows, unrealistic()) is None
    few = together_rows(clean, FOLDS, scores, ["tmi-default"], 0)
    with pytest.raises(GateUndecided, match="no attack measured it"):
        apply_gate(parse_gate("auc>0.1"), few, unrealistic())
    with pytest.raises(GateUndecided, match="no attack measured it"):
        apply_gate(parse_gate("auc_difference>0"), rows, unrealistic())
