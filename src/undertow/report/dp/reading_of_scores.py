"""How a bound of epsilon from given scores is read."""

from collections.abc import Iterator

from undertow.report.dp.epsilon import in_words, state_of, summary
from undertow.report.general import page_with
from undertow.report.parts import Card
from undertow.report.reading import Reading
from undertow.report.verdict import Verdict
from undertow.report.words import count
from undertow.types import AuditResult, Measurement


def verdict(result: AuditResult) -> Verdict:
    """What became of the claim, where one was given; else that a bound was found."""
    return Verdict(state_of(result), in_words(_headline(result)), (), ())


def cards(result: AuditResult) -> Iterator[Card]:
    """The headline's bound, the claim and the test of it."""
    main = _headline(result)
    if main.value is not None:
        sure = f"{100 * (main.confidence or 0):g}% confidence at delta {main.delta:g}; bound {main.bound}"
        yield Card("Epsilon is at least", f"{main.value:.2f}", "", f"{sure}; {count(main.n, main.unit)}", ranged=False)
    for m in result.measurements:
        if m.metric == "epsilon_claimed" and m.value is not None and m.group is None:
            yield Card("Epsilon claimed", f"{m.value:.2f}", "", f"at delta {m.delta:g}", ranged=False)
        if m.metric == "claim_p_value" and m.value is not None:
            yield Card("The claim's p-value", f"{m.value:.2g}", "", "refuted at .001 or less", ranged=False)


def _headline(result: AuditResult) -> Measurement:
    return next(m for m in result.measurements if m.metric == "epsilon_lower" and m.group is None and m.headline)


READING = Reading(verdict, cards, summary, lambda result, _: page_with(result, verdict(result), cards(result)))
