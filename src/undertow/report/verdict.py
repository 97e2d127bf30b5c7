"""What an audit says, in plain language: what was shown, how surely, and what could make it wrong.

The words never claim safety: an attack that finds nothing bounds only itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scipy.special import expit, logit
from scipy.stats import t as student

from undertow.report.rows import Row, columns, controls, of_kind, realistic
from undertow.report.words import both, count, out_of
from undertow.types import AuditResult, Measurement

SECRET = {"mia": "the finetuning data", "tmi": "the pretraining data"}
MODELS = {"mia": "The finetuned models leak", "tmi": "The finetuned models leak"}
BADGES = {
    "leak": "Leak shown",
    "hint": "Hint of a leak",
    "not-shown": "No leak shown",
    "confounded": "Not a measure of membership",
    "doubtful": "A check failed",
    "undecided": "Undecided",
}
SURELY = 5  # a blind guess above chance at 1 in 200 instead of 1 in 40 is no longer called luck
FEW_MODELS = 8  # below this many, an interval over models rests on too few to be more than rough


@dataclass(frozen=True)
class Check:
    """Something that must hold before the numbers mean what they seem to."""

    name: str
    passed: bool | None  # None: not checked
    text: str


@dataclass(frozen=True)
class Verdict:
    """The reading of one audit."""

    state: str  # a key of BADGES
    headline: str
    sentences: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def badge(self) -> str:
        """The state in two or three words."""
        return BADGES[self.state]


def reading(result: AuditResult) -> tuple[str, ...]:
    """The plain-language reading, headline first."""
    found = verdict(result)
    return (found.headline, *found.sentences, *(check.text for check in found.checks))


def verdict(result: AuditResult) -> Verdict:
    """State, headline, findings and checks of one audit."""
    choice = realistic(result)
    checks = tuple(_checks(result, choice[0] if choice else None))
    if not choice:
        return Verdict("undecided", f"Nothing can be said: {_why_nothing(result)}", (), checks)
    state = _state(result, choice, checks)
    return Verdict(state, _headline(result, choice, state), tuple(_findings(result, choice)), checks)


def _state(result: AuditResult, choice: tuple[Row, ...], checks: tuple[Check, ...]) -> str:
    best = _auc(choice[0])
    blind = of_kind(result, "blind")
    if blind and lower_limit(_auc(blind), SURELY) > 0.5:
        return "confounded"
    if (blind and _above_chance(_auc(blind))) or _suspect(result, choice[0]):
        return "doubtful"
    if best.low is None or best.high is None:
        return "undecided"
    if lower_limit(best, len(choice)) > 0.5:
        return "leak"
    return "hint" if best.low > 0.5 or _tail(result, choice) else "not-shown"


def _headline(result: AuditResult, choice: tuple[Row, ...], state: str) -> str:
    row, best = choice[0], _auc(choice[0])
    number = f"AUC {both(best)}"
    if state == "confounded":
        blind = both(_auc(of_kind(result, "blind") or row))
        return (
            f"These numbers do not measure membership leakage: a blind guess that asks no model reaches AUC {blind}, "
            "so members and non-members differ in themselves."
        )
    if state == "doubtful":
        suspect = _suspect(result, row) or of_kind(result, "blind") or row
        where = f"on the control ({suspect.group})" if suspect.group else "without asking any model"
        return (
            f"Do not rely on these numbers yet: {suspect.attack} reaches AUC {both(_auc(suspect))} {where}, where "
            "there should be nothing to find."
        )
    if state == "undecided":
        return f"Nothing can be said: the best {number} ({row.attack}) has no interval, so chance is not excluded."
    if state == "leak":
        leak = MODELS.get(result.audit, "The audited models leak")
        secret = SECRET.get(result.audit, "their training data")
        return f"{leak} who was in {secret}: the best attack, {row.attack}, reaches {number}; guessing gives 0.5."
    tail = _tail(result, choice)
    if state == "hint" and tail:
        where, m = tail
        return (
            f"A leak is hinted at for a few records: the best {number} ({row.attack}) does not establish one, but "
            f"{where.attack} reaches {m.label} {both(m)} (%), more than guessing."
        )
    if state == "hint":
        return (
            f"A leak is hinted at, not established: the best {number} ({row.attack}) excludes chance only if one "
            f"forgets that it was picked from {len(choice)} attacks."
        )
    return f"No leak was shown by these attacks at this sample size: the best AUC is {both(best)} ({row.attack})."


def _findings(result: AuditResult, choice: tuple[Row, ...]) -> Iterator[str]:
    """What was found, most important first."""
    row, best = choice[0], _auc(choice[0])
    yield from _identified(result, choice)
    if best.low is not None and best.high is not None and best.low <= 0.5:
        yield f"The data are compatible with an AUC as high as {best.high:.3f}; absence of a leak was not shown."
    if len(choice) > 1 and best.low is not None:
        corrected = lower_limit(best, len(choice))
        still = "still above" if corrected > 0.5 else "not above"
        yield (
            f"{row.attack} is the best of {len(choice)} attacks on the same data, and picking the best is "
            f"optimistic: allowing for the choice (Bonferroni), the lower limit of its AUC is {corrected:.3f}, "
            f"{still} 0.5."
        )
    yield from _against_baselines(choice)
    yield from _against_bound(result, row)
    wrong = [r.attack for r in choice if upper_limit(_auc(r), len(choice)) < 0.5]
    if wrong:
        yield (
            f"Below chance: {', '.join(wrong)}. No leak does that; in given signals it often means a flipped sign "
            "(higher must mean member)."
        )


def _identified(result: AuditResult, choice: tuple[Row, ...]) -> Iterator[str]:
    """The best attack's true positive rates, in people."""
    for label in _rates(result):
        m = choice[0].cells.get(label)
        if m is None or m.value is None or m.fpr is None:
            continue
        text = f"{m.attack} at a false alarm rate of {_rate(m.fpr)}: {out_of(m)}"
        if m.low is None or m.low <= m.fpr:
            text += "; that guessing does as well is not excluded"
        rivals = [(r.attack, c) for r in choice if (c := r.cells.get(label)) and c.value is not None]
        name, top = max(rivals, key=lambda rival: rival[1].value or 0.0)
        if (top.value or 0.0) > m.value:
            text += f". {name} identifies {both(top)} in 100"
        yield text + "."


