"""The auditor's side: false alarms as often as said, power against few odd records, and a verdict never kind."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
from tests.audits.poisoning.poison_games import REAL, host

from undertow.audits.poisoning.game import lay_table, published
from undertow.audits.poisoning.suspicion import (
    ALPHA,
    SHIFT,
    WORSE,
    Look,
    amplification,
    anomaly,
    apart,
    audit_checkpoint,
    leak,
    overall,
    shift,
)
from undertow.metrics.student import mean_interval
from undertow.rng import stream
from undertow.storage.data.poison_source import load_poisoning
from undertow.types import Measurement, Scores

DRAWS = 600


def draws(count, *purpose):
    return [stream(5, *purpose, i) for i in range(count)]


@pytest.mark.parametrize(("n", "m"), [(60, 60), (40, 150), (7, 20)])
@pytest.mark.parametrize("ties", [False, True])
def test_exchangeable_samples_are_told_apart_no_oftener_than_alpha(n, m, ties):
    alarms = 0
    for rng in draws(DRAWS, "null", n):
        own, other = rng.exponential(size=n), rng.exponential(size=m)
        if ties:
            own, other = np.round(own), np.round(other)
        alarms += apart(own, other) < ALPHA
    assert alarms / DRAWS <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / DRAWS)


@pytest.mark.parametrize("where", ["up", "down", "everywhere"])
def test_a_shifted_tenth_is_seen_and_so_is_a_shift_of_all(where):
    seen = 0
    for rng in draws(40, "power"):
        own, other = rng.normal(size=(2, 400))
        if where == "everywhere":
            own = own + 0.5
        else:
            own[:40] += 5 if where == "up" else -5
        seen += apart(own, other) < ALPHA
    assert seen >= 38


def look(verdict):
    return Look("a test", verdict, "", "")


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        (("safe", "safe"), "safe"),
        (("safe", "unknown"), "unknown"),
        (("unknown", "suspicious", "safe"), "suspicious"),
        (("unknown", "unknown"), "unknown"),
    ],
)
def test_safe_only_where_everything_ran_and_nothing_was_found(verdicts, says):
    assert overall([look(v) for v in verdicts]) == overall([look(v) for v in reversed(verdicts)]) == says


def test_without_look_alikes_the_losses_say_nothing():
    loss = stream(0, "loss").normal(size=50)
    for own in (np.ones(50, bool), np.zeros(50, bool)):
        assert anomaly(loss, own).verdict == "unknown"
        assert shift(loss / 10, own, 0.0).verdict == "unknown"
        assert shift(loss / 10 + 2 * SHIFT, own, 0.0).verdict == "suspicious"


def test_a_move_of_all_my_records_is_measured_against_ordinary_data():
    own = np.arange(100) < 50
    moved = stream(0, "moved").normal(size=100) / 10 + 1.5 * SHIFT
    assert shift(moved, own, 0.0).verdict == "suspicious"
    assert shift(moved, own, 1.5 * SHIFT).verdict == "safe"
    assert shift(moved - 3 * SHIFT, own, 0.0).verdict == "suspicious"  # downwards too
    alone = np.where(own, moved + 1, moved)
    assert shift(alone, own, float(alone.mean())).verdict == "suspicious"


def difference(value, low, high, metric="auc_difference", fpr=None, attack="lira", reason=None):
    return Measurement(attack, metric, value, low, high, 8, "models", fpr, "suspect", "targets", reason=reason)


OWN = np.arange(120) < 60
ALIKE = np.tile(np.arange(60.0), 2)  # my records gained what look-alikes did


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([difference(0.30, 0.25, 0.35)], "suspicious"),
        ([difference(0.20, 0.0, 0.4)], "safe"),  # above the limit, and not surely
        ([difference(WORSE + 0.001, WORSE, WORSE + 0.002)], "safe"),
        ([difference(WORSE - 0.01, WORSE - 0.011, WORSE - 0.009)], "safe"),  # surely a rise, and a small one
        ([difference(0.0, -0.1, 0.1), difference(0.3, 0.25, 0.35, "tpr_difference", 0.01)], "suspicious"),
        ([difference(0.0, -0.1, 0.1), difference(0.3, 0.25, 0.35, "tpr_difference", 0.001)], "safe"),
        ([difference(0.3, 0.25, 0.35, attack="loss"), difference(0.0, -0.1, 0.1)], "safe"),
        ([difference(0.0, 0.0, 0.0)], "safe"),  # a checkpoint judged against itself
        ([difference(None, None, None, reason="too few")], "unknown"),
        ([], "unknown"),
    ],
)
def test_amplification_must_surely_be_above_the_limit(rows, says):
    assert amplification(rows, ALIKE, OWN).verdict == says


def test_more_rows_need_more_evidence():
    row, nothing = difference(0.25, 0.15, 0.35), difference(0.0, -0.05, 0.05)
    assert amplification([row], ALIKE, OWN).verdict == "suspicious"
    assert amplification([row, nothing, nothing, nothing], ALIKE, OWN).verdict == "safe"


def test_a_rise_of_my_records_alone_is_seen_below_the_limit():
    rows = [difference(0.03, 0.02, 0.04)]
    more = np.where(OWN & (np.arange(120) % 4 == 0), ALIKE + 100, ALIKE)
    assert amplification(rows, more, OWN).verdict == "suspicious"
    assert amplification(rows, ALIKE + 100, OWN).verdict == "safe"  # all alike: training does that too
    assert amplification(rows, more, np.ones(120, bool)).verdict == "safe"  # nothing to compare with


def test_the_leak_of_a_record_is_its_gap_between_members_and_others():
    member = np.array([[True, False], [True, True], [False, True]])
    values = np.array([[3.0, 1.0], [5.0, 2.0], [1.0, 4.0]])
    np.testing.assert_array_equal(leak(Scores("a", values, member)), [3.0, 2.0])


@pytest.mark.parametrize("models", [8, 32])
def test_a_rise_of_the_limit_alarms_no_oftener_than_alpha(models):
    """Four rows, whose models differ in how much more they leak, and whose mean is the limit."""
    alarms = 0
    for rng in draws(4 * DRAWS, "game", models):
        rows = []
        for metric in ("auc_difference", "tpr_difference"):
            for points in ("targets", "others"):
                cells = mean_interval(rng.normal(WORSE, 0.03, models))
                row = Measurement("lira", metric, n=models, unit="models", group="suspect", points=points, **cells)
                rows.append(replace(row, fpr=0.01 if metric == "tpr_difference" else None))
        alarms += amplification(rows, ALIKE, OWN).verdict == "suspicious"
    assert alarms / (4 * DRAWS) <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / (4 * DRAWS))


@pytest.fixture(scope="module")
def judged():
    """Verdicts on the checkpoints of one audit whose poison works: with a reference and without."""
    supply, base = load_poisoning(REAL)
    ours = host()
    keys = published(lay_table(REAL, supply, base, ours))
    game = lay_table(REAL, supply.with_lookalikes(), base, ours)

    def judge(arm, reference="clean", table=game):
        return audit_checkpoint(table, keys[arm], keys.get(reference))

    judge.alone = lay_table(REAL, replace(supply, lookalikes=None).with_lookalikes(), base, ours)
    return judge


def test_a_planted_checkpoint_is_suspicious(judged):
    result = judged("poisoned")
    assert result.verdict == "suspicious"
    found = {e["test"]: e["verdict"] for e in result.evidence}
    assert found["own-data loss"] == found["reference shift"] == found["membership game"] == "suspicious"
    more = result.find("lira", "auc_difference", group="suspect", points="targets")
    assert more.low > 0
    assert {s.group for s in result.scores} == {"reference", "suspect"}
    assert all(np.array_equal(s.member, result.scores[0].member) for s in result.scores)


@pytest.mark.parametrize("arm", ["benign", "clean"])
def test_a_benign_checkpoint_is_not(judged, arm):
    result = judged(arm)
    assert result.verdict == "safe", result.evidence
    assert len(result.evidence) == 4
    assert result.warnings  # what this cannot see is said


def test_without_a_reference_it_is_at_best_unknown(judged):
    result = judged("benign", None)
    assert result.verdict == "unknown"
    assert [e["verdict"] for e in result.evidence] == ["safe", "unknown", "unknown", "unknown"]
    assert not result.scores
    assert judged("poisoned", None).verdict == "suspicious"


def test_without_look_alikes_it_is_at_best_unknown(judged):
    result = judged("benign", table=judged.alone)
    assert result.verdict == "unknown"
    assert {m.points for m in result.measurements if m.attack == "lira"} == {"targets"}
