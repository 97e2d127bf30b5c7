"""What one finished run says, in the words of its own report, and the few numbers that carry it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from undertow.metrics import exposure
from undertow.report.best import best_at, most_exposing, rates
from undertow.report.reading import READINGS, reading_of
from undertow.report.rows import controls, of_kind, scores_of
from undertow.types import AuditResult, Measurement

LEAKAGE = ("mia", "tmi", "score", "model", "lm")
TRAP_COUNTS = ("traps", "captured_exact", "captured_unique", "accepted", "accepted_precision")
DP_NUMBERS = ("epsilon_claimed", "epsilon_lower", "epsilon_ceiling", "claim_p_value")
SURE = (0.9, 0.99)  # exposures beyond which records are counted
MOST = 24  # numbers of an audit that is not known here
SCAN_WORDS = {
    "safe": "Nothing in these files speaks against finetuning from them.",
    "unsafe": "The scan found critical signs: do not finetune private data from this.",
    "unknown": "Not everything could be read or examined; unknown is not safe.",
}


@dataclass(frozen=True)
class Read:
    """The reading of a run: state and badge as in its report, one sentence, and what may void it."""

    state: str
    badge: str
    headline: str
    checks: tuple[tuple[str, bool | None, str], ...] = ()


def read(result: AuditResult) -> Read:
    """The reading of a run of any audit; of one that is not known here, that there is none."""
    if result.audit == "epsilon":
        return _epsilon(result)
    verdict = _verdict_of(result)
    if verdict is None:
        return Read("unread", "Measured", f"The numbers of {result.audit!r} are listed as they are, without a reading.")
    checks = tuple((check.name, check.passed, check.text) for check in verdict.checks)
    return Read(verdict.state, verdict.badge, verdict.headline, checks)


def read_scan(scan: Mapping[str, Any]) -> Read:
    """The reading of a scan."""
    word = str(scan["verdict"])
    findings = [found for found in scan["findings"] if isinstance(found, dict)]
    critical = sum(found.get("severity") == "critical" for found in findings)
    text = SCAN_WORDS.get(word, "The verdict is not one that is known here.")
    names = sorted({f"{found.get('code')} {found.get('kind')}" for found in findings})
    listed = f" Findings: {', '.join(names)}." if names else ""
    return Read(word, word, f"{text} {len(scan['files'])} files, {critical} critical findings.{listed}")


def _verdict_of(result: AuditResult) -> Any:
    """The verdict of the audit's own report; None where no report knows it."""
    return reading_of(result).verdict(result) if result.audit in READINGS else None


def _epsilon(result: AuditResult) -> Read:
    first = next((m for m in result.measurements if m.metric == "epsilon_lower" and m.headline), None)
    if first is None or first.value is None:
        return Read("undecided", "Undecided", "No lower bound of epsilon holds on these scores.")
    sure = f"{100 * (first.confidence or 0.95):g}% confidence"
    text = f"Epsilon is at least {first.value:.3f} at delta {first.delta:g} ({sure}, {first.bound}, {first.n} trials)."
    p = next((m.value for m in result.measurements if m.metric == "claim_p_value" and m.value is not None), None)
    if p is None:
        return Read("within", "Bound", f"{text} No claim was given to hold it against.")
    refuted = p <= 0.001
    word = "is refuted" if refuted else "is not refuted"
    return Read(
        "violated" if refuted else "within",
        "The claim is refuted" if refuted else "The claim stands",
        f"{text} The claim {word} (p = {p:.2g}).",
    )


