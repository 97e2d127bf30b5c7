"""A gate fails when it should, passes when it may, and says so when it cannot know."""

from dataclasses import replace

import pytest

from undertow.metrics import Gate, VerdictGate, apply_gate, parse_gate
from undertow.types import ConfigError, GateUndecided, Measurement

LIRA = Measurement("lira", "tpr", 0.034, 0.021, 0.05, 16, "models", fpr=0.001)
RMIA = replace(LIRA, attack="rmia", value=0.002, low=0.001, high=0.004)
UNKNOWN = replace(LIRA, attack="loss", value=None, low=None, high=None, reason="not resolvable with 500 non-members")
NOBODY: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("tpr@0.1%>0.01", Gate("tpr", 0.001, 0.01)),
        (" tpr@1% > 5e-2 ", Gate("tpr", 0.01, 0.05)),
        ("tpr@0.010%>0", Gate("tpr", 0.0001, 0)),
        ("auc>0.6", Gate("auc", None, 0.6)),
        ("balanced_accuracy > 0.6", Gate("balanced_accuracy", None, 0.6)),
        ("tpr_difference@1%>0.05", Gate("tpr_difference", 0.01, 0.05)),
        ("auc_difference > 0", Gate("auc_difference", None, 0)),
        ("epsilon_lower>8", Gate("epsilon_lower", None, 8)),
        ("verdict!=safe", VerdictGate("!=", "safe")),
        (" verdict == suspicious ", VerdictGate("==", "suspicious")),
    ],
)
def test_conditions_are_read_and_written_back(text, gate):
    assert parse_gate(text) == gate
    assert parse_gate(str(gate)) == gate


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tpr@0.1>0.01", "FPR '0.1' has no % sign"),
        ("tpr@0.001>0.01", "no % sign"),
        ("tpr@5%>0.01", "FPR '5%' is not measured"),
        ("tpr@x%>0.01", "FPR 'x%' is not measured"),
        ("tpr@%>0.01", "FPR '%' is not measured"),
        ("tpr@>0.01", "FPR '' has no % sign"),
        ("tpr>0.01", "tpr needs an FPR"),
        ("auc@1%>0.6", "auc has no FPR"),
        ("auc>=0.6", "operator '>='"),
        ("auc<0.6", "operator '<'"),
        ("accuracy>0.6", "metric 'accuracy' is not measured"),
        ("AUC>0.6", "metric 'AUC' is not measured"),
        ("auc>60%", "threshold '60%'"),
        ("auc>1", "threshold '1'"),
        ("auc>-0.1", "threshold '-0.1'"),
        ("auc>nan", "threshold 'nan'"),
        ("auc 0.6", "not a condition"),
        ("tpr_difference>0.1", "tpr_difference needs an FPR"),
        ("auc_difference@1%>0.1", "auc_difference has no FPR"),
        ("epsilon_lower>-1", "threshold '-1' is not an epsilon"),
        ("epsilon_lower>inf", "threshold 'inf' is not an epsilon"),
        ("epsilon_lower@1%>1", "epsilon_lower has no FPR"),
        ("epsilon_claimed>8", "metric 'epsilon_claimed' is not measured"),
        ("verdict>safe", "compared by == or !="),
        ("verdict@1%!=safe", "compared by == or !="),
        ("verdict!=unknown", "verdict 'unknown' cannot be asked for"),
        ("verdict!=Safe", "verdict 'Safe'"),
        ("", "not a condition"),
    ],
)
def test_what_cannot_mean_anything_is_refused(text, why):
    with pytest.raises(ConfigError) as error:
        parse_gate(text)
    assert why in str(error.value)
    assert repr(text) in str(error.value)
    assert "tpr@0.1%>0.01" in str(error.value)


def test_within_the_gate_is_none():
    assert apply_gate(parse_gate("tpr@0.1%>0.04"), [LIRA, RMIA], NOBODY) is None


def test_exactly_at_the_threshold_is_within():
    assert apply_gate(parse_gate("tpr@0.1%>0.034"), [LIRA], NOBODY) is None


def test_every_attack_over_is_named_with_interval_and_unit():
    worse = replace(LIRA, attack="bavaria", value=0.5, low=0.25, high=0.75, n=900, unit="points")
    assert apply_gate(parse_gate("tpr@0.1%>0.01"), [LIRA, RMIA, worse], NOBODY) == (
        "tpr@0.1%>0.01: lira TPR@0.1% = 0.034 [0.021, 0.05] (n = 16 models); "
        "bavaria TPR@0.1% = 0.5 [0.25, 0.75] (n = 900 points)"
    )


