"""What an audit says, in plain language: what was shown, how surely, and what could make it wrong.

The words never claim safety: an attack that finds nothing bounds only itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from undertow.report.checks import SURELY, Check, checks, suspect
from undertow.report.doubt import above_chance, apart, lower_limit, upper_limit
from undertow.report.rows import Row, columns, of_kind, realistic
from undertow.report.words import both, crowd, heads, out_of
from undertow.types import AuditResult, Measurement

LEAK = {
    "mia": "The finetuned models leak who was in the finetuning data",
    "tmi": "The finetuned models leak who was in the pretraining data",
}
BADGES = {
    "leak": "Leak shown",
    "hint": "Hint of a leak",
    "not-shown": "No leak shown",
    "confounded": "Not a measure of membership",
    "doubtful": "A check failed",
    "undecided": "Undecided",
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
    "within": "The claim stands",
    "loose": "The claim stands, barely tested",
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
    choice = realistic(result)
    if not choice:
        reasons = dict.fromkeys(m.reason for m in result.measurements if m.metric == "auc" and m.reason)
        why = f" ({'; '.join(reasons)})" if reasons else ""
        return Verdict("undecided", f"Nothing can be said: no attack gave an AUC{why}.", (), checks(result))
    state = _state(result, choice)
    return Verdict(state, _headline(result, choice, state), tuple(_findings(result, choice)), checks(result))


def _state(result: AuditResult, choice: tuple[Row, ...]) -> str:
    best, blind = choice[0].known, of_kind(result, "blind")
    if blind and lower_limit(blind.known, SURELY) > 0.5:
        return "confounded"
    if (blind and above_chance(blind.known)) or suspect(result, choice[0]):
        return "doubtful"
    if best.low is None or best.high is None:
        return "undecided"
    if lower_limit(best, len(choice)) > 0.5:
        return "leak"
    return "hint" if _tail(result, choice) else "not-shown"


def _headline(result: AuditResult, choice: tuple[Row, ...], state: str) -> str:
    row, best = choice[0], both(choice[0].known)
    if state in ("confounded", "doubtful"):
        return _void(result, row, state)
    if state == "undecided":
        return f"Nothing can be said: the best AUC is {best} ({row.attack}), and chance is not excluded."
    if state == "leak":
        leak = LEAK.get(result.audit, "The audited models leak who was in their training data")
        return f"{leak}: the best attack, {row.attack}, reaches AUC {best}; guessing gives 0.5."
    tail = _tail(result, choice)
    if tail:
        return (
            f"A leak is hinted at for a few records: the best AUC, {best} ({row.attack}), does not establish "
            f"one, but {tail.attack} finds more members than guessing: {out_of(tail)}."
        )
    text = f"No leak was shown by these attacks at this sample size: the best AUC is {best} ({row.attack})"
    if above_chance(choice[0].known):
        text += f", which is not above chance once it counts that it was picked from {len(choice)} attacks"
    return text + "."


def _void(result: AuditResult, best: Row, state: str) -> str:
    """The headline of an audit whose numbers cannot be taken for leakage."""
    blind = of_kind(result, "blind") or best
    if state == "confounded":
        return (
            f"These numbers do not measure membership leakage: a blind guess that asks no model reaches "
            f"AUC {both(blind.known)}, so members and non-members differ in themselves."
        )
    odd = suspect(result, best) or blind
    where = f"on the control ({odd.group})" if odd.group else "without asking any model"
    return (
        f"Do not rely on these numbers yet: {odd.attack} reaches AUC {both(odd.known)} {where}, "
        "where there should be nothing to find."
    )


def _findings(result: AuditResult, choice: tuple[Row, ...]) -> Iterator[str]:
    """What was found, most important first."""
    row, best = choice[0], choice[0].known
    for label in _rates(result):
        yield from _identified(choice, label)
    if best.high is not None and lower_limit(best, len(choice)) <= 0.5:
        yield f"The data are compatible with an AUC as high as {best.high:.3f}: absence of a leak was not shown."
    if len(choice) > 1 and best.low is not None:
        limit = lower_limit(best, len(choice))
        yield (
            f"{row.attack} is the best of {len(choice)} attacks on the same data, and picking the best is "
            f"optimistic: allowing for the choice (Bonferroni), the lower limit of its AUC is {limit:.3f}, "
            f"{'still' if limit > 0.5 else 'not'} above 0.5."
        )
    yield from _against_baselines(choice)
    yield from _against_bound(result, row)
    wrong = [r.attack for r in choice if upper_limit(r.known, len(choice)) < 0.5]
    if wrong:
        why = "No leak does that; in given signals it often means a flipped sign (higher must mean member)."
        yield f"Below chance: {', '.join(wrong)}. {why}"


def _identified(choice: tuple[Row, ...], label: str) -> Iterator[str]:
    """The best attack's true positive rate in people, and the attack that does better at this rate."""
    m = choice[0].cells.get(label)
    if m is None or m.value is None or m.fpr is None:
        return
    text = f"{m.attack} at a false alarm rate of {100 * m.fpr:g}%: {out_of(m)}"
    top = max((c for r in choice if (c := r.cells.get(label))), key=lambda c: c.value or 0.0)
    if (top.value or 0.0) > m.value:
        text += f" ({top.attack}: {heads(top, crowd(m))})"
    if lower_limit(m, len(choice)) <= m.fpr:
        text += "; that guessing does as well is not excluded"
    yield text + "."


