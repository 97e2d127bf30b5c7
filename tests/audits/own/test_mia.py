"""A person's own training, end to end: dealt, run, resumed, refused, judged."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from toys import N, leaky, records

import undertow as ut
from undertow.audits.own.people import by_person
from undertow.engine.design import Design


def audited(train, shadows=16, **more):
    return ut.audit_mia(train=train, records=more.pop("records", records()), shadows=shadows, **more)


def counting(folder, train):
    """The training, leaving a file for each run: a count that is no part of what the function is."""
    folder.mkdir(exist_ok=True)

    def counted(part, seed):
        (folder / str(seed)).touch()
        return train(part, seed)

    return counted


def runs(folder):
    return len(list(folder.iterdir()))


def test_a_training_that_remembers_is_found_and_named_as_the_users_own():
    result = audited(leaky())
    best = result.find("lira", "auc")
    assert best.low > 0.8
    assert result.audit == "mia"
    assert result.leak["shown"]
    assert result.design["about"].startswith("Your own training, 16 runs of it, in 8 complementary pairs")
    assert "Your own training, 16 runs of it" in " ".join(ut.summary(result).split())
    assert result.utility["your training, accuracy on its members"] > 0.8


def test_a_training_that_forgets_is_at_chance():
    best = audited(leaky(0.0), shadows=32).find("lira", "auc")
    assert best.low < 0.5 < best.high


def test_each_training_gets_its_half_its_seed_and_no_more():
    seen = []

    def train(part, seed):
        seen.append((part.x.copy(), part.y.copy(), seed))
        return leaky()(part, seed)

    x, y = records()
    audited(train, seed=3)
    design = Design(3, N, 16, 1, N)
    for (part, labels, _), row in zip(seen, design.member("shadow"), strict=True):
        assert np.array_equal(part, x[row])
        assert np.array_equal(labels, y[row])
    assert len({seed for _, _, seed in seen}) == 16
    assert all(0 <= seed < 2**31 for _, _, seed in seen)


def test_what_was_answered_is_not_trained_again_and_that_is_said(tmp_path):
    count, out = tmp_path / "count", tmp_path / "run"
    first = audited(counting(count, leaky()), shadows=8, store=tmp_path / "store")
    assert runs(count) == 8
    assert not any("taken from the store" in line for line in first.warnings)
    grown = audited(counting(count, leaky()), shadows=12, out=out, store=tmp_path / "store")
    assert runs(count) == 12
    assert any(line.startswith("8 of 12 answers were taken from the store") for line in grown.warnings)
    assert grown.environment["own training"]["taken from the store"] == 8
    assert {p.name for p in out.iterdir()} >= {"result.json", "scores.npz", "records.csv", "report.html"}


def test_an_interrupted_run_gives_the_same_result(tmp_path):
    whole = audited(leaky(), shadows=8)
    limit, count, inner = tmp_path / "limit", tmp_path / "count", leaky()
    count.mkdir()

    def train(part, seed):
        if runs(count) >= int(limit.read_text()):
            raise KeyboardInterrupt
        (count / str(seed)).touch()
        return inner(part, seed)

    limit.write_text("5")
    with pytest.raises(KeyboardInterrupt):
        audited(train, shadows=8, out=tmp_path / "run")
    assert len(list((tmp_path / "run" / "store").rglob("*.safetensors"))) == 5
    limit.write_text("99")
    resumed = audited(train, shadows=8, out=tmp_path / "run")
    assert runs(count) == 8
    assert [m.value for m in resumed.measurements] == [m.value for m in whole.measurements]


def test_a_changed_training_is_trained_again_and_that_is_said(tmp_path):
    count = tmp_path / "count"
    audited(counting(count, leaky(3.0)), shadows=8, store=tmp_path / "store")
    changed = audited(counting(tmp_path / "more", leaky(2.0)), shadows=8, store=tmp_path / "store")
    assert runs(tmp_path / "more") == 8
    assert any("has changed since the store was last used" in line for line in changed.warnings)


def test_a_failing_training_says_which_and_keeps_what_was_finished(tmp_path):
    def train(part, seed):
        if (tmp_path / "seen").exists():
            raise ValueError("loss is\nnot finite")
        (tmp_path / "seen").touch()
        return leaky()(part, seed)

    with pytest.raises(ut.TrainingFailed) as caught:
        audited(train, out=tmp_path / "run")
    said = str(caught.value)
    assert said.startswith("training 1 (seed ")
    assert "ValueError: loss is not finite" in said
    assert "\n" not in said
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(list((tmp_path / "run" / "store").rglob("*.safetensors"))) == 1


def test_a_folder_with_another_finished_result_is_refused(tmp_path):
    audited(leaky(), shadows=8, out=tmp_path / "run")
    with pytest.raises(ut.StoreError, match="shadows differs; choose another out"):
        audited(leaky(), shadows=12, out=tmp_path / "run")
    with pytest.raises(ut.StoreError, match="train, seed differ;"):
        audited(leaky(1.0), shadows=8, seed=1, out=tmp_path / "run")
    audited(leaky(), shadows=8, out=tmp_path / "run")


def test_scores_need_no_labels_and_no_classes():
    def train(part, seed):
        inner = leaky()(part, seed)
        return lambda x: inner(x).max(1)

    x, _ = records()
    result = audited(train, records=x)
    assert result.find("lira", "auc").low > 0.6
    assert {s.attack for s in result.scores} == {"threshold", "lira", "lira-offline", "bavaria", "blind"}


def test_records_of_a_person_are_members_together(tmp_path):
    person = np.repeat(np.arange(N // 3), 3)

    def train(part, seed):
        rows = {row.tobytes() for row in part.x}
        inside = np.array([row.tobytes() in rows for row in records()[0]]).reshape(-1, 3)
        assert (inside.all(1) | ~inside.any(1)).all()
        assert inside.all(1).sum() == N // 6
        return leaky()(part, seed)

    names = [f"p{i}" for i in person]
    result = audited(train, groups=names, shadows=8, out=tmp_path / "run")
    assert result.design["groups"] == N // 3
    record = result.find("lira", "auc")
    assert record.low > 0.7
    people = result.design["people"]
    assert people["attack"] == "lira"
    assert people["auc"] > record.value  # three records of a person say more than one
    lines = (tmp_path / "run" / "people.csv").read_text().splitlines()
    assert lines[0] == "id,score,rank,attack"
    assert {line.split(",")[0] for line in lines[1:]} == set(names)
    assert "Asked about all records of a group together" in " ".join(ut.summary(result).split())


def test_forked_workers_answer_the_same_as_one(tmp_path):
    one = audited(leaky(), shadows=8)
    two = audited(leaky(), shadows=8, workers=2)
    assert [m.value for m in one.measurements] == [m.value for m in two.measurements]


def test_a_forked_worker_that_fails_keeps_its_traceback(tmp_path):
    def train(part, seed):
        raise ZeroDivisionError("in the user's code")

    with pytest.raises(ut.TrainingFailed, match="ZeroDivisionError") as caught:
        audited(train, workers=2)
    assert "in train" in "".join(caught.value.__notes__)


def test_one_door_or_the_other():
    with pytest.raises(ut.ConfigError, match="needs train= and records="):
        ut.audit_mia()
    with pytest.raises(ut.ConfigError, match="not both"):
        ut.audit_mia(object(), train=leaky(), records=records())


def test_a_person_scores_the_mean_of_the_records_that_were_scored():
    values = np.array([[1.0, 3.0, 10.0, 7.0]])
    scored = np.array([[True, True, False, True]])
    member = np.array([[True, True, False, False]])
    scores = ut.Scores("lira", values, member, groups=np.array([0, 0, 1, 1]), scored=scored)
    found = by_person(scores, ["a", "b"])
    assert found.values.tolist() == [[2.0, 7.0]]
    assert found.member.tolist() == [[True, False]]
    assert found.ids == ("a", "b")
