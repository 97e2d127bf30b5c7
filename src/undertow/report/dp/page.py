"""A DP audit as one self-contained HTML page: no script, no request, every name escaped."""

from collections.abc import Iterator
from dataclasses import dataclass

from undertow.report.dp.figures import against_claim, against_runs
from undertow.report.dp.verdict import (
    ACCOUNTANTS,
    ASSUMES,
    ceiling_of,
    headline_of,
    p_value_of,
    point_of,
    rejected,
    share,
    verdict,
)
from undertow.report.parts import Card, how_made, templates
from undertow.report.prose import HOW_TO_READ_DP, threat_model
from undertow.report.rows import TITLES
from undertow.report.words import count, plain, value
from undertow.types import AuditResult, Measurement

WHAT = {
    "epsilon_claimed": "claimed",
    "epsilon_ceiling": "most this access can show",
    "epsilon_point": "point estimate",
    "epsilon_lower": "lower bound",
}

SHORT = {"none": "nothing", "gdp": "Gaussian curve", "claimed-pld": "claimed training",
         "gaussian-scores": "Gaussian scores", "final-iterate": "final weights of the claimed training"}  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One line of the table side by side."""

    what: str
    how: str  # accountant or bound
    value: str
    assumes: str
    over: str
    headline: bool


@dataclass(frozen=True)
class Group:
    """The lines of one access; the claims have none."""

    name: str
    lines: tuple[Side, ...]


def page(result: AuditResult) -> str:
    """One self-contained HTML page of a DP audit; the same result gives the same bytes."""
    return (
        templates()
        .get_template("dp.html")
        .render(
            result=result,
            title=TITLES["dp"],
            data_name=plain(result.data["name"]) if result.data.get("name") else None,
            verdict=verdict(result),
            counted=counted(result),
            cards=list(cards(result)),
            warnings=result.warnings,
            notes=list(dict.fromkeys(f"{m.bound}: {m.warning}." for m in result.measurements if m.warning and m.view)),
            groups=side_by_side(result),
            claim=against_claim(result),
            runs=against_runs(result),
            threat=threat_model(result),
            how=HOW_TO_READ_DP,
            **how_made(result),
        )
    )


def cards(result: AuditResult) -> Iterator[Card]:
    """The few numbers to take away, most important first."""
    main = headline_of(result)
    if main is None or main.value is None:
        return
    sure = f"{100 * (main.confidence or 0):g}% confidence; assumes {ASSUMES.get(main.assumes or '', main.assumes)}"
    yield Card("Epsilon is at least", value(main), "", sure, ranged=False)
    p = p_value_of(result)
    if p <= 1 - (main.confidence or 0.95):
        yield Card("The claim", rejected(p), "", f"p = {share(p)}", ranged=False)
    yield Card("Claimed", f"{main.epsilon or 0:.2f}", "", f"at delta {main.delta:g}", ranged=False)
    seen = f"with access: {main.view}; canaries that keep to themselves"
    if p <= 1 - (main.confidence or 0.95):
        return
    yield Card("Most this access can show", f"{ceiling_of(result, main):.2f}", "", seen, ranged=False)
    point = point_of(result, main)
    if point is not None:
        seen = f"{point.bound} at 50% confidence, cut at what this access can show"
        yield Card("Point estimate", value(point), "", seen, ranged=False)


def counted(result: AuditResult) -> str:
    """How many runs of what."""
    main, config = headline_of(result), result.config
    if main is None:
        return ""
    what = f"canary: {main.attack}, access: {main.view}"
    if config.get("one_run"):
        return f"{count(int(config['runs']), 'runs')} of {config['canaries']} canaries · {what}"
    return f"{config['runs']:,} runs with and {config['runs']:,} without · {what}"


def side_by_side(result: AuditResult) -> list[Group]:
    """Claims first, then what each access could show and did; that of the headline first."""
    main = headline_of(result)
    point = point_of(result, main) if main else None
    rows = [m for m in result.measurements if m.metric in WHAT and m.at is None]
    rows = [m for m in rows if m.metric != "epsilon_point" or m is point]
    views = list(dict.fromkeys(m.view for m in rows if m.view))
    views.sort(key=lambda view: main is None or view != main.view)
    names: list[str | None] = [None, *views]
    groups = [Group(v or "The claim", tuple(_side(m) for m in rows if m.view == v)) for v in names]
    return [group for group in groups if group.lines]


def _side(m: Measurement) -> Side:
    how = m.bound or ""
    if m.metric == "epsilon_claimed":
        how = ACCOUNTANTS.get(how, how)
    sure = f", {100 * m.confidence:g}%" if m.confidence is not None and m.metric == "epsilon_lower" else ""
    assumes = SHORT.get(m.assumes, m.assumes) if m.assumes else ""
    over = count(m.n, m.unit) if m.n else ""
    shown = "premise rejected" if m.value is None and m.reason else value(m)
    return Side(WHAT[m.metric] + sure, how, shown, assumes, over, bool(m.headline))
