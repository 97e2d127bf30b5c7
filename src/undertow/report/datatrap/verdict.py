"""What a data-trap audit says, in plain language: what was copied, at which price, and what was not shown."""

import math
from collections.abc import Iterator

from undertow.report.checks import FEW_MODELS, Check
from undertow.report.datatrap.trapped import (
    MEAN,
    Total,
    accuracy,
    another,
    broken_of,
    mean_gap,
    number,
    right_of,
    seeds_of,
    total,
    traps_cell,
    victims_of,
)
from undertow.report.verdict import Verdict
from undertow.report.words import count, interval, one_line, quantity, suffix, value
from undertow.types import AuditResult

STAGED = (
    "The attack was staged: the audit made this checkpoint, traps included. It shows what traps can do with this "
    "recipe, not that any published checkpoint holds one."
)


def verdict(result: AuditResult) -> Verdict:
    """The reading of one data-trap audit."""
    checks = (_finetuned(result), _repeated(result))
    exact = total(result, "captured_exact")
    if exact is None:
        return Verdict("undecided", "Nothing can be said: no trap was counted.", (), checks)
    state = _state(result, exact)
    return Verdict(state, _headline(result, exact, state), tuple(_findings(result, exact)), checks)


def spread(found: Total) -> str:
    """A count of one experiment, or its mean over several with the lowest and the highest of them.

    >>> spread(Total(106.0, 50.0, 56.0, 2))
    '53.0 (lowest 50, highest 56)'
    """
    if found.n == 1:
        return quantity(found.sum)
    return f"{found.mean:,.1f} (lowest {quantity(found.low)}, highest {quantity(found.high)})"


def _state(result: AuditResult, exact: Total) -> str:
    if not exact.sum and not right_of(result):
        return "not-captured"
    broken = broken_of(result)
    return "captured-broken" if broken and len(broken) == len(seeds_of(result)) else "captured"


def _headline(result: AuditResult, exact: Total, state: str) -> str:
    traps = total(result, "traps")
    of = f" of {quantity(round(traps.mean, 1))}" if traps else ""
    where = "" if exact.n == 1 else f" in {exact.n} experiments"
    if state == "not-captured" and _frozen(result):
        return (
            f"None{of} traps could hold a finetuning record{where}: the finetuning left the layer that holds them as "
            "it was. A recipe that trains this layer was not tried."
        )
    if state == "not-captured":
        return (
            f"None{of} traps held a finetuning record exactly{where}. That does not show that traps fail: other "
            "settings, recipes or kinds of trap were not tried."
        )
    if not exact.sum and (named := total(result, "identified")):
        return (
            f"None{of} traps held a finetuning record exactly{where}: adapters hold a shadow of it. Whoever has "
            f"candidates can tell {spread(named)} records from it."
        )
    if not exact.sum:
        return f"None{of} traps held a finetuning record exactly{where}, but some held one up to rounding."
    price = " Every finetuning broke down, too." if state == "captured-broken" else ""
    if exact.n == 1:
        hold = "holds" if exact.sum == 1 else "hold"
        return f"The traps copied finetuning records: {quantity(exact.sum)}{of} {hold} one exactly.{price}"
    hit = sum(1 for seed in seeds_of(result) if number(result, "captured_exact", seed))
    return (
        f"The traps copied finetuning records in {hit} of {exact.n} experiments: on average {spread(exact)}{of} hold "
        f"one exactly.{price}"
    )


def _frozen(result: AuditResult) -> bool:
    """Whether no experiment trained the layer that holds the traps."""
    empty = [traps_cell(result, "none", seed) for seed in seeds_of(result)]
    return all(m is not None and "left the layer" in (m.warning or "") for m in empty)


def _findings(result: AuditResult, exact: Total) -> Iterator[str]:
    """What was found, most important first."""
    yield from _copied(result, exact)
    yield from _told_apart(result)
    yield from _broke_down(result)
    yield from _noticed(result)
    yield STAGED


def _copied(result: AuditResult, exact: Total) -> Iterator[str]:
    distinct, mixed, none = (total(result, metric) for metric in ("captured_unique", "mixed", "none"))
    average = "on average " if exact.n > 1 else ""
    if distinct is not None and exact.sum:
        size = victims_of(result)
        text = f"Read off the difference of two checkpoints: {average}{spread(distinct)} different records"
        if size:
            text += f", {100 * distinct.mean / size:.1f}% of the victim's {size:,}"
        errors = total(result, "max_error")
        yield text + (f"; the largest error of any value is {quantity(errors.high)}." if errors else ".")
    named, guessed = total(result, "identified"), total(result, "identified_blind")
    if named is not None and guessed is not None:
        yield (
            f"Of the victim's records, {average}{spread(named)} are the nearest to what their trap holds; the prior "
            f"alone would name {spread(guessed)}."
        )
    elif mixed is not None and none is not None:
        also = "The other traps: " if exact.sum else "The traps: "
        yield (
            f"{also}{average}{spread(mixed)} hold something that is no single record to that precision (mostly several "
            f"mixed), {spread(none)} nothing."
        )


