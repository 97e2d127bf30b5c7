"""A scan for machines: JSON of our own, and SARIF 2.1.0 for code scanning dashboards."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from undertow.scanner.coverage import Coverage
from undertow.scanner.findings import Finding, ScanResult, Severity
from undertow.scanner.rules import UNKNOWN_KIND, Rule, by_kind, code_of

SCHEMA = "undertow.scan/1"  # the number rises when a reader of the old one would misread
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
HOME = "https://pypi.org/project/undertow/"
LEVELS: dict[Severity, str] = {"critical": "error", "warning": "warning", "info": "note"}
SEVERITY: dict[Severity, str] = {"critical": "9.0", "warning": "5.0", "info": "1.0"}  # as GitHub ranks security results
UNREAD = "not-fully-read"


def to_json(result: ScanResult) -> str:
    """The scan as JSON: {schema, verdict, coverage, files, findings, not_tested, settings}; numbers are finite."""
    whole = {
        "schema": SCHEMA,
        "verdict": result.verdict,
        "coverage": _coverage(result.coverage),
        "files": [vars(file) for file in result.files],
        "findings": [_finding(found) for found in result.findings],
        "not_tested": list(result.not_tested),
        "settings": dict(result.settings),
    }
    return json.dumps(finite(whole), indent=2, allow_nan=False)


def to_sarif(result: ScanResult, version: str) -> str:
    """The scan as a SARIF 2.1.0 log of one run; `version` is Undertow's. A file that is unknown is a warning."""
    rules = dict.fromkeys([found.kind for found in result.findings] + [UNREAD] * (len(unread(result)) > 0))
    index = {kind: i for i, kind in enumerate(rules)}
    compared = "baseline" in result.settings
    results = [_result(found, index[found.kind], compared) for found in result.findings]
    results += [_result(found, index[UNREAD], compared) for found in unread(result)]
    notes = [{"level": "note", "message": {"text": f"not tested: {text}"}} for text in result.not_tested]
    log = {
        "$schema": SARIF,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "Undertow", "semanticVersion": version, "informationUri": HOME,
                "rules": [_rule(kind, result.findings) for kind in rules],
            }},
            "columnKind": "utf16CodeUnits",
            "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
            "artifacts": [_artifact(file.path, file.sha256) for file in result.files],
            "results": results,
            "properties": {"verdict": result.verdict, "coverage": _coverage(result.coverage)},
        }],
    }  # fmt: skip
    return json.dumps(finite(log), indent=2, allow_nan=False)


def _coverage(seen: Coverage | None) -> dict[str, Any] | None:
    """Parameters that were examined, and all; null where no numbers were read."""
    if seen is None:
        return None
    kinds = {kind: {"examined": examined, "total": total} for kind, (examined, total) in seen.kinds.items()}
    return {"examined": seen.examined, "total": seen.total, "share": seen.share, "kinds": kinds}


def _finding(found: Finding) -> dict[str, Any]:
    return {"code": code_of(found.kind), **vars(found), "rows": list(found.rows)}


def unread(result: ScanResult) -> list[Finding]:
    """A finding for each file that is unknown and has no warning of its own."""
    named = {found.file for found in result.findings if found.severity != "info"}
    text = "not fully parsed or read, so it is unknown whether it is safe"
    return [
        Finding(UNREAD, "warning", text, file.path)
        for file in result.files
        if file.verdict == "unknown" and file.path not in named
    ]


def _rule(kind: str, findings: Iterable[Finding]) -> dict[str, Any]:
    severity: Severity = next((found.severity for found in findings if found.kind == kind), "warning")
    rule = by_kind().get(kind)
    about = rule.about if rule else f"Undertow found: {kind.replace('-', ' ')}."
    fix = rule.fix if rule else "Read the explanation of the finding."
    return {
        "id": _id(kind),
        "name": kind,
        "shortDescription": {"text": about},
        "fullDescription": {"text": f"{about} {fix}"},
        "help": {"text": _help(about, fix, rule), "markdown": _help(about, fix, rule, mark="**")},
        "helpUri": HOME,
        "defaultConfiguration": {"level": LEVELS[severity]},
        "properties": {"tags": ["security", "privacy"], "security-severity": SEVERITY[severity]},
    }


def _id(kind: str) -> str:
    """The code of a rule; kinds without one keep their name, so that no two of them share an id."""
    code = code_of(kind)
    return code if code != UNKNOWN_KIND else kind


def _help(about: str, fix: str, rule: Rule | None, mark: str = "") -> str:
    """What was found, what to do, and which loaders it is about."""
    loaders = rule.loaders if rule else ()
    lines = [about, f"{mark}What to do:{mark} {fix}"]
    lines += [f"- {one.name}, {one.versions}; arguments: {one.arguments}" for one in loaders]
    return "\n\n".join(lines[:2]) + "".join(f"\n{line}" for line in lines[2:])


def _result(found: Finding, rule: int, compared: bool) -> dict[str, Any]:
    where: dict[str, Any] = {}
    if found.file:
        where["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(found.file)},
            "region": {"startLine": 1},  # code scanning shows nothing without one
        }
    if found.tensor:
        where["logicalLocations"] = [{"fullyQualifiedName": found.tensor, "kind": "tensor"}]
    return {
        "ruleId": _id(found.kind),
        "ruleIndex": rule,
        "level": LEVELS[found.severity],
        "message": {"text": f"{found.tensor}: {found.explanation}" if found.tensor else found.explanation},
        "locations": [where] if where else [],
        "partialFingerprints": {"undertow/v1": "|".join((found.kind, Path(found.file).name, found.tensor))},
        "properties": {"rows": list(found.rows), "score": found.score},
        **({"baselineState": "unchanged" if found.known else "new"} if compared else {}),
        **({"suppressions": [{"kind": "external", "justification": "it is in the baseline"}]} if found.known else {}),
    }


def _artifact(path: str, digest: str) -> dict[str, Any]:
    artifact: dict[str, Any] = {"location": {"uri": _uri(path)}}
    return artifact | ({"hashes": {"sha-256": digest}} if digest else {})


def _uri(path: str) -> str:
    """A relative path stays one; an absolute one becomes a file URI."""
    quoted = quote(Path(path).as_posix(), safe="/", errors="surrogateescape")  # names of files may be no UTF-8
    return f"file://{quoted}" if Path(path).is_absolute() else quoted


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become texts, and what is a NumPy number a plain one."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    plain = value.item() if hasattr(value, "item") else value
    return plain if not isinstance(plain, float) or abs(plain) < float("inf") else repr(plain)
