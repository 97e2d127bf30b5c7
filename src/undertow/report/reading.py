"""How each kind of audit is read, as one value: its verdict, the numbers to take away, its text and its page.

A built-in audit stands in the table READINGS. An audit of another package brings its reading in its `Audit` value
(entry points "undertow.audits"); one that brings none is read by `report/general.py`: its numbers, without a judgement.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from undertow.report.datatrap.gallery import Gallery
from undertow.report.datatrap.pictures import Picture
from undertow.report.parts import Card
from undertow.report.verdict import Verdict
from undertow.types import AuditResult, BadInput


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a page may show of the records; empty unless they are public, or their owner asks for it."""

    records: Mapping[str, Picture] = field(default_factory=dict)  # id -> picture
    gallery: Gallery | None = None  # what data traps hold, beside the records


@dataclass(frozen=True)
class Reading:
    """One kind of audit, read; every function is pure: a result written years ago gives the same text and page."""

    verdict: Callable[[AuditResult], Verdict]  # badge, headline, findings, checks
    cards: Callable[[AuditResult], Iterable[Card]]  # the few numbers to take away, most important first
    text: Callable[[AuditResult], str]  # for a terminal, without colour, without a newline at the end
    page: Callable[[AuditResult, Pictures], str] | None  # self-contained HTML; None: this kind has no page


READINGS = {
    **dict.fromkeys(("mia", "tmi", "score", "model", "lm"), "undertow.report.leakage.reading"),
    "poisoning": "undertow.report.poisoning.reading",
    "datatrap": "undertow.report.datatrap.reading",
    "dp": "undertow.report.dp.reading",
    "extraction": "undertow.report.extraction.reading",
    "epsilon": "undertow.report.dp.reading_of_scores",
}
"""The module of each built-in audit; its READING is loaded when it is needed."""


def reading_of(result: AuditResult) -> Reading:
    """How a result is read, by the name of its audit."""
    module = READINGS.get(result.audit, "undertow.report.general")
    reading: Reading = import_module(module).READING
    return reading


def page_of(result: AuditResult, pictures: Pictures | None = None) -> str:
    """One self-contained HTML page; the same result gives the same bytes. BadInput where this kind has no page."""
    draw = reading_of(result).page
    if draw is None:
        raise BadInput(f"an audit of kind {result.audit!r} has no page; its numbers are in result.json")
    return draw(result, pictures or Pictures())
