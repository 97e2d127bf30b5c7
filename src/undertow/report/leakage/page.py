"""A membership audit as one self-contained HTML page: no script, no request, every name escaped."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from undertow.metrics import exposure
from undertow.report.best import Best, best_at, most_exposing, rates
from undertow.report.datatrap.pictures import Picture
from undertow.report.design import design_lines, left_out, not_run
from undertow.report.figures import histogram, roc
from undertow.report.findings import guessing
from undertow.report.lines import warnings
from undertow.report.parts import Card, how_made, templates
from undertow.report.prose import HOW_TO_READ, threat_model
from undertow.report.rows import (
    TITLES,
    audited,
    columns,
    controls,
    counted,
    finetuned,
    of_kind,
    promised,
    scores_of,
    sections,
    spoken_of,
)
from undertow.report.together import legend, table
from undertow.report.verdict import verdict
from undertow.report.words import interval, plain, value
from undertow.types import AuditResult, Measurement

EXPOSED = 12


@dataclass(frozen=True)
class Exposed:
    """One of the most exposed records."""

    name: str
    share: str
    trained: int  # models that were trained on it
    picture: Picture | None

    @property
    def caption(self) -> str:
        """What the picture's caption adds to the name."""
        return self.picture.caption.removeprefix(self.name).lstrip(", ") if self.picture else ""


def page(result: AuditResult, records: Mapping[str, Picture] | None = None) -> str:
    """One self-contained HTML page of a membership audit; the same result gives the same bytes.

    `records` maps ids to pictures of the records. Without them the page names records by id only: a report is shared,
    and the members are private.
    """
    chosen, exposing = best_at(result), most_exposing(result)
    best, direct = chosen.row if chosen else None, of_kind(result, "direct")
    histograms = [(row, drawn) for row in (best, direct) if row is not None and (drawn := histogram(result, row))]
    return (
        templates()
        .get_template("page.html")
        .render(
            result=result,
            title=TITLES.get(spoken_of(result), "Audit"),
            data_name=_subject(result),
            verdict=verdict(result),
            cards=list(cards(result)),
            counted=" · ".join(filter(None, (counted(result), finetuned(result), promised(result)))),
            warnings=warnings(result),
            roc=roc(result),
            labels=columns(result),
            sections=sections(result),
            notes=_notes(result),
            histograms=histograms,
            best=best,
            exposed=_exposed(result, exposing, records or {}),
            exposing=exposing,
            design=design_lines(result),
            not_run=not_run(result),
            left_out=left_out(result),
            together=table(result),
            legend=legend(result),
            pictured=bool(records),
            threat=threat_model(result),
            how=HOW_TO_READ,
            **how_made(result),
        )
    )


def _subject(result: AuditResult) -> str | None:
    """The data, and the model where the result says what it is."""
    name = plain(result.data["name"]) if result.data.get("name") else ""
    return " · ".join(filter(None, (name, audited(result)))) or None


def cards(result: AuditResult) -> Iterator[Card]:
    """The few numbers to take away, each of the attack that is best at it, most important first."""
    best = best_at(result)
    if best is None:
        return
    yield from _best_card("Best attack, AUC", best, guessing(best.m))
    resolved = [found for label in rates(result) if (found := best_at(result, label)) and found.m.fpr]
    for found in resolved[:2]:
        rate = f"{100 * (found.m.fpr or 0):g}%"
        yield from _best_card(f"Members found at {rate} false alarms", found, f"guessing finds {rate}")
    named = [("Direct access, AUC", of_kind(result, "direct"), "asks the pretrained model itself")]
    twin = next((row for row in controls(result) if row.attack == best.row.attack), None)
    named += [
        ("Control, AUC", twin, "must be at chance"),
        ("Blind, AUC", of_kind(result, "blind"), "must be at chance"),
    ]
    for name, row, note in named:
        if row is not None:
            yield from _card(name, row.auc, f"{row.attack}; {note}")


def _best_card(name: str, best: Best, note: str) -> Iterator[Card]:
    """The attack, how many records it asks about together, and that its interval allows for the choice."""
    who = best.row.attack
    if best.choices > 1:
        who += f", best of {best.choices} attacks; the interval allows for the choice"
    if best.row.together > 1:
        who += f"; asks about {best.row.together:,} records together"
    yield from _card(name, best.m, f"{who}; {note}")


def _card(name: str, m: Measurement | None, note: str) -> Iterator[Card]:
    if m is not None:
        unit = "" if m.metric == "auc" else "%"
        yield Card(name, value(m) + unit, interval(m), note)


def _notes(result: AuditResult) -> dict[str, int]:
    """Reasons and warnings of single numbers, numbered in the order of the table."""
    labels = columns(result)
    cells = [row.cells[x] for s in sections(result) for row in s.rows for x in labels if x in row.cells]
    texts = (text for m in cells for text in (m.reason if m.value is None else None, m.warning) if text)
    return {text: i for i, text in enumerate(dict.fromkeys(texts), 1)}


def _exposed(result: AuditResult, best: Best | None, records: Mapping[str, Picture]) -> list[Exposed]:
    """The records that the best attack at the strictest firm rate tells apart most often."""
    scores = None if best is None else scores_of(result, best.row)
    if scores is None:
        return []
    share = np.ma.asarray(exposure(scores))
    order = np.argsort(-share.filled(-1.0), kind="stable")[:EXPOSED]
    trained = scores.inside.sum(0)
    names = scores.ids or result.ids or tuple(f"record {q}" for q in range(len(share)))
    return [
        Exposed(names[q], f"{100 * share[q]:.1f}", int(trained[q]), records.get(names[q]))
        for q in order
        if not np.ma.getmaskarray(share)[q]
    ]
