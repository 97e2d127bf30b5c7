"""An audit as text for a terminal."""

from undertow.report.reading import reading_of
from undertow.types import AuditResult


def summary(result: AuditResult) -> str:
    """The audit as plain text without colour, ready for a pipe; ends without a newline."""
    return reading_of(result).text(result)
