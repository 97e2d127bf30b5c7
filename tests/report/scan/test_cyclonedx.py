"""A bill of materials of a scan: what CycloneDX 1.6 asks for, complete, and the same for the same scan."""

import json
import re

import pytest

from undertow.report.scan.cyclonedx import to_cyclonedx
from undertow.report.scan.document import to_sarif
from undertow.scanner import Coverage, Finding, ScannedFile, ScanResult

WHEN = "2026-12-01T00:00:00Z"
LOUD = Finding("data-trap", "critical", "rows 40 times as long", "a/model.safetensors", "fc1.weight", (3, 9), 1.8)
QUIET = Finding("mixed-dtypes", "info", "matrices in F32 and F16", "a/model.safetensors")
KNOWN = Finding("auto-map", "info", "code of its own", "a/config.json", known=True)
NAMELESS = Finding("of another room", "warning", "no file is named")
FILES = (
    ScannedFile("a/model.safetensors", "ab" * 32, "unsafe", "safetensors"),
    ScannedFile("a/config.json", "cd" * 32, "safe", "other"),
    ScannedFile("a/b c/hal\udcfff.pt", "", "unknown", "torch-zip"),
)
RESULT = ScanResult(
    "unsafe", (LOUD, QUIET, KNOWN, NAMELESS), ("loss poisoning: needs a parent",), FILES, {"false_alarm_rate": 0.01}
)
HUB = {"source": {"repository": "org/name", "commit": "0123456789abcdef0123456789abcdef01234567"}}
COVERAGE = Coverage({"attention": (30, 40), "other": (0, 60)})
RESULTS = {
    "everything": RESULT,
    "coverage": ScanResult("unknown", (), (), FILES[:1], {}, COVERAGE),
    "nothing": ScanResult("unknown"),
    "hub": ScanResult("safe", (), (), FILES[:1], HUB),
    "odd score": ScanResult("unsafe", (Finding("k", "critical", "why", score=float("inf")),)),
    "twice": ScanResult("unsafe", (LOUD, LOUD), (), FILES[:1] * 2),
}


def bill(result, when=WHEN):
    return json.loads(to_cyclonedx(result, "0.1.0", when), parse_constant=lambda name: pytest.fail(f"{name}: no JSON"))


def values(thing):
    return [(one["name"], one["value"]) for one in thing["properties"]]


@pytest.mark.parametrize("name", RESULTS)
def test_it_is_valid_by_the_schema(name):
    """The schema of the specification, as the library of CycloneDX brings it along."""
    json_validator = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    pytest.importorskip("jsonschema")
    text = to_cyclonedx(RESULTS[name], "0.1.0", WHEN)
    assert json_validator.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


@pytest.mark.parametrize("name", RESULTS)
def test_every_reference_leads_to_one_thing(name):
    found = bill(RESULTS[name])
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["serialNumber"])
    things = [found["metadata"]["component"], *found["metadata"]["tools"]["components"], *found["components"]]
    refs = [one["bom-ref"] for one in [*things, *found["vulnerabilities"]]]
    assert len(refs) == len(set(refs))
    assert not any(ref.startswith("urn:cdx:") for ref in refs)
    named = [one["ref"] for vulnerability in found["vulnerabilities"] for one in vulnerability["affects"]]
    named += [ref for note in found["annotations"] for ref in note["subjects"]]
    named += [ref for one in found["dependencies"] for ref in (one["ref"], *one["dependsOn"])]
    assert set(named) <= set(refs)


def test_files_have_their_hashes_verdicts_and_rules():
    model, config, half = bill(RESULT)["components"]
    assert [one["type"] for one in (model, config, half)] == [
        "machine-learning-model",
        "file",
        "machine-learning-model",
    ]
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert "hashes" not in half
    assert ("undertow:verdict", "unsafe") in values(model)
    assert {value for name, value in values(model) if name == "undertow:rule"} == {"UT401", "UT406"}
    assert ("undertow:rule", "UT515") in values(half)


def test_what_counts_is_a_vulnerability_and_what_informs_a_note():
    found = bill(RESULT)
    loud, known, nameless, unread = found["vulnerabilities"]
    assert (loud["id"], loud["ratings"][0]["severity"]) == ("UT401 data-trap", "critical")
    assert loud["affects"] == [{"ref": "file:a/model.safetensors"}]
    assert loud["detail"] == "fc1.weight: rows 40 times as long"
    assert ("undertow:rows", "[3, 9]") in values(loud)
    assert ("undertow:baseline", "known") in values(known)
    assert nameless["affects"] == [{"ref": "scanned"}]
    assert unread["id"] == "UT515 not-fully-read"
    texts = [note["text"] for note in found["annotations"]]
    assert texts == ["matrices in F32 and F16", "not tested: loss poisoning: needs a parent"]
    assert ("undertow:verdict", "unsafe") in values(found["metadata"])


def test_the_share_that_was_examined_is_in_it():
    stated = dict(values(bill(RESULTS["coverage"])["metadata"]))
    assert (stated["undertow:coverage"], stated["undertow:parameters"]) == ("0.3", "100")
    assert "undertow:coverage" not in dict(values(bill(RESULT)["metadata"]))


def test_a_repository_is_named_with_its_commit():
    whole = bill(RESULTS["hub"])["metadata"]["component"]
    assert (whole["name"], whole["version"]) == ("org/name", HUB["source"]["commit"])
    assert whole["purl"] == f"pkg:huggingface/org/name@{HUB['source']['commit']}"
    assert bill(RESULT)["metadata"]["component"]["name"] == "a"


def test_the_same_scan_is_the_same_document():
    assert to_cyclonedx(RESULT, "0.1.0", WHEN) == to_cyclonedx(RESULT, "0.1.0", WHEN)
    later, other = bill(RESULT, "2026-12-02T00:00:00Z"), bill(RESULTS["hub"])
    assert len({bill(RESULT)["serialNumber"], later["serialNumber"], other["serialNumber"]}) == 3


def test_sarif_says_what_the_baseline_knew():
    without = json.loads(to_sarif(RESULT, "0.1.0"))["runs"][0]["results"]
    assert not any("baselineState" in one for one in without)
    known = ScanResult("unsafe", RESULT.findings, (), FILES, {"baseline": {"file": "b.json", "known": 1, "gone": 0}})
    results = json.loads(to_sarif(known, "0.1.0"))["runs"][0]["results"]
    assert [one["baselineState"] for one in results] == ["new", "new", "unchanged", "new", "new"]
    assert [bool(one.get("suppressions")) for one in results] == [False, False, True, False, False]