def _told_apart(result: AuditResult) -> Iterator[str]:
    """Whether the adversary knows which of its readings are records."""
    accepted, right = total(result, "accepted"), right_of(result)
    if accepted is None:
        return
    if not accepted.sum:
        yield "The adversary's own tests accept no reading: it could not tell a record from a mixture."
    elif right is not None:
        n, seeds = round(accepted.sum), seeds_of(result)
        m = traps_cell(result, "accepted_precision", seeds[0] if len(seeds) == 1 else MEAN)
        share = f" ({value(m)}{suffix(m)} {interval(m)})" if m is not None and interval(m) else ""
        able = "can tell alone which readings to believe" if right > n / 2 else "cannot rely on its own tests"
        yield (
            f"The adversary {able}: {right:,} of the {n:,} that pass its tests, which need no finetuning data, are "
            f"records of the victim{share}."
        )


def _broke_down(result: AuditResult) -> Iterator[str]:
    broken, seeds = broken_of(result), seeds_of(result)
    if not broken:
        return
    which = "" if len(seeds) == len(broken) else f" ({_list(broken)})"
    named = "" if len(seeds) == 1 else f" in {len(broken)} of {len(seeds)} experiments{which}"
    yield (
        f"Finetuning broke down{named}: the planted model ended more than 10 points below the accuracy of its clean "
        "twin. A user would likely see that, and start over or drop the checkpoint."
    )


def _noticed(result: AuditResult) -> Iterator[str]:
    """What accuracy would tell a user."""
    every, broken = seeds_of(result), broken_of(result) or ()
    whole = tuple(seed for seed in every if seed not in broken)
    after = "after it, where it did not break down," if broken and whole else "after it"
    said = [
        f"{phrase} {value(m)}{suffix(m)} {interval(m)}".rstrip()
        for phrase, when, seeds in (("before finetuning", "before", every), (after, "after", whole or every))
        if (m := mean_gap(result, seeds, when)) is not None
    ]
    if said:
        text = f"Accuracy of the planted model less its clean twin's: {', '.join(said)}."
        depends = " A user has no twin to compare with, so whether that is noticed depends on what was expected."
        yield text + depends * bool(whole)


def _finetuned(result: AuditResult) -> Check:
    name, broken, n = "Did finetuning work?", broken_of(result), len(seeds_of(result))
    if broken is None:
        return Check(name, None, "Accuracy was not measured, so a finetuning that broke down would not show.")
    if broken:
        what = "The finetuning" if n == 1 else f"{len(broken)} of {n} finetunings"
        return Check(
            name, False, f"{what} broke down: more than 10 points of accuracy below the clean twin. What was copied "
            "there was copied into a model that few would keep.",
        )  # fmt: skip
    what = "The planted model" if n == 1 else f"In each of the {n} experiments the planted model"
    return Check(name, True, f"{what} ended at most 10 points below the accuracy of its clean twin{_twins(result)}.")


def _twins(result: AuditResult) -> str:
    """How accurate the twins are: a recipe that does not work at all breaks no more by traps."""
    found = [accuracy(result, seed, "clean_twin", "after") for seed in seeds_of(result)]
    known = sorted((m for m in found if m is not None), key=lambda m: m.value or 0.0)
    low, high = (f"{value(known[i])}%" for i in (0, -1))
    return f" ({low})" if low == high else f" ({low} to {high})"


def _repeated(result: AuditResult) -> Check:
    name, n = "Do the numbers hold for another run?", len(seeds_of(result))
    if n < 2:
        text = f"There is {'one' if n else 'no'} experiment: another seed deals other records, another head and other"
        return Check(name, None, f"{text} batches, and the numbers change with them. Run several (seeds).")
    text = f"There are {count(n, 'experiments')}, each with its own records, pretraining, traps, head and batches"
    if n < FEW_MODELS:
        return Check(name, None, f"{text}: so few that intervals over them are rough.{_next(result)}")
    return Check(name, True, f"{text}; intervals of means are 95% over them.{_next(result)}")


def _next(result: AuditResult) -> str:
    """What one more experiment would find: neither the interval of the mean nor the range of these says it."""
    exact = total(result, "captured_exact")
    metric = "captured_exact" if exact is not None and exact.sum else "identified"
    new = another(result, metric)
    if new is None:
        return ""
    what = "traps would hold a record exactly" if metric == "captured_exact" else "records would be identified"
    return f" In one more experiment {math.floor(new[0])} to {math.ceil(new[1])} {what}, with probability 95%."


def _list(seeds: tuple[int | str, ...]) -> str:
    shown = ", ".join(one_line(str(seed)) for seed in seeds[:6])
    return f"seed {shown}" if len(seeds) == 1 else f"seeds {shown}" + ", ..." * (len(seeds) > 6)
