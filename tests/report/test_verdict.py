"""The words: a leak, chance, what voids the numbers, and nothing that claims safety."""

from dataclasses import replace

import pytest

from undertow.report.checks import checks
from undertow.report.doubt import lower_limit, upper_limit
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
        "The finetuned models leak who was in the pretraining data: the best attack, tmi, reaches "
        "AUC 0.700 [0.670, 0.730]; guessing gives 0.5."
    )
    people = "of 100 members, about 8 [6, 10] are identified while 1 of 100 non-members is wrongly accused"
    assert people in whole(result)
    assert "confidence, reaches AUC 0.540 [0.510, 0.570]: the interval of tmi lies above it" in whole(result)


def test_the_audit_decides_whose_data_leaks(said):
    assert "in the finetuning data" in reading(said("mia", lira=LEAK))[0]
    assert "in their training data" in reading(said("score", lira=LEAK))[0]


def test_at_chance_nothing_was_shown_and_nothing_is_safe(said):
    result = said(tmi=(0.512, 0.487, 0.538), confidence=CHANCE, blind=CHANCE)
    assert verdict(result).state == "not-shown"
    assert reading(result)[0] == (
        "No leak was shown by these attacks at this sample size: the best AUC is 0.512 [0.487, 0.538] (tmi)."
    )
    assert "compatible with an AUC as high as 0.538" in whole(result)


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
    assert "picked from 8 attacks" in reading(many)[0]
    assert "tmi is the best of 8 attacks on the same data, and picking the best is optimistic" in whole(many)


def test_a_blind_guess_above_chance_voids_everything(said):
    result = said(tmi=LEAK, blind=(0.6, 0.56, 0.64))
    assert verdict(result).state == "confounded"
    assert "do not measure membership leakage" in reading(result)[0]
    assert "no number here is membership leakage" in whole(result)


def test_a_blind_guess_just_above_chance_asks_for_another_seed(said):
    result = said(tmi=LEAK, blind=(0.516, 0.501, 0.531))
    assert verdict(result).state == "doubtful"
    assert "blind reaches AUC 0.516 [0.501, 0.531] without asking any model" in reading(result)[0]
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


def test_an_attack_that_identifies_more_at_a_rate_is_named(said):
    rates = [tpr("tmi", 0.08, 0.06, 0.1), tpr("tmi-lda", 0.12, 0.1, 0.14)]
    assert "wrongly accused (tmi-lda: 12 [10, 14])." in whole(said(tpr=rates, tmi=LEAK, tmi_lda=(0.69, 0.66, 0.72)))


def test_few_exposed_records_are_a_hint_even_where_the_auc_is_at_chance(said):
    hint = said("mia", tpr=[tpr("lira", 0.05, 0.035, 0.07)], lira=(0.505, 0.49, 0.52))
    noisy = said("mia", tpr=[tpr("lira", 0.05, 0.035, 0.07, warning="only 2 expected")], lira=(0.505, 0.49, 0.52))
    assert verdict(hint).state == "hint"
    assert "of 100 members, about 5 [4, 7] are identified" in reading(hint)[0]
    assert verdict(noisy).state == "not-shown"


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ((0.9, 0.88, 0.92), "more than tmi, so only part of it was recovered"),
        ((0.71, 0.68, 0.74), "not shown that finetuning hides anything"),
        ((0.6, 0.57, 0.63), "less than tmi, so it bounds nothing here"),
        (CHANCE, "not above chance either"),
    ],
)
def test_the_upper_bound_says_how_much_there_was_to_find(said, bound, words):
    assert words in whole(said(tmi=LEAK, direct_lira=bound))


def test_a_baseline_that_does_best_is_the_attack(said):
    result = said("mia", lira=(0.55, 0.52, 0.58), loss=(0.6, 0.57, 0.63))
    assert "the best attack, loss, reaches" in reading(result)[0]
    assert "loss needs no shadow models" in whole(result)


def test_a_flipped_sign_is_suspected_below_chance(said):
    assert "flipped sign" in whole(said("score", lira=(0.3, 0.27, 0.33)))
    assert "flipped sign" not in whole(said("score", lira=(0.48, 0.46, 0.505)))


def test_points_of_one_model_say_nothing_about_another(said):
    result = said("score", lira=LEAK)
    result = replace(result, measurements=(replace(result.measurements[0], unit="points", n=400),))
    assert "400 points inside one trained model" in whole(result)
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