def _against_baselines(choice: tuple[Row, ...]) -> Iterator[str]:
    row, best = choice[0], _auc(choice[0])
    if row.kind == "baseline":
        if any(r.kind == "attack" for r in choice):
            yield f"{row.attack} needs no shadow models: the attacks that train some were not shown to add anything."
        return
    baseline = next((r for r in choice if r.kind == "baseline"), None)
    if baseline is None:
        return
    other = _auc(baseline)
    text = f"The best baseline without shadow models, {baseline.attack}, reaches AUC {both(other)}: "
    if _apart(best, other):
        yield text + f"the interval of {row.attack} lies above it, so shadow models add to the attack."
    else:
        yield text + "the intervals overlap, so it was not shown that shadow models add to the attack."


def _against_bound(result: AuditResult, row: Row) -> Iterator[str]:
    bound = of_kind(result, "bound")
    if bound is None:
        return
    best, other = _auc(row), _auc(bound)
    text = f"With direct access to the pretrained model, which the adversary does not have, {bound.attack} reaches AUC "
    text += f"{both(other)}: "
    if other.low is not None and other.low <= 0.5:
        yield text + "not above chance either, so these attacks found nothing even there."
    elif _apart(other, best):
        yield (
            text
            + f"more than {row.attack}, so these attacks recover only part of it through the finetuned model."
        )
    elif _apart(best, other):
        yield text + f"less than {row.attack}, so it bounds nothing here."
    else:
        yield text + "the intervals overlap, so it was not shown that finetuning hides anything."


