"""What a poisoning audit says, in plain language: how much more leaks, if the poison is why, how stealthy it is."""

from collections.abc import Iterator

from undertow.audits.poisoning.blind_spots import BLIND
from undertow.report.checks import Check, resolution, unit
from undertow.report.doubt import chance
from undertow.report.lines import warnings
from undertow.report.poisoning.arms import (
    BASELINES,
    Setting,
    arms_of,
    attack_of,
    audited_of,
    cell,
    change,
    points_of,
    rates_of,
    settings_of,
    utility_of,
)
from undertow.report.spoken import accused, crowd, found
from undertow.report.verdict import Verdict
from undertow.report.words import digits, interval, one_line, suffix, value
from undertow.types import AuditResult, Measurement

BLIND_SPOTS = (
    *BLIND,
    "Other ways to finetune, other attacks, and attackers who know more than the one played here.",
    "Other harm: traps that copy records into weights, triggers, code beside the weights. Those were not looked for.",
)
NO_REFERENCE = "How much a trusted checkpoint of the same kind would leak: none was given to compare with."


def verdict(result: AuditResult) -> Verdict:
    """The reading of one poisoning audit: of the checkpoint that was given, else of the attack that was played."""
    checks = tuple(_checks(result))
    if result.verdict is not None:
        return Verdict(result.verdict, _judgement(result), tuple(_not_above_the_limit(result)), checks)
    state, headline = _headline(result)
    return Verdict(state, headline, tuple(_findings(result)), checks)


def blind_spots(result: AuditResult) -> tuple[str, ...]:
    """What a verdict's evidence cannot see."""
    return BLIND_SPOTS if set(arms_of(result)) & set(BASELINES) else (NO_REFERENCE, *BLIND_SPOTS)


def cautions(result: AuditResult) -> tuple[str, ...]:
    """The warnings that are not said elsewhere: a verdict names its blind spots beside its evidence."""
    said = () if result.verdict is None else blind_spots(result)
    return tuple(line for line in warnings(result) if line not in said)


def told(m: Measurement) -> str:
    """A number with unit and interval, as in a sentence.

    >>> told(Measurement("lira", "tpr_difference", 0.33, 0.27, 0.39, 16, "models", fpr=0.01))
    '+33.0 pp [+27.0, +39.0]'
    """
    return f"{value(m)}{suffix(m)} {interval(m)}".rstrip()


def changed(m: Measurement) -> str:
    """A difference as a sentence says it, with its sign.

    >>> changed(Measurement("lira", "tpr_difference", 0.33, 0.27, 0.39, 16, "models", fpr=0.01))
    '+33.0 percentage points (95% interval +27.0 to +39.0)'
    """
    unit = {" pp": " percentage points", "%": "%"}.get(suffix(m), suffix(m))
    if m.value is None or m.low is None or m.high is None:
        return f"{value(m)}{unit}"
    return f"{value(m)}{unit} (95% interval {digits(m, m.low)} to {digits(m, m.high)})"


def _more(m: Measurement) -> str:
    """How much more, or less, an attack finds in one arm, without a sign.

    >>> _more(Measurement("lira", "tpr_difference", -0.2, -0.3, -0.1, 16, "models", fpr=0.01))
    'lira finds 20.0 percentage points fewer of the members (95% interval 10.0 to 30.0) at a false alarm rate of 1%'
    """
    up = (m.value or 0.0) >= 0
    ends = (m.low or 0.0, m.high or 0.0) if up else (-(m.high or 0.0), -(m.low or 0.0))
    size, low, high = (digits(m, x).lstrip("+") for x in (abs(m.value or 0.0), *ends))
    if m.fpr is None:
        return f"{m.attack} reaches an AUC {size} {'higher' if up else 'lower'} (95% interval {low} to {high})"
    people = f"{size} percentage points {'more' if up else 'fewer'} of the members (95% interval {low} to {high})"
    return f"{m.attack} finds {people} at a false alarm rate of {100 * m.fpr:g}%"


def _judgement(result: AuditResult) -> str:
    tests, found = len(result.evidence), [str(e["test"]) for e in result.evidence if e.get("verdict") == "suspicious"]
    if result.verdict == "suspicious":
        names = one_line(", ".join(found))
        return f"Suspicious: {len(found)} of {tests} tests found what a clean checkpoint does not show ({names})."
    if result.verdict == "safe":
        return f"None of {tests} tests found more than its limit: safe as far as these tests see, and no further."
    return "Unknown: the tests could not tell whether it makes your records leak more. Unknown is not safe."


def _not_above_the_limit(result: AuditResult) -> Iterator[str]:
    """An increase that is there, and that the evidence lets pass as no larger than the limit."""
    for setting in settings_of(result)[:1] if result.verdict == "safe" else ():
        m = change(result, audited_of(result), "targets", setting)
        if m is not None and m.low is not None and m.low > 0:
            text = "Your records leak more than with the reference, though not surely by more than the limit"
            yield f"{text}: {_more(m)}."


