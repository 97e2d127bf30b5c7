"""`result.json` (versioned), `scores.npz` and `records.csv`: written for people and programs, read back whole."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from undertow.metrics import exposure
from undertow.storage.files import read_npz, write_atomic
from undertow.types import (
    READABLE,
    SCHEMA,
    Array,
    AuditResult,
    BadInput,
    Measurement,
    Scores,
    StoreError,
    metric_of,
)

PRIVATE = 0o600  # who scores high is who is exposed: for the owner's eyes
TAGS = ("points", "recipe", "view")  # of Scores, where the audit has them
_ALWAYS = ("attack", "metric", "value", "low", "high", "n", "unit")


def result_json(result: AuditResult) -> str:
    """The result as JSON text; NaN never appears."""
    body = {
        "schema": SCHEMA,
        "audit": result.audit,
        "config": result.config,
        "seed": result.seed,
        "environment": result.environment,
        "data": result.data,
        "measurements": [_row(m) for m in result.measurements],
        "controls": [_row(m) for m in result.controls],
        "metrics": _metrics(result),
        "timing": {k: round(v, 3) for k, v in result.timing.items()},
        "utility": result.utility,
        "warnings": list(result.warnings),
    }
    if result.design:
        body["design"] = result.design
    if result.leak is not None:
        body["leak"] = result.leak
    if result.validity is not None:
        body["validity"] = dict(result.validity)
    if result.not_run or result.left_out:
        body["attacks"] = {
            "run": list(dict.fromkeys(m.attack for m in result.measurements if "_difference" not in m.metric)),
            "not_run": [dict(e) for e in result.not_run],
            "left_out": [dict(e) for e in result.left_out],
        }
    if result.verdict is not None:
        body |= {"verdict": result.verdict, "evidence": [dict(e) for e in result.evidence]}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def save_result(result: AuditResult, out: Path) -> None:
    """Write result.json, scores.npz and records.csv into `out`; each whole or not at all."""
    write_atomic(out / "result.json", result_json(result).encode())
    if result.scores:
        write_atomic(out / "scores.npz", _scores_npz(result), PRIVATE)
        write_atomic(out / "records.csv", _records_csv(result).encode(), PRIVATE)


def save_people(people: Sequence[Scores], out: Path) -> None:
    """Write people.csv: id, score, rank, attack: how exposed each person (group) is, as in records.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "score", "rank", "attack"))
    for scores in people:
        exposed = exposure(scores)
        known = np.flatnonzero(~np.ma.getmaskarray(exposed))
        for rank, g in enumerate(known[np.argsort(-exposed.data[known], kind="stable")], 1):
            writer.writerow(((scores.ids or ())[g], f"{exposed.data[g]:.6g}", rank, scores.attack))
    write_atomic(out / "people.csv", text.getvalue().encode(), PRIVATE)


def load_result(path: str | Path) -> AuditResult:
    """The result in a run folder, or in a `result.json`; with its scores where they lie beside it.

    Raises StoreError where there is none, or where it is not one this version can read.
    """
    file = Path(path)
    file = file / "result.json" if file.is_dir() else file
    try:
        body = json.loads(file.read_text(encoding="utf8"))
    except FileNotFoundError as error:
        raise StoreError(f"{file}: no result there (was the audit interrupted? run the same command again)") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read as JSON: {error}") from error
    schema = body.get("schema") if isinstance(body, dict) else None
    if schema not in READABLE:
        raise StoreError(f"{file} has schema {schema!r}; this version reads {' and '.join(map(repr, READABLE))}")
    try:
        scores, ids = _load_scores(file.with_name("scores.npz"))
        return AuditResult(
            audit=body["audit"],
            config=body["config"],
            seed=body["seed"],
            environment=body["environment"],
            data=body["data"],
            measurements=_measurements(body["measurements"]),
            controls=_measurements(body["controls"]),
            timing=body["timing"],
            utility=body.get("utility", {}),
            warnings=tuple(body.get("warnings", ())),
            verdict=body.get("verdict"),
            evidence=tuple(body.get("evidence", ())),
            scores=scores,
            ids=ids,
            design=body.get("design", {}),
            leak=body.get("leak"),
            validity=body.get("validity"),
            not_run=tuple(body.get("attacks", {}).get("not_run", ())),
            left_out=tuple(body.get("attacks", {}).get("left_out", ())),
        )
    except (KeyError, TypeError, BadInput) as error:
        raise StoreError(f"{file} is damaged ({error}): run the audit again") from error


def _metrics(result: AuditResult) -> dict[str, Any]:
    """What each number of the result is: label, unit and direction of every metric, for programs."""
    names = sorted({m.metric for m in (*result.measurements, *result.controls)})
    known = {name: metric_of(name) for name in names}
    return {
        name: {"label": m.label, "form": m.form, "unit": m.unit.strip(), "higher_leaks": m.higher}
        for name, m in known.items()
    }


