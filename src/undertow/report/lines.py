"""What the texts of all audits are made of: columns, checks, warnings."""

from collections.abc import Iterator

from undertow.report.verdict import Verdict
from undertow.report.words import wrapped
from undertow.types import AuditResult, Measurement

WIDTH = 88  # of prose; a table line is at most a little wider
FEW_FREEDOM = 10  # degrees of freedom below which an interval was seen to cover too seldom


def checked(found: Verdict) -> str:
    """The checks of an audit."""
    marks = {True: "[ok] ", False: "[!!] ", None: "[??] "}
    return "CHECKS\n" + "\n".join(wrapped(check.text, WIDTH, marks[check.passed], " " * 5) for check in found.checks)


def warned(texts: tuple[str, ...]) -> list[str]:
    """Warnings as one block, where there are any."""
    return block("WARNINGS", texts)


def block(heading: str, texts: tuple[str, ...]) -> list[str]:
    """A heading and one item per text, where there are any."""
    lines = [wrapped(line, WIDTH, "- ", "  ") for line in texts]
    return [f"{heading}\n" + "\n".join(lines)] if lines else []


def aligned(lines: list[list[str] | str]) -> str:
    """Lines of cells in columns, the first flush left; a line that is a text stays as it is."""
    cells = [line for line in lines if isinstance(line, list)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))] if cells else []
    return "\n".join(line if isinstance(line, str) else _line(line, widths) for line in lines)


def _line(cells: list[str], widths: list[int]) -> str:
    first, *rest = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths)))
    return "  ".join([first, *rest]).rstrip()


def warnings(result: AuditResult) -> tuple[str, ...]:
    """Every warning once: the audit's own, then those of single numbers, with the numbers they concern."""
    single: dict[tuple[str, str], list[str]] = {}
    for m in (*result.measurements, *result.controls):
        if m.warning:
            single.setdefault((m.label, m.warning), []).append(_named(m))
    said = (*result.warnings, *map(str, result.design.get("warnings", ())))
    return (
        *dict.fromkeys(said),
        *(f"{label} of {_who(attacks)}: {text}" for (label, text), attacks in single.items()),
        *_rough(result),
    )


def _rough(result: AuditResult) -> Iterator[str]:
    """Numbers whose interval rests on few degrees of freedom, once per metric."""
    by: dict[str, list[Measurement]] = {}
    for m in (*result.measurements, *result.controls):
        if m.df is not None and m.df < FEW_FREEDOM and "degrees of freedom" not in (m.warning or ""):
            by.setdefault(m.label, []).append(m)
    for label, rough in by.items():
        low, high = (f"{pick(m.df or 0.0 for m in rough):.3g}" for pick in (min, max))
        one, span = len(rough) == 1, low if low == high else f"{low} to {high}"
        yield (
            f"{label} of {_who([_named(m) for m in rough])}: the interval{'' if one else 's'} rest{'s' * one} on few "
            f"degrees of freedom (df = {span}), so {'it' if one else 'they'} may miss the truth more often than 1 time "
            f"in 20."
        )


def _named(m: Measurement) -> str:
    """Whose number it is: an attack's, or (poisoning) an arm's."""
    return m.attack if m.points is None else f"{m.points} in the {m.group} arm"


def _who(attacks: list[str]) -> str:
    attacks = list(dict.fromkeys(attacks)) if len(set(attacks)) <= 3 else attacks
    return ", ".join(attacks) if len(attacks) <= 3 else f"{len(attacks)} rows"
