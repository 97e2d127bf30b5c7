"""What an audit found, one sentence each: who can do what, with what access, how surely, about whom."""

from collections.abc import Iterator

from undertow.attacks.catalog import known
from undertow.report.best import Best, best_at, rates, tail
from undertow.report.checks import SURELY, upside_down
from undertow.report.direct import against_direct
from undertow.report.doubt import above_chance, apart, below_chance, chance, flipped
from undertow.report.rows import Row, realistic, spoken_of
from undertow.report.spoken import accused, crowd, found, heads, listed, stated
from undertow.report.together import about_together
from undertow.types import AuditResult, Measurement

BOTH_SIDES = 2  # models with the record, from which an attack learns which way signals point
ACCESS = {
    "mia": "queries the finetuned models",
    "tmi": "queries only the finetuned models",
    "own": "queries your models",
    "own-tmi": "queries only your finetuned models",
    "score": "sees these signals of it",
    "model": "queries the model",
    "lm": "sees how likely the model finds each token of it",
}
# what attacks compare the audited model with, where that is no shadow models
SHADOWS = {"model": "a reference model", "lm": "the base model"}
SECRET = {
    "mia": "in the finetuning data",
    "tmi": "in the pretraining data",
    "own": "in your training data",
    "own-tmi": "in your pretraining data",
    "model": "in its training data",
    "lm": "in its training data",
}


def findings(result: AuditResult, state: str) -> Iterator[str]:
    """What was found, most important first."""
    told = tail(result, SURELY) if state == "hint" else None  # the headline says it
    for label in rates(result):
        if told is None or told.m.label != label:
            yield from _at_rate(result, label)
    yield from _redealt(result, state)
    yield from _against_baselines(result)
    yield from against_direct(result)
    yield from about_together(result)
    if state not in ("doubtful", "hint") or not upside_down(result):
        yield from sign(result)
    yield from _promised(result)


def can_tell(result: AuditResult, row: Row, shown: bool = True) -> str:
    """Who can do what, with what access: the first half of a headline."""
    access = ACCESS.get(spoken_of(result), "queries the audited models")
    if row.together > 1:
        holds = [f"holds {row.together:,} records", f"{access.removesuffix(' of it')} about all of them together"]
    else:
        holds = ["holds a record", access]
    own = [f"has {SHADOWS.get(result.audit, 'shadow models')} of its own"] if row.kind == "attack" else []
    tells = "can tell" if shown else "was not shown to tell"
    which = "which of them were" if row.together > 1 else "whether the record was"
    secret = SECRET.get(spoken_of(result), "in the training data")
    return f"An adversary who {listed([*holds, *own])} {tells}, better than by guessing, {which} {secret}"


def identifies(best: Best) -> str:
    """How many members are found at a rate, at which price; not closed."""
    per = crowd(best.m)
    who, price = f"of {per:,} members, {best.which}", accused(best.m, per)
    if best.row.together > 1:
        who = f"{who.rstrip(',')}, asking about {best.row.together:,} records together,"
    return f"{who} identifies {found(best.m, per, best.allowing)}, while {price}"


def _at_rate(result: AuditResult, label: str) -> Iterator[str]:
    """The best attack at a rate in people; where it was not shown to beat guessing, what guessing does instead."""
    best = best_at(result, label)
    if best is None or best.m.fpr is None:
        return
    if best.better:
        text = identifies(best)
        rough = f" That is rough: {best.m.warning.rstrip('.')}." if best.m.warning else ""
        yield f"{text[0].upper()}{text[1:]}.{rough}"
        return
    per = crowd(best.m)
    text = (
        f"At a false alarm rate of {100 * best.m.fpr:g}%, {best.which} was not shown to do better than guessing, "
        f"which identifies {best.m.fpr * per:,.4g} of {per:,} members"
    )
    known = best.m.high is not None and best.m.high > best.m.fpr
    yield f"{text}; as many as {heads(best.m.high or 0, per)} are compatible with the data." if known else f"{text}."


