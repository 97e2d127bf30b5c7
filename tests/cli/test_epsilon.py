"""`undertow epsilon` as a user runs it: the right bounds for the trials, one headline, one line for what cannot be."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from undertow.cli import app
from undertow.metrics.epsilon import Trials, clopper_pearson, from_scores, one_run_from_scores
from undertow.rng import stream
from undertow.storage.results import load_result

N = 600


def call(*arguments):
    done = CliRunner().invoke(app, ["epsilon", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def trials(leak=3.0, seed=0):
    rng = stream(seed, "scores")
    member = rng.random(N) < 0.5
    return rng.normal(size=N) + leak * member, member


@pytest.fixture
def write(tmp_path):
    def csv(text, name="scores.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return csv


@pytest.fixture
def files(tmp_path):
    """One run, runs of their own, ten runs, and scores that know nothing."""
    score, member = trials()
    np.savez(tmp_path / "one.npz", score=score, member=member)
    np.savez(tmp_path / "own.npz", score=score, member=member.astype(int), run=np.arange(N))
    np.savez(tmp_path / "ten.npz", score=score, member=member, run=np.arange(N) // 60)
    np.savez(tmp_path / "null.npz", score=trials(0.0)[0], member=member)
    return tmp_path


def test_without_runs_the_trials_are_canaries_of_one(files):
    code, said, _ = call(files / "one.npz", "--out", files / "out")
    result = load_result(files / "out")
    expected = one_run_from_scores(Trials(*trials()), 1e-5)
    headline = [m for m in result.measurements if m.headline]
    assert (code, len(headline)) == (0, 1)
    assert (headline[0].bound, headline[0].assumes, headline[0].unit) == ("one-run", "none", "canaries")
    assert (headline[0].value, headline[0].n, headline[0].confidence) == (expected.epsilon, expected.n, 0.95)
    assert f"epsilon is at least {expected.epsilon:.3f} at delta 1e-05, whatever the mechanism is" in " ".join(
        said.split()
    )
    assert "no column 'run'" in said
    assert {m.bound for m in result.measurements} == {"one-run", "one-run-gdp"}


def test_runs_of_their_own_get_clopper_pearson(files):
    code, said, _ = call(files / "own.npz", "--out", files / "out", "--threshold", 1.5, "--claim-epsilon", 1)
    rows = {m.bound: m for m in load_result(files / "out").measurements}
    score, member = trials()
    assert code == 0
    assert rows["clopper-pearson"].headline
    assert rows["clopper-pearson"].value == from_scores(Trials(score, member), 1e-5, threshold=1.5).epsilon > 1
    assert set(rows) == {"clopper-pearson", "gdp", "gdp-accuracy", "joint-beta", "given", "epsilon"}
    assert rows["joint-beta"].warning.startswith("Bayesian")
    assert "REFUTED" in said
    assert "REFUTED" not in call(files / "own.npz", "--claim-epsilon", 9)[1]


def test_a_bound_with_an_assumption_never_refutes(files):
    """The claim is tested by what assumes nothing, whichever bound is quoted: the same p-value."""
    said = [call(files / "own.npz", "--bound", b, "--claim-epsilon", 0.1)[1] for b in ("gdp", "joint-beta")]
    plain = call(files / "own.npz", "--claim-epsilon", 0.1)[1]
    p = re.search(r"REFUTED \(p = ([^)]*)\)", plain).group(1)
    for text in said:
        assert f"REFUTED (p = {p})" in " ".join(text.split())
    # the Gaussian bound is far above 3.2, and the claim of 3.2 stands all the same
    said = " ".join(call(files / "own.npz", "--bound", "gdp", "--claim-epsilon", 3.2)[1].split())
    assert "is not refuted" in said


def test_scores_that_know_nothing_give_zero(files):
    _, said, _ = call(files / "null.npz")
    assert "these scores show no leak" in said
    assert "> one-run                 0.000" in said


def test_pooled_trials_are_refused_unless_vouched_for(files):
    code, _, error = call(files / "ten.npz", "--bound", "clopper-pearson")
    assert code == 2
    assert "needs independent trials" in error
    assert call(files / "ten.npz", "--unit", "runs")[0] == 2
    code, said, _ = call(files / "ten.npz", "--independent")
    assert code == 0
    assert "because --independent says so" in " ".join(said.split())
    score, member = trials()
    vouched = from_scores(Trials(score, member), 1e-5, bound=clopper_pearson, independent=True)
    assert f"> clopper-pearson             {vouched.epsilon:.3f}" in said


def test_csv_and_npz_say_the_same(files, write):
    score, member = trials()
    rows = "\n".join(f"{s!r},{m},{i}" for i, (s, m) in enumerate(zip(score.tolist(), member.tolist(), strict=True)))
    path = write(f"score,member,run\n{rows}\n")
    assert call(path)[1].replace("scores.csv", "own.npz") == call(files / "own.npz")[1]


def test_the_sequential_bound_wants_coins_in_their_order(files):
    code, said, _ = call(files / "own.npz", "--bound", "sequential", "--threshold", 1.5)
    assert code == 0
    assert "> sequential" in said
    assert "needs a threshold fixed beforehand" in call(files / "own.npz", "--bound", "sequential")[2]
    score, member = trials()
    order = np.argsort(~member, kind="stable")
    np.savez(files / "sorted.npz", score=score[order], member=member[order], run=np.arange(N))
    code, _, error = call(files / "sorted.npz", "--bound", "sequential", "--threshold", 1.5)
    assert code == 2
    assert "not in random order" in error


def test_gates(files):
    assert call(files / "one.npz", "--fail-if", "epsilon_lower>1", "-q")[:2] == (1, "")
    assert call(files / "one.npz", "--fail-if", "epsilon_lower>30", "-q")[:2] == (0, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score,member\n1,1\nnan,0\n", "1 scores are NaN, the first in trial 2"),
        ("score,member\n1,1\nabc,0\n", "trial 2: score is 'abc', not a number"),
        ("score,member\n1,1\n2,2\n", "trial 2: member is '2'; write 0/1"),
        ("score,member\n1,1\n2\n", "trial 2: member is ''"),
        ("score,member\n1,1\n2,1\n", "no non-members among 2 trials"),
        ("score,label\n1,1\n", "'member' is missing"),
        ("score,member\n", "no rows"),
        ("", "is empty"),
        ("score,member\n" + "1,1\n" * 60 + "0,0\n", "toss of a fair coin"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(write, text, message):
    code, said, error = call(write(text))
    assert (code, said, error.count("\n")) == (2, "", 1)
    assert message in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--confidence", 95), "did you mean 0.95"),
        (("--delta", 1), "delta = 1"),
        (("--bound", "foo"), "no bound 'foo'; there are: clopper-pearson"),
        (("--threshold", "inf"), "--threshold 'inf'"),
        (("--threshold", "1"), "give --guesses PLUS,MINUS"),
        (("--guesses", "9"), "two counts"),
        (("--guesses", "599,2"), "more guesses than canaries"),
        (("--claim-epsilon", "nan"), "0 or more and finite"),
        (("--bound", "one-run-gdp", "--delta", 0), "no finite epsilon"),
    ],
)
def test_options_that_cannot_be_are_one_line(files, options, message):
    code, said, error = call(files / "one.npz", *options)
    assert (code, said, error.count("\n")) == (2, "", 1)
    assert message in error


def test_arrays_of_the_wrong_shape_and_absent_files_are_one_line(files):
    np.savez(files / "flat.npz", score=np.zeros((3, 2)), member=np.zeros((3, 2), bool))
    assert "must be (n,)" in call(files / "flat.npz")[2]
    np.savez(files / "pair.npz", score=np.zeros(3), member=np.zeros(2, bool))
    assert "member has shape (2,), score (3,)" in call(files / "pair.npz")[2]
    assert "no such file" in call(files / "absent.csv")[2]


def test_delta_zero_leaves_gaussian_bounds_out(files):
    code, said, _ = call(files / "own.npz", "--delta", 0)
    assert code == 0
    assert "gdp" not in said.split("READING")[0]


def test_result_json_holds_what_was_asked(files):
    call(files / "one.npz", "--out", files / "out", "--guesses", "50,50", "--seed", 4)
    body = json.loads((files / "out" / "result.json").read_text())
    assert body["audit"] == "epsilon"
    assert body["config"]["guesses"] == [50, 50]
    assert body["config"]["how"]["one-run"] == "50 + 50 guesses, fixed before the run"
    assert sum(row.get("headline", False) for row in body["measurements"]) == 1


def test_claims_of_other_kinds(files, write):
    """The scores are those of a 3-GDP mechanism, which is 4.5-zCDP."""
    own = files / "own.npz"
    for option, true, false in (("--claim-gdp", 3, 0.5), ("--claim-zcdp", 4.5, 0.1)):
        assert "is not refuted" in call(own, option, true)[1]
        assert "REFUTED (p = " in call(own, option, false)[1]
    rows = "\n".join(f"{e},{d}" for e, d in [(0.5, 1e-2), (1, 1e-5), (2, 1e-9)])
    code, said, _ = call(own, "--claim-curve", write(f"epsilon,delta\n{rows}\n", "curve.csv"), "--out", files / "out")
    assert code == 0
    assert "the curve of curve.csv (3 points; epsilon 1 at delta 1e-05) is REFUTED" in " ".join(said.split())
    held = load_result(files / "out")
    assert [m.delta for m in held.measurements if m.group == "curve"] == [1e-2, 1e-5, 1e-9]
    assert call(own, "--claim-gdp", 0.5, "--fail-if", "epsilon_lower>20", "-q")[0] == 2
    assert call(own, "--claim-gdp", 3, "--fail-if", "epsilon_lower>20", "-q")[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epsilon\n1\n", "'delta' is missing"),
        ("epsilon,delta\n1,x\n", "row 1: delta is 'x'"),
        ("epsilon,delta\n-1,0.1\n", "row 1: epsilon -1"),
    ],
)
def test_curves_that_cannot_be_read_are_one_line(files, write, text, message):
    code, said, error = call(files / "own.npz", "--claim-curve", write(text, "curve.csv"))
    assert (code, said, error.count("\n")) == (2, "", 1)
    assert message in error
    assert "give one claim" in call(files / "own.npz", "--claim-gdp", 1, "--claim-epsilon", 1)[2]