def _headline(result: AuditResult) -> tuple[str, str]:
    """State and first sentence, from the targets at the first recipe and view."""
    setting = next(iter(settings_of(result)), None)
    m = None if setting is None else change(result, "poisoned", "targets", setting)
    if setting is None or m is None or m.value is None or m.low is None or m.high is None:
        why = f" ({one_line(m.reason)})" if m is not None and m.reason else ""
        return "undecided", f"Nothing can be said: no difference between the arms has an interval{why}."
    benign = change(result, "benign", "targets", setting)
    alone = (
        f"continued benign training alone changes that by {changed(benign)}" if benign else "no benign arm was played"
    )
    than = "than after the clean checkpoint"
    if m.low > 0 and (benign is None or benign.high is None or m.low > benign.high):
        text = f"The poisoned checkpoint makes targeted records leak more: {_more(m)} {than}; {alone}."
        return "amplified", text
    if m.low > 0:
        text = f"Targeted records leak more, but that the poison is why was not shown: {_more(m)} {than}, and {alone}."
        return "unexplained", text
    if m.high < 0:
        return "lessened", f"The poisoned checkpoint makes targeted records leak less: {_more(m)} {than}."
    text = (
        f"No increase was shown for targeted records: against the clean checkpoint, {_what(m)} changes by {changed(m)}"
    )
    return "not-amplified", f"{text}. An increase as large as {_upper(m)} is compatible with the data."


def _what(m: Measurement) -> str:
    """What a difference is of."""
    if m.fpr is None:
        return f"the AUC of {m.attack}"
    return f"the share of members that {m.attack} finds at a false alarm rate of {100 * m.fpr:g}%"


def _upper(m: Measurement) -> str:
    number = digits(m, m.high or 0.0).lstrip("+")
    return f"{number} percentage points" if m.fpr is not None else number


def _findings(result: AuditResult) -> Iterator[str]:
    every = settings_of(result)
    if not every:
        return
    yield from _people(result, every[0])
    if "others" in points_of(result) and (m := change(result, "poisoned", "others", every[0])):
        if m.low is not None and m.low > 0:
            yield f"Records like the targets that were not targeted leak more too: {_more(m)}."
        else:
            like = "For records like the targets that were not targeted, no increase was shown"
            yield f"{like}: {_what(m)} changes by {changed(m)}."
    if len(every) > 1:
        yield from _over_settings(result, every)
    yield from _stealth(result)


def _people(result: AuditResult, setting: Setting) -> Iterator[str]:
    """The two arms in people, at the loosest rate."""
    for fpr in rates_of(result)[:1]:
        clean, poisoned = (cell(result, "tpr", arm, "targets", setting, fpr) for arm in ("clean", "poisoned"))
        if poisoned is None or poisoned.value is None:
            continue
        per, attack = crowd(poisoned), attack_of(result)
        if not _better(poisoned):
            guess = f"guessing, which identifies {fpr * per:,.4g} of {per:,} targeted members"
            yield f"After the poisoned checkpoint, {attack} was not shown to do better than {guess}."
            continue
        text = f"Of {per:,} targeted members, {attack} identifies {found(poisoned, per)} after the poisoned checkpoint"
        if clean is not None and clean.value is not None and _better(clean):
            text += f" and {found(clean, per)} after the clean one"
        text += f", while {accused(poisoned, per)}."
        if clean is not None and not _better(clean):
            text += " After the clean one it was not shown to do better than guessing."
        yield text


def _better(m: Measurement) -> bool:
    """Whether a rate was shown to be better than guessing."""
    return m.low is not None and m.low > chance(m)


def _over_settings(result: AuditResult, every: tuple[Setting, ...]) -> Iterator[str]:
    pairs = [(m, s) for s in every if (m := change(result, "poisoned", "targets", s)) and m.value is not None]
    if not pairs:
        return
    above = sum(m.low is not None and m.low > 0 for m, _ in pairs)
    (least, where), (most, there) = (pick(pairs, key=lambda pair: pair[0].value or 0.0) for pick in (min, max))
    yield (
        f"Of {len(pairs)} combinations of recipe and view, {above} show{'s' * (above == 1)} an increase (about 1 in 40 "
        f"would by luck): the smallest is {changed(least)} with {where.name}, and the largest {changed(most)} with "
        f"{there.name}."
    )


def _stealth(result: AuditResult) -> Iterator[str]:
    """What a buyer of the checkpoint would notice."""
    by = {(u.metric, u.arm): u for u in utility_of(result)}
    for metric, name in (("accuracy", "accuracy"), ("heldout_loss", "held-out loss")):
        clean, poisoned = by.get((metric, "clean")), by.get((metric, "poisoned"))
        if clean is None or poisoned is None:
            continue
        recipe = next(iter(poisoned.after), None)
        pairs = [("before finetuning", poisoned.before, clean.before)]
        pairs += [("after it", poisoned.after.get(recipe), clean.after.get(recipe))]
        parts = [f"{when} {changed(a)}, against {changed(b)} for the clean one" for when, a, b in pairs if a and b]
        if parts:
            yield f"What a user of the poisoned checkpoint would notice is its {name}: {'; '.join(parts)}."


def _checks(result: AuditResult) -> Iterator[Check]:
    first = next(iter(settings_of(result)), None)
    if first is None:
        return
    if result.verdict is None:
        yield _is_it_the_poison(result, first)
    m = next((m for m in result.measurements if m.metric in ("auc", "tpr") and m.value is not None), None)
    if m is not None:
        yield unit(m, result)
    yield from resolution(result)


def _is_it_the_poison(result: AuditResult, setting: Setting) -> Check:
    name, m = "Is it the poison, not the further training?", change(result, "benign", "targets", setting)
    if m is None or m.low is None or m.high is None:
        return Check(name, None, "No benign arm with an interval: further training alone may explain a difference.")
    text = f"Trained on as long without the poison, {_what(m)} changes by {changed(m)} on targeted records"
    poisoned = change(result, "poisoned", "targets", setting)
    if m.low > 0 and poisoned is not None and poisoned.low is not None and poisoned.low > m.high:
        return Check(name, True, f"{text}: that part of the difference is not due to the poison, the rest is.")
    if m.low > 0:
        return Check(name, False, f"{text}: the poison was not shown to do more.")
    return Check(name, True, f"{text}, which is not shown to be an increase.")
