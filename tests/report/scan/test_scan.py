"""A scan for people and machines: complete, escaped, and what the formats ask for."""

import json
import math
import re

import numpy as np
import pytest
from tests.report.test_html import EVIL, Tags, text_of

from undertow.report.scan.document import to_json, to_sarif
from undertow.report.scan.page import page
from undertow.report.scan.text import summary
from undertow.scanner import Finding, ScannedFile, ScanResult

LOUD = Finding("data-trap", "critical", "rows 40 times as long", "a/model.safetensors", "fc1.weight", (3, 9), 1.8)
QUIET = Finding("mixed-dtypes", "info", "matrices in F32 and F16", "a/model.safetensors")
FILES = (
    ScannedFile("a/model.safetensors", "ab" * 32, "unsafe"),
    ScannedFile("b c/half.pt", "", "unknown"),
)
RESULT = ScanResult("unsafe", (LOUD, QUIET), ("loss poisoning: needs a parent",), FILES, {"false_alarm_rate": 0.01})
NORMS = {("a/model.safetensors", "fc1.weight"): np.where(np.isin(np.arange(64), (3, 9)), 40.0, 1.0)}
HERE = {"undertow": "0.1.0"}


def test_json_keeps_the_contract():
    found = json.loads(to_json(RESULT))
    assert found["schema"] == "undertow.scan/1"
    assert found["verdict"] == "unsafe"
    assert found["files"][0] == {
        "path": "a/model.safetensors", "sha256": "ab" * 32, "verdict": "unsafe", "kind": "",
    }  # fmt: skip
    assert found["findings"][0] == {
        "code": "UT401", "kind": "data-trap", "severity": "critical", "explanation": "rows 40 times as long",
        "file": "a/model.safetensors", "tensor": "fc1.weight", "rows": [3, 9], "score": 1.8, "known": False,
    }  # fmt: skip
    assert found["not_tested"] == ["loss poisoning: needs a parent"]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, np.float32(2.5), np.int64(3), None])
def test_json_and_sarif_are_json_whatever_the_score(score):
    result = ScanResult("unsafe", (Finding("k", "critical", "why", score=score),))
    for text in (to_json(result), to_sarif(result, "1.0.0")):
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_sarif_has_what_the_specification_requires():
    log = json.loads(to_sarif(RESULT, "0.1.0"))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    run = log["runs"][0]
    driver = run["tool"]["driver"]
    assert driver["name"] == "Undertow"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        for where in result["locations"]:
            uri = where["physicalLocation"]["artifactLocation"]["uri"]
            assert re.fullmatch(r"[\w./%~-]+|file:///[\w./%~-]+", uri), uri
            assert where["physicalLocation"]["region"]["startLine"] >= 1
    assert run["artifacts"][0]["hashes"] == {"sha-256": "ab" * 32}
    assert "hashes" not in run["artifacts"][1]
    assert run["invocations"][0]["executionSuccessful"] is True
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert "What to do:" in rule["help"]["text"]
        assert rule["help"]["markdown"]
        assert 0 < float(rule["properties"]["security-severity"]) <= 10


def test_sarif_reports_files_that_are_unknown():
    log = json.loads(to_sarif(RESULT, "0.1.0"))
    unread = [one for one in log["runs"][0]["results"] if one["ruleId"] == "UT515"]
    assert [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in unread] == ["b%20c/half.pt"]
    assert unread[0]["level"] == "warning"


def test_sarif_of_nothing_is_a_log_without_results():
    run = json.loads(to_sarif(ScanResult("safe"), "0.1.0"))["runs"][0]
    assert run["results"] == []
    assert run["tool"]["driver"]["rules"] == []


def test_text_says_everything_and_obeys_no_name():
    evil = Finding("data-trap", "critical", "w\x1b[2Jhy", "m\x1b[31m.pt", "t\nensor", (1,), 2.0)
    text = summary(ScanResult("unsafe", (evil,)))
    assert "\x1b" not in text
    assert "t\nensor" not in text
    whole = summary(RESULT)
    for part in ("unsafe   a/model.safetensors", "fc1.weight", "2 rows: 3, 9", "NOT TESTED", "VERDICT: unsafe"):
        assert part in whole
    assert "\x1b[31m" in summary(RESULT, colour=True)
    assert "\x1b" not in whole


def test_the_page_is_self_contained_and_complete():
    html = page(RESULT, NORMS, HERE)
    found = Tags(html)
    assert "script" not in found.tags
    assert not [link for link in found.links if not link.startswith(("#", "data:"))]
    assert len(found.ids) == len(set(found.ids))
    text = text_of(html)
    for part in ("unsafe", "fc1. weight", "2 rows: 3, 9", "loss poisoning: needs a parent", "ab" * 32, "not read"):
        assert part in text.replace("fc1.weight", "fc1. weight")
    assert "<svg" in html
    assert html == page(RESULT, NORMS, HERE)


def test_the_page_escapes_every_name():
    evil = Finding(EVIL, "critical", EVIL, EVIL, EVIL, (0,), 1.0)
    result = ScanResult("unsafe", (evil,), (EVIL,), (ScannedFile(EVIL, EVIL, "unsafe"),), {EVIL: EVIL})
    html = page(result, {(EVIL, EVIL): np.ones(4)}, {EVIL: EVIL})
    assert "<script" not in html
    assert "onerror=alert(2)>" not in html
    assert "49" not in text_of(html).split()


@pytest.mark.parametrize("verdict", ["safe", "unsafe", "unknown"])
def test_every_verdict_has_a_page(verdict):
    html = page(ScanResult(verdict), {}, HERE)
    assert verdict in text_of(html)
    assert "Nothing above the threshold" in text_of(html)


@pytest.mark.parametrize("lengths", [np.zeros(5), np.full(5, 1e-320), np.array([1e300] * 5), np.ones(20_000)])
def test_any_lengths_can_be_drawn(lengths):
    found = Finding("data-trap", "critical", "why", "f", "t", (0, 4, 10**9), 1.0)
    assert "<svg" in page(ScanResult("unsafe", (found,)), {("f", "t"): lengths}, HERE)


def test_text_counts_safe_files_without_weights():
    files = (*FILES, ScannedFile("a/README.md", "cd" * 32, "safe"), ScannedFile("a/odd.json", "", "unknown"))
    text = summary(ScanResult("unsafe", files=files), weights={"a/model.safetensors"})
    assert "and 1 file without weights" in text
    assert "README" not in text
    assert "odd.json" in text