def _redealt(result: AuditResult, state: str) -> Iterator[str]:
    leak = result.leak or {}
    if state == "leak" and leak.get("p") is not None:
        draws = f", counted over {int(leak['draws']):,} deals" if leak.get("draws") else ""
        yield (
            f"Had membership been dealt out at random, {leak['attack']} would have reached as much with probability "
            f"{leak['p']:.2g}{draws}."
        )


def _against_baselines(result: AuditResult) -> Iterator[str]:
    """Whether shadow models add to the attack: the baselines are what an adversary could make of them."""
    choice = realistic(result)
    attack = next((row for row in choice if row.kind == "attack"), None)
    baselines = [(row, *_turned(row.known)) for row in choice if row.kind == "baseline"]
    if attack is None or not baselines:
        return
    row, m, turned = max(baselines, key=lambda entry: entry[1].value or 0.0)
    name = f"{row.attack} with its sign turned round" if turned else row.attack
    without = (
        f"without {'it' if result.audit in SHADOWS else 'them'} the best baseline, {name}, reaches AUC {stated(m)}"
    )
    best = best_at(result)
    own = best.m if best is not None and best.row.attack == attack.attack else attack.known
    if not above_chance(own) and not above_chance(m):
        return
    add, need = ("adds", "is") if result.audit in SHADOWS else ("add", "are")
    helpers = SHADOWS.get(result.audit, "shadow models")
    if apart(own, m):
        text = f"{helpers} {add} to the attack: {without}, and the interval of {attack.attack} lies above that."
    elif apart(m, attack.known):
        text = f"{helpers} {need} not needed: {without}, above {attack.attack} with {stated(attack.known)}."
    else:
        text = f"It was not shown that {helpers} {add} to the attack: {without}, {_near(attack, m)}."
    yield text[0].upper() + text[1:]


def _near(attack: Row, baseline: Measurement) -> str:
    if (attack.known.value or 0.0) < (baseline.value or 0.0):
        return f"no less than {attack.attack} with {stated(attack.known)}"
    return f"and {attack.attack} is not clearly above that"


def _turned(m: Measurement) -> tuple[Measurement, bool]:
    """What an adversary can do with a signal, and whether its sign had to be turned round for that."""
    return (flipped(m), True) if below_chance(m) else (m, False)


def sign(result: AuditResult) -> Iterator[str]:
    """Attacks below chance, and what that means."""
    wrong = upside_down(result)
    plain, learnt = ([row for row in wrong if _learns_the_sign(row) is learns] for learns in (False, True))
    if plain:
        names = listed([f"{row.attack} (AUC {row.known.value:.3f})" for row in plain])
        turned = listed([f"{flipped(row.known).value:.3f}" for row in plain])
        if result.audit == "score":
            text = f"In these signals lower means member for {names}: check the sign, since higher must mean member."
        else:
            text = f"Members score lower than non-members by {names}."
        yield f"{text} An adversary who turns the sign round reaches AUC {turned}."
    if learnt:
        names = listed([f"{row.attack} (AUC {row.known.value:.3f})" for row in learnt])
        yield (
            f"Members score lower than non-members by {names}, which learned from other models which way to guess: no "
            f"leak does that. Check that membership is not swapped for some models, and that the sign of the signals "
            f"is the same in all."
        )


def _learns_the_sign(row: Row) -> bool:
    """Whether the attack learned from models with the record and without it which way the signals point."""
    attack = known(row.attack)
    return attack is not None and attack.shadows and attack.least_in >= BOTH_SIDES


def _promised(result: AuditResult) -> Iterator[str]:
    """What private finetuning adds to the reading."""
    privacy = result.environment.get("privacy")
    if not isinstance(privacy, dict) or "epsilon" not in privacy:
        return
    text = (
        f"Finetuning was private, with epsilon {privacy['epsilon']:.3g} at delta {privacy['delta']:g} for each "
        f"finetuning record"
    )
    if result.audit == "tmi":
        yield f"{text}: that promises nothing about the pretraining records of this audit."
    else:
        yield f"{text}: that bounds every attack, and the numbers here are what these attacks reach."


def guessing(m: Measurement) -> str:
    """What guessing gives, as a card notes it."""
    return f"guessing gives {chance(m):.3g}"