def test_controls_skipped_attacks_and_other_rates_do_not_count():
    control = replace(LIRA, attack="control", group="no-pretraining")
    other_rate = replace(RMIA, value=0.9, fpr=0.01)
    rows = [LIRA, control, other_rate, RMIA]
    assert apply_gate(parse_gate("tpr@0.1%>0.01"), rows, frozenset({"lira"})) is None


def test_an_unknown_value_is_never_a_pass():
    with pytest.raises(GateUndecided, match="loss not resolvable with 500 non-members"):
        apply_gate(parse_gate("tpr@0.1%>0.01"), [RMIA, UNKNOWN], NOBODY)


def test_over_wins_against_unknown():
    assert "lira" in (apply_gate(parse_gate("tpr@0.1%>0.01"), [UNKNOWN, LIRA], NOBODY) or "")


@pytest.mark.parametrize("rows", [[], [LIRA], [replace(LIRA, metric="auc", fpr=None, group="control")]])
def test_no_row_that_counts_is_never_a_pass(rows):
    with pytest.raises(GateUndecided, match="no attack measured it"):
        apply_gate(parse_gate("auc>0.6"), rows, NOBODY)


MORE = Measurement(
    "lira",
    "tpr_difference",
    0.31,
    0.25,
    0.37,
    32,
    "models",
    fpr=0.01,
    group="poisoned",
    points="targets",
    recipe="full",
)


def test_a_difference_is_the_poisoned_arms_and_says_where():
    benign = replace(MORE, group="benign", value=0.9)
    gate = parse_gate("tpr_difference@1%>0.05")
    assert apply_gate(gate, [MORE, benign], NOBODY) == (
        "tpr_difference@1%>0.05: lira (targets, full) TPR@1%, difference = 0.31 [0.25, 0.37] (n = 32 models)"
    )
    assert apply_gate(gate, [replace(MORE, value=0.01), benign], NOBODY) is None
    with pytest.raises(GateUndecided):
        apply_gate(gate, [benign], NOBODY)


def test_rates_of_the_poisoned_arm_count_and_those_of_the_controls_and_of_a_sweep_do_not():
    arm = replace(MORE, metric="tpr", value=0.02)
    others = [replace(arm, group="clean", value=0.9), replace(arm, group="benign", value=0.9), replace(arm, at=800.0)]
    over = [*others[:2], replace(others[2], value=0.9)]
    assert apply_gate(parse_gate("tpr@1%>0.05"), [arm, *over], NOBODY) is None
    assert apply_gate(parse_gate("tpr@1%>0.01"), [arm, *over], NOBODY)
    with pytest.raises(GateUndecided):
        apply_gate(parse_gate("tpr@1%>0.05"), over, NOBODY)


def test_a_value_without_an_interval_is_over_all_the_same():
    alone = replace(MORE, low=None, high=None)
    assert "0.31 no interval" in (apply_gate(parse_gate("tpr_difference@1%>0.05"), [alone], NOBODY) or "")


@pytest.mark.parametrize(("gate", "verdict"), [("verdict!=safe", "suspicious"), ("verdict==suspicious", "suspicious")])
def test_a_suspicious_checkpoint_is_over(gate, verdict):
    assert apply_gate(parse_gate(gate), [], NOBODY, verdict) == f"{gate}: the verdict is suspicious"
    assert apply_gate(parse_gate(gate), [], NOBODY, "safe") is None


@pytest.mark.parametrize("gate", ["verdict!=safe", "verdict==suspicious"])
@pytest.mark.parametrize("verdict", ["unknown", None])
def test_no_verdict_is_never_a_pass(gate, verdict):
    with pytest.raises(GateUndecided, match="verdict"):
        apply_gate(parse_gate(gate), [], NOBODY, verdict)


LOWER = Measurement("dp", "epsilon_lower", 6.7, None, None, 2000, "runs", bound="gdp", assumes="gdp", headline=True)
OTHER = replace(LOWER, value=9.0, bound="joint-beta", headline=None)


def test_of_the_lower_bounds_only_the_headline_decides():
    gate = parse_gate("epsilon_lower>8")
    assert apply_gate(gate, [LOWER, OTHER], NOBODY) is None
    over = apply_gate(gate, [replace(LOWER, headline=None), replace(OTHER, headline=True)], NOBODY)
    assert over is not None
    assert "epsilon, lower bound = 9" in over
    with pytest.raises(GateUndecided):
        apply_gate(gate, [OTHER], NOBODY)