def _checks(result: AuditResult, best: Row | None) -> Iterator[Check]:
    yield _blind_check(result)
    if controls(result) or result.audit == "tmi":
        yield _control_check(result, best)
    first = next((m for m in result.measurements if m.metric == "auc"), None)
    if first is not None:
        yield _unit_check(first)
    yield from _resolution_checks(result)


def _blind_check(result: AuditResult) -> Check:
    name, blind = "Members and non-members are alike", of_kind(result, "blind")
    if blind is None:
        text = (
            "No blind guess was made, so nothing checked that members and non-members are alike; if they differ in "
            "themselves, an attack may read that difference instead of membership."
        )
        return Check(name, None, text)
    m = _auc(blind)
    if m.low is None or m.high is None:
        return Check(
            name, None, f"The blind guess reaches AUC {both(m)}: whether that is chance is not known."
        )
    if lower_limit(m, SURELY) > 0.5:
        text = (
            f"A blind guess that asks no model reaches AUC {both(m)}, above chance: members and non-members differ in "
            "themselves, and no number here can be read as membership leakage."
        )
        return Check(name, False, text)
    if m.low > 0.5:
        text = (
            f"A blind guess that asks no model reaches AUC {both(m)}, just above chance: bad luck (about 1 audit of "
            "40) or members and non-members that differ in themselves. If a second seed shows it again, no number "
            "here is membership leakage."
        )
        return Check(name, False, text)
    if m.high < 0.5:
        text = f"A blind guess reaches AUC {both(m)}, below chance: bad luck (about 1 audit of 40) or a flaw in the split."
        return Check(name, False, text)
    text = f"A blind guess that asks no model reaches AUC {both(m)}: at chance, so no difference between members and "
    return Check(name, True, text + "non-members themselves was found.")


def _control_check(result: AuditResult, best: Row | None) -> Check:
    name, every = "The control is at chance", controls(result)
    if not every or best is None:
        text = "No control was run: nothing checked that the attacks find nothing where there is nothing to find."
        return Check(name, None, text)
    twin = next((row for row in every if row.attack == best.attack), every[0])
    m, suspect = _auc(twin), _suspect(result, best)
    text = f"On the control ({twin.group}), {twin.attack} reaches AUC {both(m)}"
    if suspect is not None:
        if suspect is not twin:
            text = f"On the control ({suspect.group}), {suspect.attack} reaches AUC {both(_auc(suspect))}"
        text += ", above chance, where there is nothing to find: bad luck (about 1 audit of 40) or a flaw. Until it "
        return Check(name, False, text + "is explained, do not rely on the numbers.")
    if m.low is None or m.high is None:
        return Check(name, None, text + ": whether that is chance is not known.")
    if m.high < 0.5:
        return Check(
            name, False, text + ", below chance: bad luck (about 1 audit of 40) or a flaw in the folds."
        )
    text += ": at chance"
    if _apart(_auc(best), m):
        text += f", and the interval of {best.attack} ({both(_auc(best))}) lies above it"
    return Check(name, True, text + "." + _lucky(every, twin))


def _lucky(every: tuple[Row, ...], twin: Row) -> str:
    above = [row.attack for row in every if row is not twin and _above_chance(_auc(row))]
    if not above:
        return ""
    return f" {len(above)} of {len(every)} control rows ({', '.join(above)}) lie above chance; about 1 in 40 does by luck."


def _unit_check(m: Measurement) -> Check:
    name = "The intervals hold for the training procedure"
    if m.unit != "models":
        text = (
            f"The intervals count {count(m.n, m.unit)} within the audited model or models: they hold for those, "
            "and say nothing about another training run."
        )
        return Check(name, None, text)
    text = f"The intervals are 95% over {count(m.n, 'models')} trained alike"
    if m.n < FEW_MODELS:
        return Check(name, None, text + ": so few that they are rough.")
    return Check(name, True, text + ", so they hold for the training procedure, not for one model only.")


