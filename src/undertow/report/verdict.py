"""What an audit says, in plain language: what was shown, how surely, and what could make it wrong.

The words never claim safety: an attack that finds nothing bounds only itself.
"""

from dataclasses import dataclass

from undertow.report.best import Best, best_at, tail
from undertow.report.checks import SURELY, Check, checks, surely_above, suspect, upside_down
from undertow.report.doubt import above_chance, chance, flipped
from undertow.report.findings import can_tell, findings, identifies, sign
from undertow.report.missing import to_add, undecided
from undertow.report.rows import Row, measured, of_kind, realistic
from undertow.report.spoken import stated
from undertow.types import AuditResult

BADGES = {
    "leak": "Leak shown",
    "hint": "Hint of a leak",
    "not-shown": "No leak shown",
    "confounded": "Not a measure of membership",
    "doubtful": "A check failed",
    "undecided": "Undecided",
    "undecided-models": "Undecided: too few models",
    "undecided-records": "Undecided: too few records",
    # poisoning
    "amplified": "Leaks more",
    "unexplained": "Leaks more, for whatever reason",
    "lessened": "Leaks less",
    "not-amplified": "No increase shown",
    "suspicious": "Suspicious",
    "safe": "Safe by these tests",
    "unknown": "Unknown",
    # datatrap
    "captured": "Records were copied",
    "captured-broken": "Records were copied, and finetuning broke down",
    "not-captured": "No record was copied",
    # dp
    "violated": "The claim is refuted",
    "repeat": "Not decided: repeat with another seed",
    "within": "The claim stands",
    "loose": "The claim stands, barely tested",
    "bounded": "A lower bound",
    # extraction
    "extracted": "Queries came out word for word",
    "not-extracted": "No extraction shown",
    # audits without a judgement
    "measured": "Measured",
}


@dataclass(frozen=True)
class Verdict:
    """The reading of one audit."""

    state: str  # a key of BADGES
    headline: str
    sentences: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def badge(self) -> str:
        """The state in a few words."""
        return BADGES[self.state]


def reading(result: AuditResult) -> tuple[str, ...]:
    """The plain-language reading: headline, findings, checks."""
    found = verdict(result)
    return (found.headline, *found.sentences, *(check.text for check in found.checks))


def verdict(result: AuditResult) -> Verdict:
    """State, headline, findings and checks of one audit."""
    best = best_at(result)
    if best is None:
        reasons = dict.fromkeys(m.reason for m in measured(result) if m.metric == "auc" and m.reason)
        why = f" ({'; '.join(reasons)})" if reasons else ""
        return Verdict("undecided", f"Nothing can be said: no attack gave an AUC{why}.", (), checks(result))
    state = _state(result, best)
    return Verdict(state, _headline(result, best, state), tuple(findings(result, state)), checks(result))


def _state(result: AuditResult, best: Best) -> str:
    blind = of_kind(result, "blind")
    if blind and surely_above(blind.known):
        return "confounded"
    if (blind and above_chance(blind.known)) or suspect(result, realistic(result)[0]):
        return "doubtful"
    if best.better if result.leak is None else result.leak.get("shown"):
        return "leak"
    wrong = upside_down(result)
    if wrong and (result.audit == "score" or any(row.kind != "baseline" for row in wrong)):
        return "doubtful"
    if wrong or tail(result, SURELY):
        return "hint"
    return undecided(result) or "not-shown"


def _headline(result: AuditResult, best: Best, state: str) -> str:
    number = f"{best.which} reaches AUC {stated(best.m, best.allowing)}"
    guess = f"where guessing gives {chance(best.m):.3g}"
    if state in ("confounded", "doubtful"):
        return _void(result, best.row, state)
    if state == "undecided":
        return f"Nothing can be said: {number}, and without an interval chance is not excluded."
    if state == "leak":
        return _leak(result, best)
    if state == "hint":
        return _hint(result, best)
    if state != "not-shown":
        return f"{to_add(result)} So far {number}, {guess}: neither a leak nor its absence was shown."
    text = f"{can_tell(result, best.row, shown=False)}: {number}, {guess}"
    if best.better and result.leak is not None and result.leak.get("p") is not None:
        text += f", and dealing membership out at random does as well with probability {result.leak['p']:.2g}"
    return f"{text}. An AUC as high as {best.m.high:.3f} is compatible with the data, so a leak is not ruled out."


def _leak(result: AuditResult, best: Best) -> str:
    name = best.row.attack if result.leak is None else str(result.leak.get("attack", best.row.attack))
    row = next((row for row in realistic(result) if row.attack == name), best.row)
    number, guess = stated(best.m, best.allowing), f"where guessing gives {chance(best.m):.3g}"
    text = f"{can_tell(result, best.row)}: {best.which} reaches AUC {number}, {guess}."
    if row.attack == best.row.attack:
        return text
    return f"{text} It is shown most surely by {row.attack}, with AUC {stated(row.known)}."


def _hint(result: AuditResult, best: Best) -> str:
    rate = tail(result, SURELY)
    number = f"{best.which} reaches AUC {stated(best.m, best.allowing)}"
    if rate is None:
        wrong = upside_down(result)[0]
        return (
            f"A leak is hinted at: {wrong.attack} ranks members below non-members, with AUC {stated(wrong.known)}; an "
            f"adversary who knows that turns its sign round and reaches AUC {flipped(wrong.known).value:.3f}. As it "
            f"stands, {number}."
        )
    return (
        f"A leak is hinted at for a few records: {identifies(rate)}. Over all records none was shown: {number}, "
        f"where guessing gives {chance(best.m):.3g}."
    )


def _void(result: AuditResult, best: Row, state: str) -> str:
    """The headline of an audit whose numbers cannot be taken for leakage."""
    blind = of_kind(result, "blind")
    if state == "confounded" and blind is not None:
        return (
            "These numbers do not measure membership leakage: a blind guess that asks no model reaches "
            f"AUC {stated(blind.known)}, so members and non-members differ in themselves."
        )
    odd = suspect(result, best) or (blind if blind is not None and above_chance(blind.known) else None)
    if odd is None:
        return f"Do not rely on these numbers yet. {' '.join(sign(result))}"
    where = f"on the control ({odd.group})" if odd.group else "without asking any model"
    return (
        f"Do not rely on these numbers yet: {odd.attack} reaches AUC {stated(odd.known)} {where}, "
        "where there should be nothing to find."
    )
