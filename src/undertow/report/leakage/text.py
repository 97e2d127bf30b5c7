"""A membership audit as text for a terminal: one table, the reading, the warnings."""

from rich.table import Table
from rich.text import Text

from undertow.report.design import design_lines, left_out, not_run
from undertow.report.lines import WIDTH, aligned, block, checked, warned, warnings
from undertow.report.rows import (
    TITLES,
    Row,
    audited,
    columns,
    counted,
    finetuned,
    measured,
    promised,
    sections,
    spoken_of,
)
from undertow.report.together import legend
from undertow.report.together import table as together_table
from undertow.report.verdict import verdict
from undertow.report.words import both, one_line, plain, wrapped
from undertow.types import AuditResult, Measurement

NAME = 24  # of an attack's name before it is cut
SHOWN = ("auc", "tpr")  # balanced accuracy is on the page


def summary(result: AuditResult) -> str:
    """The audit as plain text without colour, ready for a pipe; ends without a newline."""
    parts = [_head(result), _table(result), *_together(result)]
    found = verdict(result)
    parts.append(f"VERDICT: {found.badge}\n" + wrapped(found.headline, WIDTH, "", ""))
    if found.sentences:
        parts.append("\n".join(wrapped(line, WIDTH, "- ", "  ") for line in found.sentences))
    parts += [checked(found), *block("ATTACKS NOT RUN", not_run(result)), *block("RECORDS LEFT OUT", left_out(result))]
    return "\n\n".join([*parts, *warned(warnings(result))])


def table(result: AuditResult) -> Table:
    """The same table with colour and rules, for a rich console."""
    shown = _shown(result)
    found = Table(title=_title(result), caption=counted(result), title_justify="left", caption_justify="left")
    found.add_column("attack", no_wrap=True)
    for label in shown:
        found.add_column(_header(label), justify="right", no_wrap=True)
    for section in sections(result):
        found.add_section()
        found.add_row(Text(section.name, style="bold"), *("" for _ in shown))
        for row in section.rows:
            style = "" if section.kind == "attack" else "dim"
            found.add_row(Text("  " + _cut(row.attack)), *(Text(cell) for cell in _cells(row, shown)), style=style)
    return found


def _head(result: AuditResult) -> str:
    lines = [_title(result)]
    if name := result.data.get("name"):
        lines.append(f"data   {one_line(plain(name))}")
    lines += [f"seed   {result.seed}", f"counts {counted(result)}"]
    lines += [
        wrapped(line, WIDTH, "model  ", " " * 7)
        for line in (audited(result), finetuned(result), promised(result))
        if line
    ]
    if design := " ".join(design_lines(result)):
        lines.append(wrapped(design, WIDTH, "design ", " " * 7))
    return "\n".join(lines)


def _title(result: AuditResult) -> str:
    return f"{TITLES.get(spoken_of(result), 'Audit')} ({result.audit})"


def _shown(result: AuditResult) -> tuple[str, ...]:
    """At most three columns, so that a line fits a terminal: AUC and the two loosest resolved rates."""
    every = [m for m in measured(result) if m.metric in SHOWN]
    resolved = {m.label for m in every if m.value is not None} or {m.label for m in every}
    return tuple(label for label in columns(result) if label in resolved)[:3]


def _header(label: str) -> str:
    return f"{label} (%)" if label.startswith("TPR@") else label


def _cells(row: Row, shown: tuple[str, ...]) -> list[str]:
    return [_cell(row.cells.get(label)) for label in shown]


def _cell(m: Measurement | None) -> str:
    return "-" if m is None else both(m)


def _table(result: AuditResult) -> str:
    shown = _shown(result)
    lines: list[list[str] | str] = [["95% interval in brackets", *(_header(label) for label in shown)]]
    for section in sections(result):
        lines.append(f"\n{section.name}: {section.note}")
        lines += [["  " + _cut(row.attack), *_cells(row, shown)] for row in section.rows]
    about = legend(result)
    return aligned(lines) + (f"\n\n{wrapped(about, WIDTH, '', '')}" if about else "")


def _together(result: AuditResult) -> list[str]:
    """AUC by the number of records that are asked about together, where that was measured."""
    found = together_table(result)
    if found is None:
        return []
    lines: list[list[str] | str] = [[found.corner, *found.columns]]
    for part in found.blocks:
        lines.append(_cut(part.name))
        lines += [[f"  {row.name}", *map(_cell, row.cells)] for row in part.rows]
    return [aligned(lines)]


def _cut(name: str) -> str:
    """`name` on one line of bounded width, without control characters (a file chose it)."""
    clean = one_line(name)
    return clean if len(clean) <= NAME else clean[: NAME - 3] + "..."
