"""A person's own pretraining and finetuning: membership in pretraining, seen through the finetuned model alone."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from toys import records

import undertow as ut
from undertow.rng import stream

DOWNSTREAM = 5  # classes of finetuning: others than the three of the records


def pretrain(part, seed):
    return {row.tobytes() for row in part.x}


def finetune(model, seed):
    rng = stream(seed, "toy finetuning")

    def predict(x):
        seen = np.array([row.tobytes() in model for row in x])
        return rng.normal(size=(len(x), DOWNSTREAM)) + 2.5 * np.outer(seen, np.linspace(-1, 1, DOWNSTREAM))

    return predict


def test_pretraining_that_shines_through_is_found(tmp_path):
    result = ut.audit_tmi(pretrain=pretrain, finetune=finetune, records=records(), shadows=16, out=tmp_path / "run")
    assert result.audit == "tmi"
    assert result.find("tmi-lda", "auc").low > 0.7
    assert {"loss", "margin"}.isdisjoint(s.attack for s in result.scores)  # the classes are others
    said = " ".join(ut.summary(result).split())
    assert "Membership in your pretraining data (tmi)" in said
    assert "Your own training, 16 runs of it" in said
    assert "Membership in your pretraining data" in (tmp_path / "run" / "report.html").read_text()


def test_pretraining_that_is_forgotten_is_at_chance():
    def forget(model, seed):
        return finetune(set(), seed)

    row = ut.audit_tmi(pretrain=pretrain, finetune=forget, records=records(), shadows=16, attacks=["tmi-lda"])
    found = row.find("tmi-lda", "auc")
    assert found.low < 0.5 < found.high


def test_either_stage_that_changes_is_trained_again(tmp_path):
    def other(model, seed):
        return finetune(model, seed + 1)

    more = {"records": records(), "shadows": 4, "attacks": ["confidence"], "store": tmp_path}
    ut.audit_tmi(pretrain=pretrain, finetune=finetune, **more)
    same = ut.audit_tmi(pretrain=pretrain, finetune=finetune, **more)
    changed = ut.audit_tmi(pretrain=pretrain, finetune=other, **more)
    taken = [r.environment["own training"]["taken from the store"] for r in (same, changed)]
    assert taken == [4, 0]


WRONG = {
    "no finetune": ({"pretrain": pretrain}, "finetune is a NoneType"),
    "no pretrain": ({"finetune": finetune}, "pretrain is a NoneType"),
    "no arguments": ({"pretrain": lambda: None, "finetune": finetune}, r"called as pretrain\(records, seed\)"),
    "nothing pretrained": ({"pretrain": lambda part, seed: None, "finetune": finetune}, "pretrain returned nothing"),
    "nothing finetuned": ({"pretrain": pretrain, "finetune": lambda model, seed: None}, "finetune returned nothing"),
    "nothing": ({}, "needs pretrain=, finetune= and records="),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_stages_are_one_line(case):
    given, said = WRONG[case]
    with pytest.raises(ut.AuditError, match=said) as caught:
        ut.audit_tmi(records=records(), **given)
    assert "\n" not in str(caught.value)
