"""The words: a leak, chance, what voids the numbers, and nothing that claims safety."""

from dataclasses import replace

import pytest

from undertow.report.best import best_at, most_exposing
from undertow.report.checks import checks
from undertow.report.doubt import lower_limit, upper_limit
from undertow.report.lines import warnings
from undertow.report.prose import threat_model
from undertow.report.rows import sections
from undertow.report.verdict import BADGES, reading, verdict
from undertow.types import Measurement

CHANCE = (0.5, 0.48, 0.52)
LEAK = (0.7, 0.67, 0.73)


def tpr(attack, value, low, high, fpr=0.01, **more):
    return Measurement(attack, "tpr", value, low, high, 16, "models", fpr=fpr, **more)


def whole(result):
    return " ".join(reading(result))


def test_a_leak_is_named_with_its_interval_and_in_people(said):
    result = said(tpr=[tpr("tmi", 0.08, 0.06, 0.1)], tmi=LEAK, confidence=(0.54, 0.51, 0.57), blind=CHANCE)
    assert verdict(result).state == "leak"
    assert reading(result)[0] == (
        "An adversary who holds a record, queries only the finetuned models and has shadow models of its own can tell, "
        "better than by guessing, whether the record was in the pretraining data: the best of 2 attacks, tmi, reaches "
        "AUC 0.700 (95% interval 0.665 to 0.735, allowing for the choice), where guessing gives 0.5."
    )
    people = (
        "Of 100 members, tmi identifies about 8 (95% interval 6 to 10), while 1 of 100 non-members is wrongly accused."
    )
    assert people in whole(result)
    assert "confidence, reaches AUC 0.540 (95% interval 0.510 to 0.570), and the interval of tmi lies above" in whole(
        result
    )


def test_the_audit_decides_whose_data_leaks(said):
    assert "in the finetuning data" in reading(said("mia", lira=LEAK))[0]
    assert "in the training data" in reading(said("score", lira=LEAK))[0]


def test_at_chance_nothing_was_shown_and_nothing_is_safe(said):
    result = said(tmi=(0.512, 0.487, 0.538), confidence=CHANCE, blind=CHANCE)
    assert verdict(result).state == "not-shown"
    assert "was not shown to tell, better than by guessing" in reading(result)[0]
    assert "tmi, reaches AUC 0.512 (95% interval 0.4" in reading(result)[0]
    assert "a leak is not ruled out" in reading(result)[0]


@pytest.mark.parametrize("best", [CHANCE, LEAK, (0.45, 0.43, 0.47), (1.0, 0.99, 1.0)])
def test_no_reading_claims_safety(said, best):
    words = whole(said(tmi=best, loss=CHANCE, blind=CHANCE)).lower()
    assert not any(claim in words for claim in ("is safe", "no leak.", "does not leak", "is private", "protected"))


def test_picking_the_best_of_many_is_corrected_for(said):
    one = said(tmi=(0.52, 0.503, 0.537), blind=CHANCE)
    names = ("tmi", "tmi_lda", "tmi_knn", "tmi_global", "adapted_lira", "entropy", "confidence", "margin")
    many = said(**dict.fromkeys(names, CHANCE) | {"tmi": (0.52, 0.503, 0.537)}, blind=CHANCE)
    assert verdict(one).state == "leak"
    assert verdict(many).state == "not-shown"
    assert "the best of 8 attacks, tmi, reaches AUC 0.520 (95% interval 0.4" in reading(many)[0]
    assert "allowing for the choice" in reading(many)[0]
    assert "allowing for the choice" not in reading(one)[0]


def test_a_blind_guess_above_chance_voids_everything(said):
    result = said(tmi=LEAK, blind=(0.6, 0.56, 0.64))
    assert verdict(result).state == "confounded"
    assert "do not measure membership leakage" in reading(result)[0]
    assert "no number here is membership leakage" in whole(result)


def test_a_blind_guess_just_above_chance_asks_for_another_seed(said):
    result = said(tmi=LEAK, blind=(0.516, 0.501, 0.531))
    assert verdict(result).state == "doubtful"
    assert "blind reaches AUC 0.516 (95% interval 0.501 to 0.531) without asking any model" in reading(result)[0]
    assert "another seed" in whole(result)


