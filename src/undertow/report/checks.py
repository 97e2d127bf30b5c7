"""What must hold before the numbers mean what they seem to: blind guess, control, unit, resolution."""

from collections.abc import Iterator
from dataclasses import dataclass

from undertow.metrics import lower_limit, upper_limit
from undertow.report.best import best_at
from undertow.report.doubt import above_chance, apart, below_chance, chance
from undertow.report.rows import Row, controls, of_kind, realistic
from undertow.report.spoken import listed, stated
from undertow.report.words import count, one_line
from undertow.types import AuditResult, Measurement

SURELY = 5  # beyond the limit for 1 audit in 200 instead of 1 in 40, it is no longer called luck
FEW_MODELS = 8  # below this many, an interval over models is rough


@dataclass(frozen=True)
class Check:
    """One thing that must hold; None: not checked, or not decided."""

    name: str  # a question; True is yes
    passed: bool | None
    text: str


def checks(result: AuditResult) -> tuple[Check, ...]:
    """All checks of an audit, the ones that can void it first."""
    choice = realistic(result)
    found = [_blind(result)]
    if controls(result) or result.audit == "tmi":
        found.append(_control(result, choice[0] if choice else None))
    wrong = upside_down(result)
    if wrong:
        found.append(_sign(result, wrong))
    first = best_at(result)
    found += [unit(m, result) for m in ([first.m] if first else result.measurements[:1])]
    return (*found, *resolution(result))


def suspect(result: AuditResult, best: Row) -> Row | None:
    """A control row that finds something: the best attack's own, or any beyond what their number explains."""
    every = controls(result)
    own = (row for row in every if row.attack == best.attack and above_chance(row.known))
    return next(own, next((row for row in every if lower_limit(row.known, len(every)) > chance(row.known)), None))


def surely_above(m: Measurement) -> bool:
    """Whether an AUC is above guessing beyond what is called luck."""
    return lower_limit(m, SURELY) > chance(m)


def upside_down(result: AuditResult) -> tuple[Row, ...]:
    """Realistic attacks that rank members below non-members, beyond what their number explains."""
    choice = realistic(result)
    return tuple(row for row in choice if upper_limit(row.known, len(choice)) < chance(row.known))


def _sign(result: AuditResult, wrong: tuple[Row, ...]) -> Check:
    names = listed([row.attack for row in wrong])
    text = f"Members score lower than non-members by {names}, and higher must mean member"
    if result.audit == "score" or any(row.kind != "baseline" for row in wrong):
        return Check("Does higher mean member?", False, f"{text}.")
    return Check("Does higher mean member?", None, f"{text}: with this recipe these signals point the other way.")


def _blind(result: AuditResult) -> Check:
    name, blind = "Are members and non-members alike?", of_kind(result, "blind")
    if blind is None:
        why = "if they differ in themselves, an attack may read that difference instead of membership."
        return Check(
            name, None, f"No blind guess was made, so it was not checked that members and non-members are alike: {why}"
        )
    m = blind.known
    text = f"A blind guess that asks no model reaches AUC {stated(m)}"
    if m.low is None or m.high is None:
        return Check(name, None, f"{text}: whether that is chance is not known.")
    if surely_above(m):
        why = "members and non-members differ in themselves, and no number here is membership leakage."
        return Check(name, False, f"{text}, above chance: {why}")
    if above_chance(m):
        why = "bad luck (about 1 audit in 40), or members and non-members that differ in themselves"
        then = "If another seed shows it again, no number here is membership leakage."
        return Check(name, False, f"{text}, just above chance: {why}. {then}")
    if below_chance(m):
        return Check(name, False, f"{text}, below chance: bad luck (about 1 audit in 40) or a flaw in the split.")
    return Check(name, True, f"{text}: at chance, so no difference between the two groups was found.")


def _control(result: AuditResult, best: Row | None) -> Check:
    name, every = "Is the control at chance?", controls(result)
    if not every or best is None:
        text = "No control was run: nothing checked that the attacks find nothing where there is nothing."
        return Check(name, None, text)
    odd = suspect(result, best)
    twin = odd or next((row for row in every if row.attack == best.attack), every[0])
    text = f"On the control ({twin.group}), {twin.attack} reaches AUC {stated(twin.known)}"
    if odd is not None:
        why = "where there is nothing to find: bad luck (about 1 audit in 20) or a flaw"
        then = "Until it is explained, do not rely on the numbers."
        return Check(name, False, f"{text}, above chance, {why}. {then}")
    if twin.known.low is None or twin.known.high is None:
        return Check(name, None, f"{text}: whether that is chance is not known.")
    if below_chance(twin.known):
        why = "bad luck (about 1 audit in 40) or a flaw in how shadows and targets were dealt"
        return Check(name, False, f"{text}, below chance: {why}.")
    if apart(best.known, twin.known):
        return Check(name, True, f"{text}: at chance, and {best.attack} lies above it.{_lucky(every, twin)}")
    return Check(name, True, f"{text}: at chance.{_lucky(every, twin)}")


def _lucky(every: tuple[Row, ...], twin: Row) -> str:
    above = [row.attack for row in every if row is not twin and above_chance(row.known)]
    if not above:
        return ""
    rest = f"{len(above)} of {len(every)} control rows ({', '.join(above)})"
    return f" {rest} lie above chance; about 1 in 40 does by luck."


def unit(m: Measurement, result: AuditResult) -> Check:
    """Whether the interval of `m` speaks of other training runs: the way membership was dealt decides."""
    name, design = "Do the intervals hold for the training procedure?", result.design
    audited = int(design.get("models", m.n if m.unit == "models" else 1))
    repeated = audited > 1 and design.get("name") not in ("held-out victims", "one model")
    if m.unit != "models" and repeated:
        text = (
            f"The file has one membership draw: the {audited} models were trained on the same records (or on exactly "
            f"the others), so the unit is the record (n = {m.n:,})"
        )
        then = "the intervals speak of other records of the same kind under this split, and say nothing about another"
        return Check(name, None, f"{text}; {then} draw.")
    if m.unit != "models":
        text = f"The intervals count {count(m.n, m.unit)} inside one trained model: they hold for that model"
        return Check(name, None, f"{text}, and say nothing about another training run.")
    pairs = "" if m.effective is None else f"; for {m.attack} they are worth {m.effective:,.0f} independent pairs"
    text = f"The 95% intervals speak of other models and other records of the same kind ({count(m.n, 'models')}{pairs})"
    if design.get("name") == "alike splits":
        draws = f"the splits are so alike that they are worth {float(design.get('draws', 1)):.3g} independent draws"
        return Check(name, None, f"{text}; {draws}.")
    if m.df is None and m.n < FEW_MODELS:
        return Check(name, None, f"{text}: with so few models they are rough.")
    return Check(name, True, f"{text}.")


def resolution(result: AuditResult) -> Iterator[Check]:
    """One check over all false positive rates: those that the sample cannot resolve, and why."""
    rates = [m for m in result.measurements if m.metric == "tpr" and m.fpr is not None]
    missing = {f"{100 * (m.fpr or 0):g}%": m.reason or "no reason given" for m in rates if m.value is None}
    name = "Are all false alarm rates resolved?"
    if missing:
        why = "; ".join(f"{rate}: {one_line(reason.rstrip('.'))}" for rate, reason in missing.items())
        yield Check(name, None, f"Too few records for some false alarm rates ({why}): unknown, not zero.")
    elif rates:
        yield Check(name, True, "Every false alarm rate asked for could be resolved with this sample.")
