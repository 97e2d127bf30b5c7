"""A DP audit as text for a terminal: the table side by side, what it means, what it rests on."""

from undertow.report.dp.page import counted, side_by_side
from undertow.report.dp.verdict import headline_of, p_value_of, verdict
from undertow.report.lines import WIDTH, aligned, checked, warned
from undertow.report.rows import TITLES
from undertow.report.words import one_line, plain, wrapped
from undertow.types import AuditResult

Lines = list[list[str] | str]


def summary(result: AuditResult) -> str:
    """The audit as plain text without colour, ready for a pipe; ends without a newline."""
    found = verdict(result)
    says = [f"VERDICT: {found.badge}\n" + wrapped(found.headline, WIDTH, "", "")]
    if found.sentences:
        says.append("\n".join(wrapped(line, WIDTH, "- ", "  ") for line in found.sentences))
    return "\n\n".join([_head(result), _table(result), *says, checked(found), *warned(result.warnings)])


def _head(result: AuditResult) -> str:
    lines = [f"{TITLES['dp']} (dp)"]
    if name := result.data.get("name"):
        lines.append(f"data   {one_line(plain(name))}")
    lines.append(wrapped(counted(result), WIDTH, "runs   ", " " * 7))
    return "\n".join(lines)


def _table(result: AuditResult) -> str:
    lines: Lines = [["epsilon", "value", "by", "assumes", "over"]]
    for group in side_by_side(result):
        lines.append(one_line(group.name))
        for side in group.lines:
            mark = "> " if side.headline else "  "
            cells = [mark + side.what, side.value, side.how, side.assumes, side.over]
            lines.append([one_line(cell) for cell in cells])
    main = headline_of(result)
    doubted = main is not None and p_value_of(result) <= 1 - (main.confidence or 0.95)
    why = (
        "the bound that assumes nothing, because the claim is in doubt or rejected"
        if doubted
        else "fixed before the runs"
    )
    return f"{aligned(lines)}\n> the headline, {why}"