def _resolution_checks(result: AuditResult) -> Iterator[Check]:
    """One check over all false positive rates: those that the sample cannot resolve, and why."""
    missing: dict[str, str] = {}
    for m in (m for m in result.measurements if m.metric == "tpr" and m.fpr is not None and m.value is None):
        missing.setdefault(_rate(m.fpr or 0.0), m.reason or "too few non-members")
    if not _rates(result):
        return
    name = "Every false alarm rate could be resolved"
    if not missing:
        yield Check(name, True, "Every false alarm rate asked for could be resolved with this sample.")
        return
    why = "; ".join(f"{rate}: {reason.rstrip('.')}" for rate, reason in missing.items())
    yield Check(
        name, None, f"Some false alarm rates cannot be resolved with this sample ({why}): unknown, not zero."
    )


def lower_limit(m: Measurement, choices: int) -> float:
    """Lower limit of `m` when it was picked as the best of `choices`; 0 where there is no interval.

    Bonferroni over the choices: the interval, which is Student's t on the logit scale (`metrics.interval`), is
    read again at 0.025 / choices. Conservative where the choices agree with each other. Where the value or the
    limit is 0 or 1 there is no logit, and the plain distance is widened instead.
    """
    if m.value is None or m.low is None:
        return 0.0
    df = max(m.n - 1, 1)
    ratio = float(student.isf(0.025 / max(choices, 1), df) / student.isf(0.025, df))
    if 0 < m.low <= m.value < 1:
        return float(expit(logit(m.value) - (logit(m.value) - logit(m.low)) * ratio))
    return max(0.0, m.value - (m.value - m.low) * ratio)


def upper_limit(m: Measurement, choices: int) -> float:
    """Upper limit of `m` when it was picked as the worst of `choices`; 1 where there is no interval."""
    if m.value is None or m.low is None or m.high is None:
        return 1.0
    return 1 - lower_limit(replace(m, value=1 - m.value, low=1 - m.high, high=1 - m.low), choices)


def _tail(result: AuditResult, choice: tuple[Row, ...]) -> tuple[Row, Measurement] | None:
    """The true positive rate furthest above its false positive rate, if beyond what picking it explains."""
    cells = [
        (r, m)
        for r in choice
        for label in _rates(result)
        if (m := r.cells.get(label)) and m.value is not None
    ]
    sure = [(r, m) for r, m in cells if m.fpr is not None and lower_limit(m, len(cells)) > m.fpr]
    return max(sure, key=lambda found: (found[1].value or 0.0) / (found[1].fpr or 1.0)) if sure else None


def _suspect(result: AuditResult, best: Row) -> Row | None:
    """A control row that finds something: the best attack's own, or any beyond what their number explains."""
    every = controls(result)
    own = [row for row in every if row.attack == best.attack and _above_chance(_auc(row))]
    return next(iter(own), next((row for row in every if lower_limit(_auc(row), len(every)) > 0.5), None))


def _auc(row: Row) -> Measurement:
    m = row.auc
    if m is None:
        raise ValueError(f"{row.attack} has no AUC")
    return m


def _above_chance(m: Measurement) -> bool:
    return m.low is not None and m.low > 0.5


def _apart(high: Measurement, low: Measurement) -> bool:
    """Whether the interval of `high` lies above that of `low`."""
    return high.low is not None and low.high is not None and high.low > low.high


def _rates(result: AuditResult) -> tuple[str, ...]:
    return tuple(label for label in columns(result) if label.startswith("TPR@"))


def _rate(fpr: float) -> str:
    return f"{100 * fpr:g}%"


def _why_nothing(result: AuditResult) -> str:
    reasons = dict.fromkeys(m.reason for m in result.measurements if m.metric == "auc" and m.reason)
    return "no attack gave an AUC" + (f" ({'; '.join(reasons)})." if reasons else ".")
