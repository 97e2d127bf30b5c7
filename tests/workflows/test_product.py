"""evidence, compare and reproduce as a user runs them: what is filed, what is refused, what is found out."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.report import poisoned, trapped
from tests.report.conftest import build
from typer.testing import CliRunner

from undertow.audits.comparing import against, state_of
from undertow.audits.finished_run import FinishedRun
from undertow.audits.papers import ITEMS
from undertow.cli import app
from undertow.metrics import measure
from undertow.report.evidence.classes import PARA_55
from undertow.rng import stream
from undertow.storage.results import save_result
from undertow.storage.shape import problems
from undertow.types import AuditResult, Scores
from undertow.workflows.evidence import check_document

AUCS = {"lira": 0.7, "loss": 0.6, "blind": 0.5}


def call(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr.strip()


@pytest.fixture
def runs(tmp_path):
    """Finished runs, written as audits write them."""

    def write(name, result):
        save_result(result, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def mia(runs):
    return runs("mia", build("mia", AUCS))


@pytest.fixture
def pack(mia, tmp_path):
    assert call("evidence", mia, "--out", tmp_path / "pack", "--no-pdf")[0] == 0
    return tmp_path / "pack"


def edit(file, change):
    body = json.loads(file.read_text())
    change(body)
    file.write_text(json.dumps(body))


def test_a_pack_has_every_class_and_none_is_blank(runs, mia, tmp_path):
    others = [runs("trap", trapped.several(2, 0)), runs("arms", poisoned.build())]
    assert call("evidence", mia, *others, "--out", tmp_path / "p", "--no-pdf", "--by", "A | B <b>")[0] == 0
    body = json.loads((tmp_path / "p" / "evidence.json").read_text())
    status = {one["name"]: one["status"] for one in body["classes"]}
    assert set(PARA_55) <= set(status)
    assert all(one["reason"] and bool(one["results"]) == (one["status"] == "measured") for one in body["classes"])
    assert {name for name in PARA_55 if status[name] == "measured"} == {
        "membership inference", "exfiltration", "reconstruction",
    }  # fmt: skip
    assert check_document(body) == []
    html = (tmp_path / "p" / "evidence.html").read_text()
    card = (tmp_path / "p" / "evidence.md").read_text()
    assert "<b>" not in html.split('<p class="soft">')[1].split("</p>")[0]
    assert "A \\| B &lt;b>" in card
    for word in ("compliant", "anonymous"):
        assert word not in (html + card + json.dumps(body)).lower()
    assert sum(p.stat().st_size for p in (tmp_path / "p").iterdir()) < 3_000_000


@pytest.mark.parametrize("key", ["classes", "made", "limits"])
def test_the_schema_finds_what_is_missing(pack, key):
    body = json.loads((pack / "evidence.json").read_text())
    assert check_document({k: v for k, v in body.items() if k != key})


def test_the_schema_finds_a_blank_class_and_a_missing_one(pack):
    body = json.loads((pack / "evidence.json").read_text())
    blank = {**body, "classes": [{**one, "reason": ""} for one in body["classes"]]}
    fewer = {**body, "classes": [one for one in body["classes"] if one["name"] != "model inversion"]}
    empty = {**body, "classes": [{**one, "status": "measured"} for one in body["classes"]]}
    for wrong in (blank, fewer, empty):
        assert check_document(wrong)


def test_our_checks_agree_with_jsonschema(pack):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    from importlib.resources import files

    schema = json.loads((files("undertow.storage") / "evidence.schema.json").read_text())
    body = json.loads((pack / "evidence.json").read_text())
    for one in (body, {**body, "limits": []}, {**body, "schema": "x"}, {**body, "classes": body["classes"][:2]}):
        assert bool(problems(one, schema)) == bool(list(jsonschema.Draft202012Validator(schema).iter_errors(one)))


def test_the_worst_record_and_the_recomputed_numbers_are_filed(pack):
    body = json.loads((pack / "evidence.json").read_text())
    found = body["classes"][0]["results"][0]
    assert found["worst_record"]["value"] > found["worst_record"]["mean"] > 0.5
    assert body["runs"][0]["recomputed"] == len(AUCS)


@pytest.mark.parametrize("name", ["evidence.json", "evidence.html", "evidence.md"])
def test_a_changed_file_is_found(pack, name):
    assert call("evidence", "verify", pack)[0] == 0
    with (pack / name).open("a") as file:
        file.write(" ")
    code, _, said = call("evidence", "verify", pack)
    assert (code, said) == (1, f"{name} was changed after the pack was written")


def test_an_added_and_a_missing_file_and_another_run_are_found(pack, mia):
    (pack / "more.txt").write_text("x")
    (pack / "evidence.md").unlink()
    edit(mia / "result.json", lambda body: body.update(seed=5))
    code, _, said = call("evidence", "verify", pack, mia)
    assert code == 1
    assert {"evidence.md is missing", "more.txt was added after the pack was written"} <= set(said.splitlines())
    assert "its hashes differ" in said


@pytest.mark.skipif(find_spec("model_signing") is None, reason="needs undertow[signing]")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_signed_pack_verifies_and_a_forged_manifest_does_not(mia, tmp_path):
    from tests.opening.test_signature import key_pair

    private, public = key_pair(tmp_path)
    assert call("evidence", mia, "--out", tmp_path / "p", "--no-pdf", "--sign", private)[0] == 0
    assert call("evidence", "verify", tmp_path / "p", "--public-key", public)[0] == 0
    from undertow.workflows.evidence import write_manifest

    (tmp_path / "p" / "evidence.md").write_text("all is well")
    write_manifest(tmp_path / "p")
    assert call("evidence", "verify", tmp_path / "p")[0] == 0  # who can change a file can change the manifest
    assert call("evidence", "verify", tmp_path / "p", "--public-key", public)[0] == 1
    assert call("evidence", "sign", mia, "--sign", private)[0] == 0


def nan(folder):
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace('"seed": 0', '"seed": NaN', 1))


def other_auc(folder):
    edit(folder / "result.json", lambda b: b["measurements"][0].update(value=0.51, low=0.5, high=0.52))


def unfinished(folder):
    (folder / "result.json").unlink()
    (folder / "undertow.json").write_text("{}")


WRONG = {
    nan: "NaN",
    other_auc: "was changed after the run",
    unfinished: "unfinished run",
    lambda f: (f / "result.json").write_text("[]"): "no JSON object",
    lambda f: (f / "result.json").write_text("{"): "cannot be read",
    lambda f: (f / "result.json").unlink(): "is no run folder",
    lambda f: edit(f / "result.json", lambda b: b.update(schema="x/9")): "schema 'x/9'",
    lambda f: edit(f / "result.json", lambda b: b["measurements"][0].update(value="a")): "not a number",
}


@pytest.mark.parametrize(("spoil", "said"), WRONG.items(), ids=list(map(str, WRONG.values())))
@pytest.mark.parametrize("command", ["evidence", "compare"])
def test_what_is_no_sound_run_is_one_line_and_nothing_is_written(mia, runs, tmp_path, spoil, said, command):
    spoil(mia)
    other = runs("other", build("mia", {**AUCS, "lira": 0.65}))
    code, _, error = call(command, mia, other, "--out", tmp_path / "out")
    assert (code, len(error.splitlines()), said in error) == (2, 1, True), error
    assert not (tmp_path / "out").exists()


def test_results_without_the_newer_fields_are_read(mia, tmp_path):
    edit(mia / "result.json", lambda b: [b.pop(key) for key in ("utility", "warnings")])
    edit(
        mia / "result.json",
        lambda b: [[m.pop(k, None) for k in ("error", "df", "effective")] for m in b["measurements"]],
    )
    (mia / "scores.npz").unlink()
    assert call("evidence", mia, "--out", tmp_path / "p", "--no-pdf")[0] == 0
    body = json.loads((tmp_path / "p" / "evidence.json").read_text())
    assert "not kept" in body["classes"][0]["results"][0]["worst_record"]["reason"]


def test_refusals_of_places_and_options(mia, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "bad.toml").write_text("subjekt = 'x'")
    cases = [
        (("evidence", mia), "--out is missing"),
        (("evidence", mia, mia, "--out", tmp_path / "p"), "the same run"),
        (("evidence", mia, "--out", tmp_path / "full"), "holds no evidence pack"),
        (("evidence", mia, "--out", "/proc/undertow"), "cannot write"),
        (("evidence", mia, "--out", tmp_path / "p", "--details", tmp_path / "bad.toml"), "did you mean 'subject'"),
        (("evidence", "verify", mia), "no evidence pack"),
        (("compare", mia), "two finished runs"),
        (("compare", mia, mia), "the same run"),
        (("reproduce", "other"), "unknown paper"),
        (("reproduce", "tmi", "figure 2"), "not known"),
        (("reproduce", "wen", "table 9"), "no item"),
        (("reproduce", "wen", "--budget", "2y"), "--budget"),
    ]
    for arguments, said in cases:
        code, _, error = call(*arguments)
        assert (code, len(error.splitlines()), said in error) == (2, 1, True), (arguments, error)
    assert (tmp_path / "full" / "mine.txt").read_text() == "x"


def test_mixed_audits_are_not_compared(mia, runs):
    code, _, error = call("compare", mia, runs("pretraining", build("tmi", AUCS)))
    assert (code, "give runs of one audit" in error) == (2, True), error


def pair(shift_before, shift_after, seed, same=True, models=8, points=120):
    """Two runs of one attack, members shifted by so much; the same memberships and noise of the records, or others."""
    found = []
    for name, shift in (("before", shift_before), ("after", shift_after)):
        who = "both" if same else name
        member = stream(seed, "member", who).random((models, points)) < 0.5
        record = stream(seed, "record", who).normal(size=points)
        noise = stream(seed, "noise", name).normal(size=member.shape)
        scores = Scores("lira", noise + record + shift * member, member)
        rows = measure(scores, stream(seed, "halves", name), fprs=(0.01,))
        data = {"sha256": {"file": who}}
        result = AuditResult("score", {}, 0, {}, data, rows, scores=(scores,), ids=tuple(map(str, range(points))))
        found.append(FinishedRun(Path(name), "score", "", {"result.json": name}, result))
    return found


@pytest.mark.parametrize("same", [True, False])
def test_the_interval_of_a_difference_covers_the_truth(same):
    """AUC of N(0, 2) against N(s, 2) is Phi(s / 2): 150 pairs of runs with a known difference."""
    from scipy.stats import norm

    truth = norm.cdf(1.2 / 2) - norm.cdf(0.6 / 2)
    covered = 0
    for seed in range(150):
        first, second = pair(0.6, 1.2, seed, same)
        change = next(c for c in against(first, second).changes if c.moved.metric.startswith("auc"))
        assert change.paired == same
        m = change.moved
        reach = 1.96 / 2.2414  # from Bonferroni's level over two numbers back to 95 %
        middle = m.value
        covered += middle - (middle - m.low) * reach <= truth <= middle + (m.high - middle) * reach
    assert 150 * 0.90 <= covered <= 150


def test_a_gate_says_worse_not_worse_and_undecided(runs):
    def states(before, after):
        first, second = pair(before, after, 3, models=64, points=200)
        return against(first, second).state

    assert states(0.4, 1.6) == "worse"
    assert states(1.6, 0.4) == "not worse"
    assert state_of(()) == "undecided"


def test_the_exit_code_of_the_gate(runs, tmp_path):
    before, after = (runs(name, build("mia", {"lira": auc})) for name, auc in (("a", 0.6), ("b", 0.85)))
    assert call("compare", before, after, "--fail-if-worse", "-q")[0] == 1
    assert call("compare", after, before, "--fail-if-worse", "--out", tmp_path / "c")[0] == 0
    assert json.loads((tmp_path / "c" / "compare.json").read_text())["schema"] == "undertow.compare/1"
    assert "src=" not in (tmp_path / "c" / "compare.html").read_text()


def test_three_runs_have_a_frontier(runs, tmp_path):
    several = [runs(f"r{i}", build("mia", {"lira": 0.6 + i / 20})) for i in range(3)]
    for i, folder in enumerate(several):
        edit(folder / "result.json", lambda b, i=i: b["utility"].update({"accuracy on test records": 0.7 + i / 50}))
    assert call("compare", *several, "--out", tmp_path / "c", "-q")[0] == 0
    assert "Leak against utility" in (tmp_path / "c" / "compare.html").read_text()


def test_every_item_of_the_papers_is_listed_with_a_status():
    code, said, _ = call("reproduce", "--list", "--json")
    rows = json.loads(said)
    assert (code, len(rows)) == (0, len(ITEMS))
    assert all(set(row) == {"paper", "item", "status", "budget", "needs"} for row in rows)
    assert all(row["status"] in ("runs", "not known") or row["status"].startswith("needs ") for row in rows)
    assert all(row["budget"] for row in rows if row["status"] == "runs")
    assert len({(row["paper"], row["item"]) for row in rows}) == len(rows)


def test_an_item_is_played(tmp_path):
    pytest.importorskip("torch", reason="needs undertow[train]")
    assert call("reproduce", "feng", "mlp captures", "--out", tmp_path, "-q")[0] == 0
    body = json.loads((tmp_path / "reproduce.json").read_text())
    assert [one["item"] for one in body["items"]] == ["mlp captures"]
    assert "Deviation:" in (tmp_path / "reproduce.md").read_text()
