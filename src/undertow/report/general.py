"""The plain reading: every number of an audit with its interval, its count and its unit, and no judgement.

It serves audits of other packages that bring no reading of their own, and results whose audit is not installed here.
"""

from collections.abc import Iterable, Iterator, Sequence

from undertow.report.lines import WIDTH, aligned, block, checked, warned, warnings
from undertow.report.parts import Card, how_made, templates
from undertow.report.prose import HOW_TO_READ, threat_model
from undertow.report.reading import Pictures, Reading
from undertow.report.rows import TITLES
from undertow.report.verdict import Verdict
from undertow.report.words import both, count, interval, one_line, plain, suffix, value, wrapped
from undertow.types import AuditResult, Measurement

FACETS = ("group", "points", "recipe", "view", "when", "at", "seed", "epsilon", "delta", "bound", "assumes")
CARDS = 4


def verdict(result: AuditResult) -> Verdict:
    """That the audit measures, and what it counted; the numbers speak for themselves."""
    rows = result.measurements
    known = [m for m in rows if m.value is not None]
    said = f"{len(known):,} numbers were measured" if len(known) != 1 else "One number was measured"
    missing = f"; {len(rows) - len(known):,} could not be measured" if len(known) < len(rows) else ""
    return Verdict("measured", f"{said}{missing}. They are given without a judgement.", (), ())


def cards(result: AuditResult) -> Iterator[Card]:
    """The first numbers that have a value."""
    for m in [m for m in result.measurements if m.value is not None][:CARDS]:
        yield Card(f"{m.label} of {m.attack}", value(m) + suffix(m), interval(m), count(m.n, m.unit))


def summary(result: AuditResult) -> str:
    """The numbers as text, ready for a pipe; ends without a newline."""
    return text_with(result, verdict(result))


def text_with(result: AuditResult, found: Verdict) -> str:
    """The same text under a verdict that somebody else read from the result."""
    lines: list[list[str] | str] = [["95% interval in brackets", "metric", "value", "counted"]]
    lines += [[_who(m), m.label, both(m), count(m.n, m.unit)] for m in result.measurements]
    parts = [f"{_title(result)} ({one_line(result.audit)})\nseed   {result.seed}", aligned(lines)]
    parts.append(f"VERDICT: {found.badge}\n{wrapped(found.headline, WIDTH, '', '')}")
    if found.sentences:
        parts.append("\n".join(wrapped(line, WIDTH, "- ", "  ") for line in found.sentences))
    parts += [checked(found)] if found.checks else []
    return "\n\n".join([*parts, *block("CONTROLS", _controls(result)), *warned(warnings(result))])


def page(result: AuditResult, _: Pictures) -> str:
    """The numbers as one self-contained HTML page."""
    return page_with(result, verdict(result), cards(result))


def page_with(result: AuditResult, found: Verdict, numbers: Iterable[Card]) -> str:
    """The same page under a verdict and key figures that somebody else read from the result."""
    return (
        templates()
        .get_template("general.html")
        .render(
            result=result,
            title=_title(result),
            data_name=plain(result.data["name"]) if result.data.get("name") else None,
            verdict=found,
            counted="",
            cards=list(numbers),
            warnings=warnings(result),
            tables=list(_tables(result)),
            threat=threat_model(result),
            how=HOW_TO_READ,
            **how_made(result),
        )
    )


def _tables(result: AuditResult) -> Iterator[tuple[str, Sequence[tuple[str, Measurement, str]]]]:
    for name, rows in (("Measurements", result.measurements), ("Controls", result.controls)):
        if rows:
            yield name, [(_who(m), m, count(m.n, m.unit)) for m in rows]


def _controls(result: AuditResult) -> tuple[str, ...]:
    return tuple(f"{_who(m)}: {m.label} {both(m)}" for m in result.controls)


def _title(result: AuditResult) -> str:
    return TITLES.get(result.audit, one_line(result.audit).capitalize())


def _who(m: Measurement) -> str:
    """Whose number it is: the attack, and the facets that tell it from the others."""
    facets = (f"{name} {getattr(m, name):g}" if isinstance(getattr(m, name), float) else str(getattr(m, name))
              for name in FACETS if getattr(m, name) is not None)  # fmt: skip
    return one_line(", ".join((m.attack, *facets)))


READING = Reading(verdict, cards, summary, page)