def test_a_control_above_chance_is_not_to_be_relied_on(said):
    result = said(tmi=LEAK, blind=CHANCE, **{"tmi/no-pretraining": (0.56, 0.53, 0.59)})
    assert verdict(result).state == "doubtful"
    assert "on the control (no-pretraining), where there should be nothing to find" in reading(result)[0]
    assert [c.passed for c in checks(result) if "control" in c.name] == [False]


def test_a_control_at_chance_supports_the_leak(said):
    result = said(tmi=LEAK, tmi_knn=CHANCE, blind=CHANCE, **{"tmi/no-pretraining": CHANCE})
    assert verdict(result).state == "leak"
    assert "at chance, and tmi lies above it" in whole(result)


def test_one_lucky_row_among_the_controls_is_told_but_does_not_void(said):
    names = ("tmi", "tmi-lda", "tmi-knn", "tmi-global", "entropy", "margin")
    controls = {f"{name}/no-pretraining": CHANCE for name in names}
    result = said(tmi=LEAK, blind=CHANCE, **controls | {"margin/no-pretraining": (0.52, 0.502, 0.538)})
    assert verdict(result).state == "leak"
    assert "1 of 6 control rows (margin) lie above chance; about 1 in 40 does by luck" in whole(result)


def test_what_was_not_checked_is_said(said):
    assert "No blind guess was made" in whole(said(tmi=LEAK))
    assert "No control was run" in whole(said(tmi=LEAK))
    assert "control" not in whole(said("mia", lira=LEAK))


def test_a_rate_that_cannot_be_resolved_is_unknown_not_zero(said):
    none = tpr("tmi", None, None, None, fpr=0.0001, reason="not resolvable with 800 non-members")
    words = whole(said(tpr=[none], tmi=LEAK))
    assert "0.01%: not resolvable with 800 non-members): unknown, not zero" in words


def test_each_rate_is_told_of_the_attack_that_is_best_there(said):
    rates = [tpr("tmi", 0.08, 0.06, 0.1), tpr("tmi-lda", 0.12, 0.1, 0.14)]
    result = said(tpr=rates, tmi=LEAK, tmi_lda=(0.69, 0.66, 0.72))
    assert "the best of 2 attacks, tmi-lda, identifies about 12" in whole(result)
    assert "tmi identifies" not in whole(result)
    best = best_at(result, "TPR@1%")
    assert best.m.low == pytest.approx(lower_limit(rates[1], 2))
    assert best.m.high == pytest.approx(upper_limit(rates[1], 2))
    assert most_exposing(result).row.attack == "tmi-lda"


def test_records_are_ranked_by_the_strictest_rate_that_the_sample_settles(said):
    loose, strict = (
        [tpr("tmi", 0.1, 0.08, 0.12), tpr("tmi-lda", 0.05, 0.03, 0.07)],
        tpr("tmi-lda", 0.09, 0.07, 0.11, 0.001),
    )
    aucs = {"tmi": LEAK, "tmi_lda": (0.69, 0.66, 0.72)}
    assert most_exposing(said(tpr=[*loose, strict], **aucs)).row.attack == "tmi-lda"
    noisy = replace(strict, warning="only 2 expected false positives")
    assert most_exposing(said(tpr=[*loose, noisy], **aucs)).row.attack == "tmi"
    nothing = [tpr("tmi-lda", 0.01, 0.0, 0.02)]
    assert most_exposing(said(tpr=nothing, **aucs)).m.metric == "auc"


def test_the_test_behind_the_badge_decides_it(said):
    """Whatever the interval says: the test knows the design."""
    leak = {"shown": False, "attack": "lira", "value": 0.7, "low": 0.67, "chance": 0.5, "choices": 1, "p": 0.2}
    result = said("mia", lira=LEAK)
    assert verdict(result).state == "leak"
    assert verdict(replace(result, leak=leak)).state == "not-shown"
    weak = said("mia", lira=(0.51, 0.49, 0.53))
    assert verdict(replace(weak, leak={**leak, "shown": True})).state == "leak"