def _against_baselines(choice: tuple[Row, ...]) -> Iterator[str]:
    row = choice[0]
    if row.kind == "baseline":
        if any(r.kind == "attack" for r in choice):
            yield f"{row.attack} needs no shadow models; the attacks that train some were not shown to add to it."
        return
    baseline = next((r for r in choice if r.kind == "baseline"), None)
    if baseline is None:
        return
    text = f"The best baseline without shadow models, {baseline.attack}, reaches AUC {both(baseline.known)}"
    if apart(row.known, baseline.known):
        yield f"{text}: the interval of {row.attack} lies above it, so shadow models add to the attack."
    else:
        yield f"{text}: the intervals overlap, so it was not shown that shadow models add to the attack."


def _against_bound(result: AuditResult, row: Row) -> Iterator[str]:
    bound = of_kind(result, "direct")
    if bound is None:
        return
    access = "With direct access to the pretrained model, which the adversary does not have"
    text = f"{access}, {bound.attack} reaches AUC {both(bound.known)}"
    if not above_chance(bound.known):
        yield f"{text}: not above chance either, so even there these rules found nothing."
    elif apart(bound.known, row.known):
        yield f"{text}: more than {row.attack}, so only part of it was recovered through the finetuned model."
    elif apart(row.known, bound.known):
        yield f"{text}: less than {row.attack}, so it bounds nothing here."
    else:
        yield f"{text}: the intervals overlap, so it was not shown that finetuning hides anything."


def _tail(result: AuditResult, choice: tuple[Row, ...]) -> Measurement | None:
    """The true positive rate furthest above its false positive rate, if beyond what picking it explains.

    Rates that carry a warning are left out: with a few expected false positives the threshold is mostly noise.
    The others are held to a five times stricter limit, since intervals of rare events are rough: without it,
    9 of 120 null audits (11 independent attacks, 16 models of 200 records) gave a hint.
    """
    cells = [m for r in choice for label in _rates(result) if (m := r.cells.get(label))]
    firm = [m for m in cells if m.value is not None and m.fpr is not None and m.warning is None]
    sure = [m for m in firm if lower_limit(m, SURELY * len(firm)) > (m.fpr or 1.0)]
    return max(sure, key=lambda m: (m.value or 0.0) / (m.fpr or 1.0), default=None)


def _rates(result: AuditResult) -> tuple[str, ...]:
    return tuple(label for label in columns(result) if label.startswith("TPR@"))
