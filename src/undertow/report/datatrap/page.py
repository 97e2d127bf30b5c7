"""A data-trap audit as one self-contained HTML page: no script, no request, every name escaped."""

from collections.abc import Iterator
from dataclasses import dataclass

from undertow.report.datatrap.figures import holdings
from undertow.report.datatrap.gallery import Gallery, Shown, State
from undertow.report.datatrap.trapped import (
    ARMS,
    COUNTS,
    MEAN,
    TIMES,
    Key,
    accuracy,
    broken_of,
    cell,
    name_of,
    others_of,
    seeds_of,
    sizes,
    total,
    traps_cell,
    victims_of,
)
from undertow.report.datatrap.verdict import verdict
from undertow.report.lines import warnings
from undertow.report.parts import Card, how_made, templates
from undertow.report.prose import HOW_TO_READ_TRAPS, threat_model
from undertow.report.rows import TITLES, promised
from undertow.report.tables import Block, Line, Table
from undertow.report.words import count, interval, needs_interval, plain, quantity, suffix, value
from undertow.types import AuditResult

CARDS = {
    "Traps that hold a record exactly": "captured_exact",
    "Different records copied": "captured_unique",
    "Accepted readings that are a record": "accepted_precision",
}
SHOWN = 64  # traps in the gallery, at most
STATES: dict[State, tuple[str, str]] = {
    "exact": ("Exact", "accepted by the adversary, and right"),
    "rounded": ("A record once rounded", "accepted by the adversary; right to within the values that records can have"),
    "wrong": ("Accepted but wrong", "the adversary would take it for a record"),
    "missed": ("A record, but rejected", "right, at least once rounded, but the adversary would throw it away"),
    "rejected": ("Rejected", "the adversary would throw it away, rightly; the record beside it is the nearest"),
    "nothing": ("Nothing written", ""),
}


@dataclass(frozen=True)
class Shelf:
    """Traps of one state."""

    state: State
    name: str
    note: str
    items: tuple[Shown, ...]


def page(result: AuditResult, gallery: Gallery | None = None) -> str:
    """One self-contained HTML page of a data-trap audit; the same result gives the same bytes.

    Without a gallery the page shows no record: a report is shared, and the finetuning data are private.
    """
    return (
        templates()
        .get_template("datatrap.html")
        .render(
            result=result,
            title=TITLES["datatrap"],
            data_name=plain(result.data["name"]) if result.data.get("name") else None,
            verdict=verdict(result),
            counted=_counted(result),
            cards=list(cards(result)),
            warnings=warnings(result),
            captures=_captures(result),
            holdings=holdings(result),
            others=_others(result),
            accuracy=_accuracy(result),
            gallery=gallery,
            shelves=_shelves(gallery),
            shown=0 if gallery is None else min(SHOWN, len(gallery.shown)),
            threat=threat_model(result),
            how=HOW_TO_READ_TRAPS,
            **how_made(result),
        )
    )


def cards(result: AuditResult) -> Iterator[Card]:
    """The few numbers to take away, most important first."""
    seeds, broken = seeds_of(result), broken_of(result)
    shown, over = (MEAN, f"mean over {len(seeds)} experiments") if len(seeds) > 1 else (result.seed, "one experiment")
    for name, metric in CARDS.items():
        m = traps_cell(result, metric, shown)
        if m is not None and m.value is not None:
            yield Card(name, value(m) + suffix(m), interval(m), _note(result, metric, over), needs_interval(m))
    for arm, name in ARMS.items():
        m = accuracy(result, shown, arm, "after")
        if m is not None and m.value is not None:
            yield Card(f"Accuracy, {name}", value(m) + suffix(m), interval(m), f"after finetuning; {over}")
    if broken is not None:
        note = "more than 10 points less accurate than the clean twin"
        yield Card("Finetunings that broke down", f"{len(broken)} of {len(seeds)}", "", note, ranged=False)


def _note(result: AuditResult, metric: str, over: str) -> str:
    """Of how many it is."""
    traps, victims = total(result, "traps"), victims_of(result)
    if metric == "captured_exact" and traps:
        return f"of {quantity(round(traps.mean, 1))} traps; {over}"
    if metric == "captured_unique" and victims:
        return f"of the victim's {victims:,}; {over}"
    return over


def _counted(result: AuditResult) -> str:
    n = len(seeds_of(result))
    return " · ".join(filter(None, (count(n, "experiments") if n else "", sizes(result), promised(result))))


def _captures(result: AuditResult) -> Table | None:
    """What the traps of each experiment hold, and the mean."""
    shown = [metric for metric in COUNTS if any(traps_cell(result, metric, seed) for seed in seeds_of(result))]
    return _table(result, {COUNTS[metric]: Key("datatrap", metric) for metric in shown}, over=False)


def _others(result: AuditResult) -> Table | None:
    """Numbers that have no column of their own, under the names they come with."""
    return _table(result, {name_of(key): key for key in others_of(result)})


def _accuracy(result: AuditResult) -> Table | None:
    """Both arms, before and after finetuning."""
    pairs = [(arm, when) for when in TIMES for arm in ARMS]
    return _table(result, {f"{ARMS[a]}, {when}".capitalize(): Key("utility", "accuracy", a, when) for a, when in pairs})


def _table(result: AuditResult, columns: dict[str, Key], over: bool = True) -> Table | None:
    """A row for each experiment that has one of the numbers, and their mean; None where there are none."""
    rows = []
    for seed in (*seeds_of(result), MEAN):
        cells = tuple(cell(result, key, seed) for key in columns.values())
        if any(m is not None and (seed != MEAN or m.seed == MEAN) for m in cells):
            rows.append(Line(str(seed), cells, difference=seed == MEAN))
    return Table("Seed", tuple(columns), (Block("", "", tuple(rows)),), over=over) if rows else None


def _shelves(gallery: Gallery | None) -> list[Shelf]:
    """The first traps by state; the order inside one is that of the traps."""
    shown = () if gallery is None else gallery.shown[:SHOWN]
    every = [Shelf(s, *words, tuple(one for one in shown if one.state == s)) for s, words in STATES.items()]
    return [shelf for shelf in every if shelf.items]
