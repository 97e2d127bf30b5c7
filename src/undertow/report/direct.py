"""What the same rule finds in the pretrained model itself, and so what finetuning hides."""

from collections.abc import Iterator

from undertow.report.doubt import above_chance
from undertow.report.rows import DIRECT, of_kind, realistic, rows
from undertow.report.spoken import difference, stated
from undertow.types import AuditResult, Measurement

ACCESS = "With direct access to the pretrained model, which the adversary does not have,"


def against_direct(result: AuditResult) -> Iterator[str]:
    """Every paired difference; where there is none, what the best rule with direct access reaches."""
    pairs = differences(result)
    for rule, m in pairs:
        yield _paired(result, rule, m)
    row = None if pairs else of_kind(result, "direct")
    if row is None:
        return
    text = f"{ACCESS} {row.attack} reaches AUC {stated(row.known)}"
    if not above_chance(row.known):
        yield f"{text}: even there it was not shown to do better than guessing."
    elif realistic(result):
        best = realistic(result)[0]
        yield f"{text}; through the finetuned model {best.attack} reaches {stated(best.known)}."


def differences(result: AuditResult) -> tuple[tuple[str, Measurement], ...]:
    """(rule, AUC of the rule on the pretrained model less that through the finetuned one), the best rule first."""
    found = {}
    for m in result.measurements:
        direct, _, rule = m.attack.partition(" - ")
        if m.metric == "auc_difference" and m.value is not None and direct == DIRECT + rule and m.group is None:
            found[rule] = m
    order = [row.attack for row in realistic(result)]
    return tuple(sorted(found.items(), key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order)))


def _paired(result: AuditResult, rule: str, m: Measurement) -> str:
    at = {row.attack: row.known for row in rows(result) if row.auc and row.group is None}
    through, direct = at.get(rule), at.get(DIRECT + rule)
    if direct is None or through is None:
        text = f"{ACCESS} the rule of {rule} was compared with itself through the finetuned model"
    else:
        text = (
            f"{ACCESS} the rule of {rule} reaches AUC {direct.value:.3f}, and through the finetuned model "
            f"{through.value:.3f}"
        )
    if m.low is not None and m.low > 0:
        return f"{text}: finetuning hides {difference(m)} of it."
    if m.high is not None and m.high < 0:
        return f"{text}: it finds more through the finetuned model, by {difference(m)}."
    return f"{text}: no difference was shown ({stated(m)})." if m.low is None else f"{text}: {_none(m)}."


def _none(m: Measurement) -> str:
    return f"no difference was shown, and the data allow anything from {m.low:+.3f} to {m.high:+.3f}"