@pytest.mark.parametrize(
    ("audit", "n", "unit", "design", "state"),
    [
        ("mia", 2, "models", "", "undecided-models"),
        ("mia", 3, "models", "", "not-shown"),
        ("tmi", 200, "points", "", "undecided-models"),
        ("score", 2, "models", "held-out victims", "undecided-models"),
        ("score", 2, "models", "complementary pairs, in turn", "not-shown"),
        ("score", 200, "points", "one model", "not-shown"),
    ],
)
def test_a_training_procedure_is_not_judged_by_one_or_two_models(said, audit, n, unit, design, state):
    result = said(audit, lira=(0.51, 0.46, 0.56))
    row = replace(result.measurements[0], n=n, unit=unit, members=900, non_members=900)
    assert verdict(replace(result, measurements=(row,), design={"name": design} if design else {})).state == state


@pytest.mark.parametrize(
    ("members", "half", "state"),
    [(900, 0.099, "not-shown"), (900, 0.101, "undecided-models"), (20, 0.101, "undecided-records")],
)
def test_a_wide_interval_is_undecided_and_says_what_is_missing(said, members, half, state):
    result = said("mia", lira=(0.5, 0.5 - half, 0.5 + half))
    row = replace(result.measurements[0], members=members, non_members=900)
    found = verdict(replace(result, measurements=(row,)))
    assert found.state == state
    assert ("Undecided" in found.badge) is ("Too few" in found.headline) is (state != "not-shown")


def test_few_exposed_records_are_a_hint_even_where_the_auc_is_at_chance(said):
    hint = said("mia", tpr=[tpr("lira", 0.05, 0.035, 0.07)], lira=(0.505, 0.49, 0.52))
    noisy = said("mia", tpr=[tpr("lira", 0.05, 0.035, 0.07, warning="only 2 expected")], lira=(0.505, 0.49, 0.52))
    assert verdict(hint).state == "hint"
    assert "of 100 members, lira identifies about 5 (95% interval 4 to 7)" in reading(hint)[0]
    assert verdict(noisy).state == "not-shown"


@pytest.mark.parametrize(
    ("direct", "words"),
    [
        (
            (0.9, 0.88, 0.92),
            "AUC 0.900 (95% interval 0.880 to 0.920); through the finetuned model tmi",
        ),
        (CHANCE, "even there it was not shown to do better than guessing"),
    ],
)
def test_without_a_paired_difference_nothing_is_claimed_about_what_finetuning_hides(said, direct, words):
    result = said(tmi=LEAK, direct_lira=direct)
    assert words in whole(result)
    assert "hides" not in whole(result)


def test_a_paired_difference_is_no_row_of_the_table(said):
    pair = Measurement("direct-tmi - tmi", "auc_difference", 0.2, 0.18, 0.22, 16, "models")
    at = Measurement("tmi", "auc", 0.6, 0.58, 0.62, 16, "models", at=1.0, group="asked together")
    result = said(tmi=LEAK, direct_tmi=(0.9, 0.88, 0.92))
    result = replace(result, measurements=(*result.measurements, pair, at))
    assert {row.attack for section in sections(result) for row in section.rows} == {"tmi", "direct-tmi"}
    assert "finetuning hides 0.200 (95% interval 0.180 to 0.220) of it" in whole(result)


def test_a_baseline_that_does_best_is_the_attack(said):
    result = said("mia", lira=(0.55, 0.52, 0.58), loss=(0.6, 0.59, 0.61))
    assert "the best of 2 attacks, loss, reaches" in reading(result)[0]
    assert "shadow models" not in reading(result)[0]
    assert "Shadow models are not needed" in whole(result)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ((0.386, 0.36, 0.413), "It was not shown that shadow models add to the attack"),
        ((0.2, 0.18, 0.22), "Shadow models are not needed"),
        ((0.46, 0.44, 0.48), "Shadow models add to the attack"),
    ],
)
def test_a_baseline_is_worth_what_an_adversary_could_do_with_it(said, loss, says):
    result = said("score", lira=(0.62, 0.595, 0.645), loss=loss)
    assert f"{says}: without them the best baseline, loss with its sign turned round" in whole(result)
    assert "lower means member for loss" in whole(result)


def test_a_flipped_sign_is_suspected_below_chance(said):
    assert "sign of the signals" in whole(said("score", lira=(0.3, 0.27, 0.33)))
    assert "the sign" not in whole(said("score", lira=(0.48, 0.46, 0.505)))


