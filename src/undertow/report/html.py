"""An audit as one self-contained HTML page, and one page over several: no script, no request, every name escaped."""

from collections.abc import Mapping
from urllib.parse import quote

from undertow.report.datatrap.gallery import Gallery
from undertow.report.datatrap.pictures import Picture
from undertow.report.parts import Card, templates
from undertow.report.reading import Pictures, page_of, reading_of
from undertow.report.rows import TITLES, spoken_of
from undertow.report.verdict import Verdict
from undertow.types import AuditResult

CARDS = 4  # of an audit among several


def page(result: AuditResult, records: Mapping[str, Picture] | None = None, gallery: Gallery | None = None) -> str:
    """One self-contained HTML page of an audit; the same result gives the same bytes.

    `records` maps ids to pictures of the records; `gallery` is what data traps hold, beside the records. Without them
    the page names records by id only, or not at all: a report is shared, and the members are private. BadInput where
    this kind of audit has no page.
    """
    return page_of(result, Pictures(records or {}, gallery))


def index_page(results: Mapping[str, AuditResult]) -> str:
    """One page over several audits, keyed by the relative link to the page of each."""
    entries: list[tuple[str, AuditResult, str, Verdict, list[Card]]] = [
        (_relative(link), r, TITLES.get(spoken_of(r), "Audit"), reading.verdict(r), list(reading.cards(r))[:CARDS])
        for link, r in results.items()
        for reading in [reading_of(r)]
    ]
    return templates().get_template("index.html").render(entries=entries)


def _relative(link: str) -> str:
    """A link that stays inside the folder: a colon or a leading slash would make it an address."""
    return quote(link.lstrip("/\\"), safe="/.-_~#?&=")