def _row(measurement: Measurement) -> dict[str, Any]:
    return {k: v for k, v in asdict(measurement).items() if v is not None or k in _ALWAYS}


def _measurements(rows: Sequence[Mapping[str, Any]]) -> tuple[Measurement, ...]:
    known = {f.name for f in fields(Measurement)}
    return tuple(Measurement(**{k: v for k, v in row.items() if k in known}) for row in rows)


def _scores_npz(result: AuditResult) -> bytes:
    """attack (A,), group (A,), values (A, T, Q), member (T, Q), id (Q,), where all were scored on the same.

    Otherwise (arms, and points of their own) attack, group, points, recipe, view (A,) and id (Q,), and for
    each a: values_a (T, Q), member_a (T, Q), id_a (Q,) where its points are not the result's, groups_a (Q,) where
    points belong together, scored_a (T, Q) where some pairs have no score. in_turn (A,) always.
    """
    every, first = result.scores, result.scores[0]
    arrays = {
        "id": np.array(result.ids),
        "attack": np.array([s.attack for s in every]),
        "group": _texts(every, "group"),
    }
    arrays["in_turn"] = np.array([s.in_turn for s in every])
    if all(np.array_equal(s.member, first.member) and _plain(s) for s in every):
        arrays |= {"values": np.stack([s.values for s in every]), "member": first.member}
    else:
        arrays |= {name: _texts(every, name) for name in TAGS}
        for a, s in enumerate(every):
            arrays |= {f"values_{a}": s.values, f"member_{a}": s.member}
            arrays |= {} if s.ids is None else {f"id_{a}": np.array(s.ids)}
            arrays |= {} if s.groups is None else {f"groups_{a}": s.groups}
            arrays |= {} if s.scored is None else {f"scored_{a}": s.scored}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _texts(scores: Sequence[Scores], name: str) -> Array:
    return np.array([getattr(s, name) or "" for s in scores])


def _plain(scores: Scores) -> bool:
    alone = scores.ids is None and scores.groups is None and scores.scored is None
    return alone and not any(getattr(scores, name) for name in TAGS)


def _load_scores(path: Path) -> tuple[tuple[Scores, ...], tuple[str, ...]]:
    if not path.is_file():
        return (), ()
    arrays = read_npz(path)
    ids = tuple(str(i) for i in arrays["id"])
    if "values" in arrays:
        turns = arrays.get("in_turn", np.zeros(len(arrays["attack"]), bool))  # results of earlier versions have none
        rows = zip(arrays["attack"], arrays["group"], arrays["values"], turns, strict=True)
        return tuple(Scores(str(a), v, arrays["member"], str(g) or None, in_turn=bool(t)) for a, g, v, t in rows), ids
    return tuple(_one_of(arrays, a) for a in range(len(arrays["attack"]))), ids


def _one_of(arrays: Mapping[str, Array], a: int) -> Scores:
    tags = {name: str(arrays[name][a]) or None for name in ("group", *TAGS)}
    ids = tuple(str(i) for i in arrays[f"id_{a}"]) if f"id_{a}" in arrays else None
    turn = bool(arrays["in_turn"][a]) if "in_turn" in arrays else False
    groups = arrays.get(f"groups_{a}")
    return Scores(
        str(arrays["attack"][a]),
        arrays[f"values_{a}"],
        arrays[f"member_{a}"],
        ids=ids,
        in_turn=turn,
        groups=groups,
        scored=arrays.get(f"scored_{a}"),
        **tags,
    )


def _records_csv(result: AuditResult) -> str:
    """id, score, rank, attack: how exposed each record is (metrics.exposure), 1 = most exposed first.

    Poisoning: of the poisoned arm (or the suspect), with the columns group, points, recipe and view; ranked
    within what was scored together.
    """
    listed = [s for s in result.scores if s.group is None]
    tags = () if listed else ("group", *TAGS)
    listed = listed or [s for s in result.scores if s.group in ("poisoned", "suspect")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "score", "rank", "attack", *tags))
    for scores in listed:
        ids = scores.ids or result.ids
        exposed = exposure(scores)
        known = np.flatnonzero(~np.ma.getmaskarray(exposed))
        order = known[np.argsort(-exposed.data[known], kind="stable")]
        for rank, q in enumerate(order, 1):
            row = {**{tag: getattr(scores, tag) or "" for tag in tags}, "points": scores.points or _side(result, q)}
            also = [row[tag] for tag in tags]
            writer.writerow((ids[q], f"{exposed.data[q]:.6g}", rank, scores.attack, *also))
    return text.getvalue()


def _side(result: AuditResult, q: int) -> str:
    """Whether challenge point `q` is a target or one of the others; empty where the result does not know."""
    if not result.targets:
        return ""
    return "targets" if q < result.targets else "others"
