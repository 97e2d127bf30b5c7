"""A comparison as text and as JSON."""

from collections.abc import Sequence
from typing import Any

from undertow.audits.comparing import Change, Comparison, best_changes
from undertow.report.evidence.document import row_of
from undertow.types import Measurement

COMPARISON = "undertow.compare/1"


def summary(first: str, found: Sequence[Comparison]) -> str:
    """Every number before and after, and the difference with its interval; ends without a newline."""
    parts = []
    for one in found:
        lines = [f"{one.name} against {first}: {one.state}", one.how]
        lines += [f"  {_line(change)}" for change in best_changes(one)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(change: Change) -> str:
    name = f"{change.moved.attack} {change.after.label}"
    return f"{name:<34} {_number(change.before)} -> {_number(change.after)}   {moved(change.moved)}"


def moved(m: Measurement) -> str:
    """The difference with its interval, signed."""
    if m.value is None:
        return str(m.reason)
    if m.low is None or m.high is None:
        return f"{m.value:+.4g} (no interval: {m.reason or 'none is due'})"
    return f"{m.value:+.4g} [{m.low:+.4g}, {m.high:+.4g}]"


def _number(m: Measurement) -> str:
    return "-" if m.value is None else f"{m.value:.4g}"


def document(first: str, audit: str, found: Sequence[Comparison]) -> dict[str, Any]:
    """The comparison for programs."""
    return {
        "schema": COMPARISON,
        "audit": audit,
        "first": first,
        "comparisons": [
            {
                "run": one.name,
                "state": one.state,
                "how": one.how,
                "changes": [
                    {
                        "before": row_of(c.before),
                        "after": row_of(c.after),
                        "difference": row_of(c.moved),
                        "paired": c.paired,
                    }
                    for c in one.changes
                ],
            }
            for one in found
        ],
    }