def numbers(result: AuditResult) -> list[Measurement]:
    """The few numbers to file, most important first; intervals of a best attack allow for its choice."""
    if result.audit in LEAKAGE:
        found = [best_at(result), *(best_at(result, label) for label in rates(result))]
        return [one.m for one in found if one is not None]
    plain = [m for m in result.measurements if m.at is None]
    if result.audit == "poisoning":
        return [m for m in plain if m.metric == "tpr_difference" or (m.metric == "auc" and m.group not in (None,))]
    if result.audit == "datatrap":
        seeds = "mean" if any(m.seed == "mean" for m in plain) else result.seed
        kept = [m for m in plain if m.metric in TRAP_COUNTS and m.group is None]
        return [m for m in kept if m.seed == seeds or m.seed is None] or kept
    if result.audit in ("dp", "epsilon"):
        kept = [m for m in plain if m.metric in DP_NUMBERS and (m.metric != "epsilon_lower" or m.headline)]
        views = {m.view for m in kept if m.headline}
        return [m for m in kept if m.view in views or m.view is None]
    return plain[:MOST]


def control_rows(result: AuditResult) -> list[Measurement]:
    """What must find nothing: blind guess, control games, the clean arm's own numbers, runs without the canary."""
    found = list(result.controls) if result.audit not in LEAKAGE else []
    if result.audit in LEAKAGE:
        blind, best = of_kind(result, "blind"), best_at(result)
        found += [blind.known] if blind is not None else []
        twins = [row for row in controls(result) if best is not None and row.attack == best.row.attack]
        found += [row.known for row in twins]
    if result.audit == "datatrap":
        found += [m for m in result.measurements if m.metric == "accepted" and m.group == "clean_twin"]
    return found


def worst(result: AuditResult) -> dict[str, Any]:
    """The most exposed record of the attack that is best where alarms are rare; a reason where it is not known."""
    if result.audit in ("dp", "epsilon"):
        return _none("The number is about the worst record by its design: the canary that the adversary chose.")
    if result.audit == "datatrap":
        exact = next((m for m in result.measurements if m.metric == "captured_exact" and m.value is not None), None)
        if exact is None or not exact.value:
            return _none("No record was copied exactly.")
        return {"value": 1.0, "what": "share of its values that were recovered: the record was copied exactly"}
    best = most_exposing(result) if result.audit in LEAKAGE else None
    scores = scores_of(result, best.row) if best is not None else _suspect_scores(result)
    if scores is None:
        return _none("The scores of single records were not kept with this result (scores.npz).")
    share = np.ma.asarray(exposure(scores))
    known = share.compressed()
    if not len(known):
        return _none("No record was a member of a scored model.")
    top = int(np.argmax(share.filled(-1.0)))
    return {
        "value": float(known.max()),
        "what": "share of non-members that the record's score beats, averaged over the models trained on it; 0.5 is "
        "hidden, 1 is always exposed; the top of a long list is partly luck",
        "attack": scores.attack,
        "models": int(scores.inside[:, top].sum()),
        "records": len(known),
        "mean": float(known.mean()),
        "above": {f"{limit:g}": int((known >= limit).sum()) for limit in SURE},
    }


def _suspect_scores(result: AuditResult) -> Any:
    return next((s for s in result.scores if s.group in ("suspect", "poisoned") and s.points != "others"), None)


def _none(reason: str) -> dict[str, Any]:
    return {"value": None, "reason": reason}


def false_alarms(result: AuditResult) -> str:
    """At which rate of false alarms the numbers are read, in one sentence."""
    read_at = sorted({m.fpr for m in result.measurements if m.fpr is not None}, reverse=True)
    texts = []
    if read_at:
        texts.append(f"True positive rates are read at {' and '.join(f'{100 * x:g}%' for x in read_at)} false alarms.")
    if result.audit == "datatrap":
        texts.append("Every reading is compared with the records; `accepted` readings of the clean twin are false.")
    levels = sorted({m.confidence for m in result.measurements if m.confidence is not None and m.headline})
    if levels:
        texts.append(f"Bounds hold with {' and '.join(f'{100 * x:g}%' for x in levels)} confidence.")
    if result.audit == "poisoning" and result.verdict is not None:
        texts.append("Each test behind the verdict has a false alarm rate of 1%.")
    return " ".join(texts) or "This audit states no rate of false alarms."


def seeds(result: AuditResult) -> Sequence[int]:
    """The seeds of the experiments in a result."""
    return sorted({m.seed for m in result.measurements if isinstance(m.seed, int)} | {result.seed})
