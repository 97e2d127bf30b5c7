"""A scan as a bill of materials of models: CycloneDX 1.6 JSON (https://cyclonedx.org/docs/1.6/json/).

Every file is a component with its SHA-256 and its verdict; every critical finding and warning is a vulnerability that
affects its file; what is only information, and what was not tested, are annotations.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from undertow.report.scan.document import HOME, finite, unread
from undertow.scanner.findings import NO_WEIGHTS, Finding, ScannedFile, ScanResult, Severity
from undertow.scanner.rules import by_kind, code_of

SUBJECT = "scanned"  # bom-ref of what was scanned as a whole
TOOL = "undertow"
RATINGS: dict[Severity, str] = {"critical": "critical", "warning": "medium", "info": "info"}
SHA256 = re.compile(r"[0-9a-f]{64}")


def to_cyclonedx(result: ScanResult, version: str, when: str) -> str:
    """The scan as a CycloneDX 1.6 document; `version` is Undertow's, `when` an RFC 3339 time.

    The same scan of the same files at the same `when` gives the same bytes: the serial number is made of them.
    """
    files = {file.path: file for file in result.files}
    findings = [*result.findings, *unread(result)]
    counted = [found for found in findings if found.severity != "info" or found.known]
    body = {
        "version": 1,
        "metadata": _metadata(result, version, when),
        "components": [_component(file, findings) for file in files.values()],
        "dependencies": [{"ref": SUBJECT, "dependsOn": [_ref(path) for path in files]}],
        "vulnerabilities": [_vulnerability(i, found, files) for i, found in enumerate(counted)],
        "annotations": [
            *(_annotation(_subject(found, files), _said(found), version, when)
              for found in findings if found.severity == "info" and not found.known),
            *(_annotation(SUBJECT, f"not tested: {text}", version, when) for text in result.not_tested),
        ],
    }  # fmt: skip
    whole = _unicode(finite(body))
    serial = uuid5(NAMESPACE_URL, HOME + json.dumps(whole, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}"}
    return json.dumps({**head, **whole}, indent=2, allow_nan=False)


def _unicode(value: Any) -> Any:
    """Texts as Unicode has them: names of files may hold bytes that are no UTF-8, which are written out."""
    if isinstance(value, dict):
        return {key: _unicode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unicode(item) for item in value]
    return value.encode("utf8", "backslashreplace").decode() if isinstance(value, str) else value


def _metadata(result: ScanResult, version: str, when: str) -> dict[str, Any]:
    seen = result.coverage
    share = [("undertow:coverage", seen.share), ("undertow:parameters", seen.total)] if seen else []
    stated = [("undertow:verdict", result.verdict), *share, *_numbers(result.settings)]
    return {
        "timestamp": when,
        "tools": {"components": [{**_tool(version), "bom-ref": TOOL}]},
        "component": _scanned(result),
        "properties": _properties(stated),
    }


def _tool(version: str) -> dict[str, Any]:
    return {"type": "application", "name": "undertow", "version": version}


def _scanned(result: ScanResult) -> dict[str, Any]:
    """The whole that was scanned: the repository at its commit, or the folder that all files lie in."""
    source = result.settings.get("source")
    if isinstance(source, Mapping):
        name, commit = str(source.get("repository")), str(source.get("commit"))
        purl = f"pkg:huggingface/{quote(name, safe='/')}@{quote(commit.lower(), safe='')}"
        return {"type": "machine-learning-model", "bom-ref": SUBJECT, "name": name, "version": commit, "purl": purl}
    paths = [PurePath(file.path) for file in result.files]
    shared = [path for path in paths[0].parents if all(path in one.parents for one in paths)] if paths else []
    name = paths[0].name if len(paths) == 1 else next((path.name for path in shared if path.name), "")
    return {"type": "machine-learning-model", "bom-ref": SUBJECT, "name": name or "scan"}


def _numbers(settings: Mapping[str, object]) -> list[tuple[str, object]]:
    """The settings that are one plain value each."""
    return [(f"undertow:{key}", value) for key, value in settings.items() if isinstance(value, str | int | float)]


def _component(file: ScannedFile, findings: Iterable[Finding]) -> dict[str, Any]:
    codes = sorted({code_of(found.kind) for found in findings if found.file == file.path})
    known = {"hashes": [{"alg": "SHA-256", "content": file.sha256}]} if SHA256.fullmatch(file.sha256) else {}
    kind = [("undertow:kind", file.kind)] if file.kind else []
    return {
        "type": "file" if file.kind == NO_WEIGHTS else "machine-learning-model",
        "bom-ref": _ref(file.path),
        "name": file.path,
        **known,
        "properties": _properties(
            [("undertow:verdict", file.verdict), *kind, *(("undertow:rule", code) for code in codes)]
        ),
    }


def _vulnerability(number: int, found: Finding, files: Mapping[str, ScannedFile]) -> dict[str, Any]:
    rule = by_kind().get(found.kind)
    source = {"name": "Undertow", "url": HOME}
    score = [] if found.score is None else [("undertow:score", found.score)]
    state = [("undertow:baseline", "known")] if found.known else []
    return {
        "bom-ref": f"finding:{number}",
        "id": f"{code_of(found.kind)} {found.kind}",
        "source": source,
        "ratings": [{"source": source, "severity": RATINGS[found.severity], "method": "other"}],
        "description": rule.about if rule else found.kind,
        "detail": _said(found),
        "recommendation": rule.fix if rule else "Read the detail.",
        "affects": [{"ref": _subject(found, files)}],
        "properties": _properties([("undertow:rows", list(found.rows)), *score, *state]),
    }


def _annotation(ref: str, text: str, version: str, when: str) -> dict[str, Any]:
    return {"subjects": [ref], "annotator": {"component": _tool(version)}, "timestamp": when, "text": text}


def _said(found: Finding) -> str:
    return f"{found.tensor}: {found.explanation}" if found.tensor else found.explanation


def _subject(found: Finding, files: Mapping[str, ScannedFile]) -> str:
    return _ref(found.file) if found.file in files else SUBJECT


def _ref(path: str) -> str:
    return f"file:{path}"


def _properties(pairs: Iterable[tuple[str, object]]) -> list[dict[str, str]]:
    """Names and values as texts; lists as JSON."""
    return [{"name": name, "value": value if isinstance(value, str) else json.dumps(finite(value))}
            for name, value in pairs]  # fmt: skip
