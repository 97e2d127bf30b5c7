"""Odd files of a stranger: what is said about them is true, and in one line where they cannot be read."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from undertow.cli import app
from undertow.rng import stream

N = 200


def call(*arguments):
    done = CliRunner().invoke(app, ["epsilon", *map(str, arguments)])
    return done.exit_code, " ".join(done.stdout.split()), done.stderr


@pytest.fixture
def file(tmp_path):
    rng = stream(1, "odd scores")
    member = rng.random(N) < 0.5
    score = rng.normal(size=N) + 2 * member

    def write(change=lambda s: s, runs=True):
        np.savez(
            tmp_path / "scores.npz", score=change(score), member=member, **({"run": np.arange(N)} if runs else {})
        )  # fmt: skip
        return tmp_path / "scores.npz"

    return write


def test_swapped_signs_are_said(file):
    said = call(file(lambda s: -s))[1]
    assert "members score lower than others (AUC 0." in said
    assert "Read as higher = member, these scores show no leak" in said
    assert "score lower" not in call(file())[1]


def test_ties_alone_are_no_test(file):
    said = call(file(lambda s: 0 * s))[1]
    assert "all scores are equal" in said
    assert "clopper-pearson 0.000" in said


def test_whole_numbers_are_scores(file):
    code, said, _ = call(file(lambda s: (10 * s).astype(int)))
    assert (code, "epsilon is at least" in said) == (0, True)


def test_infinite_scores_are_ranked_and_no_gaussian(file):
    path = file(lambda s: np.where(np.arange(N) == 3, np.inf, s), runs=False)
    assert call(path)[0] == 0
    code, _, error = call(path, "--bound", "gaussian-pairs")
    assert (code, "1 scores are infinite" in error) == (2, True)


def test_scores_without_any_randomness_are_said(tmp_path):
    member = np.arange(40) % 2 == 0
    np.savez(tmp_path / "still.npz", score=member.astype(float), member=member, run=np.arange(40))
    assert "nothing random reaches them" in call(tmp_path / "still.npz")[1]


def test_a_large_delta_is_said(file):
    assert "allows a mechanism to publish one record in 2" in call(file(), "--delta", 0.5)[1]
    assert "publish" not in call(file())[1]


def test_gaussian_pairs_only_where_asked_and_in_words(file):
    path = file(runs=False)
    assert "gaussian-pairs" not in call(path)[1]
    code, said, _ = call(path, "--bound", "gaussian-pairs")
    assert code == 0
    assert "> gaussian-pairs" in said
    assert "canaries need not be independent" in said
    rejected = call(path, "--bound", "gaussian-pairs", "--claim-gdp", 0.01)[1]
    assert "gaussian-pairs premise rejected" in rejected
    assert "> one-run" in rejected


@pytest.mark.parametrize("claim", ["inf", "nan", "-1"])
def test_claims_that_are_no_number_are_one_true_line(file, claim):
    for option in ("--claim-epsilon", "--claim-gdp", "--claim-zcdp"):
        code, said, error = call(file(), option, claim)
        assert (code, said, error.count("\n")) == (2, "", 1)
        assert "finite" in error


def test_a_claim_of_nothing_and_one_that_is_true(file):
    assert "REFUTED" in call(file(), "--claim-epsilon", 0)[1]
    assert "is not refuted" in call(file(), "--claim-gdp", 2)[1]  # what they were drawn from
    assert "is not refuted" in call(file(), "--claim-epsilon", 1e6)[1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", json.dumps({"score": [1, 2], "member": [0, 1]}), "is JSON; write an npz or a csv with score"),
        ("a.csv", "score;member\n1;0\n2;1\n", "found: 'score;member'"),
        ("a.csv", "value,label\n1,0\n2,1\n", "'score' is missing"),
        ("a.csv", "score,member\n1.0,yes\n", "member is 'yes'; write 0/1"),
        ("a.csv", 'score,member\n"1,5",1\n', "score is '1,5', not a number"),
        ("a.csv", "score,member\n1,1\n2,0\n", "one canary cannot be split|a split needs two trials"),
    ],
)
def test_files_of_another_kind_are_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    code, said, error = call(tmp_path / name)
    if code == 0:  # two canaries can be read, and show nothing
        assert "show no leak" in said
        return
    assert (said, error.count("\n")) == ("", 1)
    assert any(part in error for part in message.split("|"))


def test_an_npy_and_headers_in_capitals(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    assert "is a npy array; write an npz or a csv" in call(tmp_path / "a.npy")[2]
    rows = "".join(f"{i % 7},{i % 2}\n" for i in range(60))
    (tmp_path / "b.csv").write_text("\ufeffScore, Member\n" + rows)
    assert call(tmp_path / "b.csv")[0] == 0


def test_one_world_and_one_trial_are_one_line(tmp_path):
    np.savez(tmp_path / "one.npz", score=np.ones(1), member=np.ones(1, bool))
    np.savez(tmp_path / "all.npz", score=np.ones(9), member=np.ones(9, bool))
    for name in ("one", "all"):
        code, said, error = call(tmp_path / f"{name}.npz")
        assert (code, said) == (2, "")
        assert "no non-members among" in error
