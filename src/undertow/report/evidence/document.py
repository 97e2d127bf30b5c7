"""Finished runs, and what their owner says of the release -> one document, `undertow.evidence/1`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from undertow.audits.finished_run import FinishedRun
from undertow.report.evidence.classes import CLASSES, AttackClass, measured
from undertow.report.evidence.facts import Context, Made, data, mitigations, privacy, stated, training
from undertow.report.evidence.readings import (
    Read,
    control_rows,
    false_alarms,
    numbers,
    read,
    read_scan,
    seeds,
    worst,
)
from undertow.report.prose import threat_model
from undertow.types import AuditResult, Measurement

EVIDENCE = "undertow.evidence/1"  # the number rises when a reader of the old one would misread
ROW = (
    "attack", "metric", "value", "low", "high", "n", "unit", "fpr", "group", "points", "recipe", "view", "epsilon",
    "delta", "bound", "assumes", "confidence", "members", "non_members", "chance", "choices", "warning", "reason",
)  # fmt: skip
MAPS_TO = (
    {
        "to": "EDPB Opinion 28/2024",
        "where": "para 43, 46, 55, 58",
        "how": "tests by attack class, release context, threat model, measures, ratio of records to parameters. The "
        "opinion was read through secondary sources.",
    },
    {
        "to": "NIST SP 800-226",
        "where": "evaluation of differential privacy guarantees",
        "how": "unit, adjacency, accountant and access are stated beside every epsilon.",
    },
    {
        "to": "CNIL, recommendations on AI (July 2025)",
        "where": "status of a model",
        "how": "attacks were run and are documented; a class that was not run is named as such.",
    },
)
LIMITS = (
    "A test bounds only the attacks that were run, on these models and records. It is evidence for its own attack "
    "class and for no other.",
    "Where an attack found nothing, a stronger one, more shadow models or more records may find something.",
    "This document reports measurements. Whether they are enough for a legal purpose is for the one who files it to "
    "judge.",
)
AGAIN = (
    "when the model is trained again or finetuned further",
    "when the training data change",
    "when the model is released to other people or with other access (weights, log-probabilities)",
    "when a stronger attack is published, and at least once a year",
)


def evidence(runs: Sequence[FinishedRun], context: Context, made: Made) -> dict[str, Any]:
    """The whole document; `classes` has every class of CLASSES, measured or not run, never blank."""
    return {
        "schema": EVIDENCE,
        "made": {
            "date": made.date,
            "by": stated(context.by, "--by"),
            "tool": dict(made.tool),
        },
        "subject": {
            "name": stated(context.subject, "--subject"),
            "files": stated([dict(file) for file in made.files], "--model"),
            "data": data(runs),
        },
        "release": {
            "context": stated(context.context, "--context"),
            "attacker": stated(context.attacker, "--attacker"),
        },
        "training": training(runs, context, made),
        "differential_privacy": privacy(runs, context),
        "mitigations": stated(
            [*context.mitigations, *dict.fromkeys(text for run in runs for text in mitigations(run))],
            "mitigations = [...] in --details",
        ),
        "classes": [_class(one, runs) for one in CLASSES],
        "runs": [_run(run) for run in runs],
        "test_again": [context.test_again] if context.test_again else list(AGAIN),
        "maps_to": [dict(one) for one in MAPS_TO],
        "limits": list(LIMITS),
        "notes": context.notes,
    }


def _class(one: AttackClass, runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """One attack class: measured with its results, or not run with the reason."""
    results = [_result(run) for run in runs if one.name in measured(run.audit, run.result)]
    return {
        "name": one.name,
        "source": one.source,
        "covers": one.covers,
        "status": "measured" if results else "not_run",
        "reason": one.covers if results else one.not_run,
        "results": results,
    }


def _result(run: FinishedRun) -> dict[str, Any]:
    """What one run contributes to a class."""
    result = run.result
    if result is None:
        return _of_scan(run)
    found = read(result)
    return {
        **_head(run, found),
        "attacker": {
            "access": ACCESS.get(result.audit, "as the configuration of the audit says"),
            "knowledge": list(threat_model(result)),
        },
        "numbers": [row_of(m) for m in numbers(result)],
        "controls": [row_of(m) for m in control_rows(result)],
        "checks": [{"name": name, "passed": passed, "text": text} for name, passed, text in found.checks],
        "false_alarms": false_alarms(result),
        "worst_record": worst(result),
        "seeds": list(seeds(result)),
        "warnings": list(result.warnings),
        "not_run": [_texts(entry) for entry in result.not_run],
        "left_out": [_texts(entry) for entry in result.left_out],
    }


ACCESS = {
    "mia": "output scores of the finetuned model",
    "tmi": "output scores of the finetuned model; never the pretrained one",
    "score": "what the signals contain that were brought",
    "model": "the answers of one model",
    "lm": "log-probabilities of the finetuned language model's tokens",
    "poisoning": "made the base checkpoint; output scores of the finetuned model",
    "datatrap": "made the base checkpoint; the finetuned weights",
    "extraction": "made the base model; text that the finetuned model generates",
    "dp": "as each row says: outputs, final weights, or every step",
    "epsilon": "what the given scores were made from",
}


def _of_scan(run: FinishedRun) -> dict[str, Any]:
    scan = run.scan or {}
    rate = scan["settings"].get("false_alarm_rate")
    return {
        **_head(run, read_scan(scan)),
        "attacker": {"access": "made the checkpoint", "knowledge": ["The scan reads files; it plays no game."]},
        "numbers": [],
        "controls": [],
        "checks": [],
        "false_alarms": f"False alarm rate of a test, on benign development checkpoints: {rate}."
        if rate is not None
        else "This scan states no rate of false alarms.",
        "worst_record": {"value": None, "reason": "A scan looks at a checkpoint, not at records."},
        "seeds": [],
        "warnings": [f"not tested: {text}" for text in scan["not_tested"]],
        "not_run": [],
        "left_out": [],
    }


def _head(run: FinishedRun, found: Read) -> dict[str, Any]:
    return {
        "run": run.name,
        "audit": run.audit,
        "state": found.state,
        "badge": found.badge,
        "headline": found.headline,
    }


def row_of(m: Measurement) -> dict[str, Any]:
    """A measurement as the document has it; what it does not have is left out, the value and its interval never."""
    always = ("attack", "metric", "value", "low", "high", "n", "unit")
    row = {key: x for key in ROW if (x := getattr(m, key, None)) is not None or key in always}
    return {"label": m.label, **row}


def _texts(entry: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in entry.items()}


def _run(run: FinishedRun) -> dict[str, Any]:
    """Where the numbers come from: hashes, versions, seed, configuration, data."""
    base: dict[str, Any] = {
        "name": run.name,
        "audit": run.audit,
        "written": run.written,
        "sha256": dict(run.sha256),
        "recomputed": run.recomputed,
    }
    result = run.result
    if result is None:
        scan = run.scan or {}
        files = [{"path": PurePath(str(f.get("path"))).name, "sha256": f.get("sha256", "")} for f in scan["files"]]
        return {**base, "files": files, "settings": dict(scan["settings"])}
    return {
        **base,
        "seed": result.seed,
        "environment": {k: v for k, v in result.environment.items() if isinstance(v, str | int | float)},
        "checkpoints": dict(_hashes(result)),
        "config": dict(result.config),
        "data": dict(result.data),
        "design": result.design.get("about", ""),
    }


def _hashes(result: AuditResult) -> Iterator[tuple[str, str]]:
    """Hashes of the checkpoints that a result names."""
    for key in ("published", "checkpoints"):
        named = result.environment.get(key)
        if isinstance(named, Mapping):
            yield from ((str(name), str(value)) for name, value in named.items())
