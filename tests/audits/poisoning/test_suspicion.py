"""The auditor's side: false alarms as often as said, power against few odd records, and a verdict never kind."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

pytest.importorskip("torch")
pytest.importorskip("sklearn")
from tests.audits.poisoning.poison_games import REAL, host

from undertow.audits.poisoning.game import lay_table, published
from undertow.audits.poisoning.suspicion import (
    ALPHA,
    CONFIRM,
    SAME,
    SHIFT,
    WORSE,
    Look,
    above,
    against,
    amplification,
    anomaly,
    apart,
    as_reference,
    audit_checkpoint,
    identical,
    leak,
    of_another_kind,
    overall,
    shift,
)
from undertow.metrics.student import mean_interval
from undertow.rng import stream
from undertow.sources.records.poison_source import load_poisoning
from undertow.types import Examples, Measurement, Scores

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


def test_a_row_that_says_its_error_is_read_by_it():
    plain = difference(0.3, 0.2, 0.4)
    assert above(plain, WORSE) == pytest.approx(t.sf(0.2 / (0.1 / t.ppf(0.975, 7)), 7))
    said = replace(plain, error=0.05, df=3.5)  # by Satterthwaite; the interval may be wider for other reasons
    assert above(said, WORSE) == pytest.approx(t.sf(0.2 / 0.05, 3.5))
    assert above(replace(plain, error=0.05), WORSE) == pytest.approx(t.sf(0.2 / 0.05, 7))
    assert above(replace(said, error=0.0), WORSE) == 0
    assert above(replace(said, error=0.0, value=0.05), WORSE) == 1


# --- look-alikes of another kind ---

MINE = np.arange(300) < 150


def world(rng, kinds, poison=0.0, training=0.3):
    """Losses (Q,) under the reference and under the suspect, and what records gained; the second half is look-alikes.

    `kinds` are the typical losses of my records and of look-alikes. Benign training moves hard kinds more than easy
    ones; the poison lifts every fifth of my records.
    """
    typical = np.where(MINE, *kinds)
    trusted = typical * rng.gamma(4, 0.25, len(MINE))
    moved = training * (rng.normal(size=len(MINE)) * 0.2 - typical * 0.2)
    moved = moved + poison * (MINE & (np.arange(len(MINE)) % 5 == 0))
    return trusted, trusted + moved, typical * rng.normal(1, 0.3, len(MINE))


def verdicts(rng, kinds, ordinary=0.0, **change):
    trusted, loss, gained = world(rng, kinds, **change)
    rows = [difference(0.02, -0.03, 0.07)]
    return [look.verdict for look in against(loss, trusted, MINE, ordinary, rows, gained)]


@pytest.mark.parametrize("training", [0.0, 0.3, 1.0])
def test_look_alikes_of_another_kind_make_no_benign_checkpoint_suspicious(training):
    found = [verdicts(rng, (1.5, 0.7), training=training) for rng in draws(100, "kind")]
    assert all(one[0] == one[1] == "unknown" and one[2] == "safe" for one in found)


def test_without_a_reference_they_do_and_the_text_says_so():
    for rng in draws(20, "kind"):
        _, loss, _ = world(rng, (1.5, 0.7))
        look = anomaly(loss, MINE)
        assert look.verdict == "suspicious"
        assert "Look-alikes of another kind than your records would give the same finding" in look.explanation


def test_another_kind_is_named_with_what_to_do():
    trusted, loss, _ = world(stream(0, "kind"), (1.5, 0.7))
    look = anomaly(loss, MINE, trusted)
    assert of_another_kind(trusted, MINE)
    assert "your look-alikes differ in kind from your records" in look.explanation
    assert "Give look-alikes of the same kind" in look.explanation
    assert look.strength == 0


def test_look_alikes_of_one_kind_are_called_another_no_oftener_than_alpha():
    seen = sum(of_another_kind(world(rng, (1, 1))[0], MINE) for rng in draws(DRAWS, "one kind"))
    assert seen / DRAWS <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / DRAWS)
    assert not of_another_kind(np.arange(5.0), np.ones(5, bool))  # nothing to compare with


def test_a_slight_difference_in_kind_that_the_reference_hides_is_no_finding_of_its_own():
    """Kinds so near that the own-data loss alone alarms more often than ALPHA, and the paired tests do not."""
    alone = paired = 0
    for rng in draws(DRAWS, "near"):
        trusted, loss, _ = world(rng, (1.1, 1.0), training=0.0)
        loss = loss + rng.normal(size=len(loss)) * 0.01
        alone += anomaly(loss, MINE).verdict == "suspicious"
        paired += anomaly(loss, MINE, trusted).verdict == "suspicious"
    assert alone > 3 * ALPHA * DRAWS
    assert paired <= ALPHA * DRAWS


def test_own_data_loss_with_a_reference_alarms_no_oftener_than_alpha():
    alarms = 0
    for rng in draws(DRAWS, "null, own"):
        trusted, loss, _ = world(rng, (1, 1))
        alarms += anomaly(loss, MINE, trusted).verdict == "suspicious"
    assert alarms / DRAWS <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / DRAWS)


def test_a_poisoned_minority_is_still_seen_where_look_alikes_are_of_one_kind():
    found = [verdicts(rng, (1, 1), poison=3.0) for rng in draws(40, "poison")]
    assert sum("suspicious" in one for one in found) >= 38
    assert sum(one[0] == "suspicious" for one in found) >= 30


def test_an_odd_loss_needs_a_move_and_not_a_sure_one():
    """Records that the reference finds alike enough, and the suspect does not: p of the move decides, at CONFIRM."""
    rng = stream(1, "confirm")
    trusted = rng.normal(1.0, 0.2, len(MINE))
    loss = np.where(MINE, trusted[rng.permutation(len(MINE))] + 0.15, trusted)
    p = apart((loss - trusted)[MINE], (loss - trusted)[~MINE])
    assert p < CONFIRM
    assert anomaly(loss, MINE, trusted).verdict == "suspicious"
    assert anomaly(loss, MINE, loss).verdict == "unknown"  # the reference finds them as odd
    assert anomaly(loss, MINE, trusted).strength >= 1


def test_the_limits_still_hold_where_look_alikes_are_of_another_kind():
    rng = stream(0, "limits")
    trusted, loss, gained = world(rng, (1.5, 0.7))
    own = [look.verdict for look in against(loss + 2 * SHIFT, trusted, MINE, 0.0, [difference(0, -1, 1)], gained)]
    assert own == ["unknown", "suspicious", "safe"]
    alone = [look.verdict for look in against(loss + 2 * SHIFT * ~MINE, trusted, MINE, 0.0, [], gained)]
    assert alone[1] == "unknown"  # the look-alikes' move is no concern of mine
    game = against(loss, trusted, MINE, 0.0, [difference(0.3, 0.28, 0.32)], gained)[2]
    assert game.verdict == "suspicious"


def test_checkpoints_are_identical_where_every_tensor_is():
    one = {"a": np.arange(3.0), "b": np.ones((2, 2), np.float32)}
    assert identical(one, {name: value.copy() for name, value in one.items()})
    assert not identical(one, {"a": one["a"]})
    assert not identical(one, one | {"a": np.nextafter(one["a"], 9)})
    assert not identical(one, one | {"b": np.ones((2, 2))})
    assert not identical(one, one | {"b": np.ones((4,), np.float32)})


def test_an_identical_checkpoint_is_as_safe_as_the_reference():
    unknown = Look("a test", "unknown", "not run", "To run it, do this.")
    assert as_reference(unknown).verdict == "safe"
    assert as_reference(unknown).explanation == SAME
    assert as_reference(look("safe")) == look("safe")


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
    like = supply.lookalikes
    faint = replace(supply, lookalikes=Examples(like.x / 2, like.y, "faint"))
    judge.faint = lay_table(REAL, faint.with_lookalikes(), base, ours)
    return judge


def test_a_planted_checkpoint_is_suspicious(judged):
    result = judged("poisoned")
    assert result.verdict == "suspicious"
    found = {e["test"]: e["verdict"] for e in result.evidence}
    assert found["own-data loss"] == found["reference shift"] == found["membership game"] == "suspicious"
    more = result.find("lira", "auc_difference", group="suspect", points="targets")
    assert more.value > 0
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


@pytest.mark.parametrize("table", ["alone", "faint"])
def test_the_reference_itself_is_safe_whatever_the_look_alikes(judged, table):
    result = judged("clean", table=getattr(judged, table))
    assert result.verdict == "safe"
    assert {e["verdict"] for e in result.evidence} == {"safe"}
    assert result.warnings[0] == SAME
    assert any(e["explanation"] == SAME for e in result.evidence)


def test_a_benign_checkpoint_is_not_suspicious_by_faint_look_alikes(judged):
    result = judged("benign", table=judged.faint)
    assert result.verdict == "unknown"
    assert SAME not in result.warnings
    own = next(e for e in result.evidence if e["test"] == "own-data loss")
    assert "differ in kind" in own["explanation"]
    assert judged("benign", None, judged.faint).verdict == "suspicious"  # nothing to tell the two apart by