def test_an_attack_that_takes_higher_for_member_did_not_learn_the_sign(said):
    """Offline LiRA and RMIA see no direction: only attacks that learn from both sides are said to have learned it."""
    assert "which learned from other models which way" not in whole(
        said("score", **{"lira-offline": (0.3, 0.27, 0.33)})
    )
    assert "lower means member for lira-offline" in whole(said("score", **{"lira-offline": (0.3, 0.27, 0.33)}))
    assert "lira (AUC 0.300), which learned from other models" in whole(said("score", lira=(0.3, 0.27, 0.33)))


def test_a_handful_of_records_is_undecided_however_many_models_were_asked(said):
    result = said("score", lira=(0.5, 0.45, 0.55))
    row = replace(result.measurements[0], members=900, non_members=900)
    for points, state in ((3, "undecided-records"), (300, "not-shown")):
        design = {"name": "complementary pairs, in turn", "models": 600, "points": points}
        found = verdict(replace(result, measurements=(row,), design=design))
        assert found.state == state
        assert ("the file has 3 records" in found.headline) is (points == 3)


def test_points_of_one_model_say_nothing_about_another(said):
    result = said("score", lira=LEAK)
    result = replace(result, measurements=(replace(result.measurements[0], unit="points", n=400),))
    assert "400 records inside one trained model" in whole(result)
    assert [c.passed for c in checks(result) if "training procedure" in c.name] == [None]


def test_without_an_interval_nothing_is_decided(said):
    assert verdict(said(tmi=(0.9, None, None))).state == "undecided"
    assert verdict(said(blind=CHANCE)).state == "undecided"
    none = Measurement("tmi", "auc", None, None, None, 1, "models", reason="no members")
    result = replace(said(blind=CHANCE), measurements=(none,))
    assert reading(result)[0] == "Nothing can be said: no attack gave an AUC (no members)."


def test_a_wider_choice_lowers_the_limit_and_a_mirror_raises_it():
    m = Measurement("lira", "auc", 0.7, 0.67, 0.73, 16, "models")
    assert m.low == pytest.approx(lower_limit(m, 1))
    assert m.high == pytest.approx(upper_limit(m, 1))
    assert lower_limit(m, 20) < lower_limit(m, 2) < m.low
    assert lower_limit(replace(m, value=1.0, low=0.9, high=1.0), 5) < 0.9
    assert lower_limit(replace(m, low=None), 2) == 0.0
    assert upper_limit(replace(m, low=None), 2) == 1.0


def test_every_state_has_a_badge(said, tmi, null):
    assert {verdict(tmi).state, verdict(null).state} == {"leak", "not-shown"}
    assert verdict(tmi).badge == BADGES["leak"]


def test_the_adversary_who_asks_about_many_records_does_not_hold_one(said):
    result = said(tmi_default=LEAK, tmi=(0.6, 0.57, 0.63))
    many = replace(result, environment={"asked together": {"tmi-default": 200}})
    assert "holds a record" in " ".join(threat_model(result))
    assert "holds a record" not in " ".join(threat_model(many))
    assert "holds 200 records and asks about all of them together" in " ".join(threat_model(many))
    assert "holds 200 records" in reading(many)[0]
    assert "holds a record" in reading(result)[0]


def test_few_degrees_of_freedom_are_a_warning_of_the_number_they_concern_only(said):
    result = said("mia", tpr=[tpr("lira", 0.1, 0.05, 0.15, df=4.5), tpr("rmia", 0.1, 0.05, 0.15, df=7.0)], lira=LEAK)
    (text,) = warnings(result)
    assert text.startswith("TPR@1% of lira, rmia: the intervals rest on few degrees of freedom (df = 4.5 to 7)")
    assert warnings(said("mia", tpr=[tpr("lira", 0.1, 0.05, 0.15, df=10.0)], lira=LEAK)) == ()


def test_one_split_repeated_says_that_the_record_is_the_unit(said):
    result = said("score", loss=(0.56, 0.49, 0.63))
    row = replace(result.measurements[0], unit="points", n=200)
    result = replace(result, measurements=(row,), design={"name": "one split, repeated", "models": 8, "draws": 1.0})
    (found,) = (c for c in checks(result) if "training procedure" in c.name)
    assert found.passed is None
    assert (
        "the 8 models were trained on the same records (or on exactly the others), so the unit is the record (n = 200)"
        in found.text
    )
