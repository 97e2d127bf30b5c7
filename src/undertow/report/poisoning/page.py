"""A poisoning audit as one self-contained HTML page: no script, no request, every name escaped."""

from collections.abc import Iterator

from undertow.report.parts import Card, how_made, templates
from undertow.report.poisoning.arms import (
    ARMS,
    Setting,
    about_points,
    arms_of,
    attack_of,
    attacks_of,
    audited_of,
    baseline_of,
    cell,
    change,
    points_of,
    rates_of,
    settings_of,
    sweep_of,
    utility_tables,
)
from undertow.report.poisoning.figures import arms_roc, forest, sweep
from undertow.report.poisoning.verdict import blind_spots, cautions, verdict
from undertow.report.prose import HOW_TO_READ_ARMS, threat_model
from undertow.report.rows import TITLES
from undertow.report.tables import Block, Cells, Line, Table
from undertow.report.words import count, interval, plain, sample, suffix, value
from undertow.types import AuditResult


def page(result: AuditResult) -> str:
    """One self-contained HTML page of a poisoning audit; the same result gives the same bytes."""
    every = settings_of(result)
    return (
        templates()
        .get_template("poisoning.html")
        .render(
            result=result,
            title=TITLES["poisoning"],
            data_name=plain(result.data["name"]) if result.data.get("name") else None,
            verdict=verdict(result),
            judged=result.verdict is not None,
            blind_spots=blind_spots(result),
            counted=_counted(result),
            cards=list(cards(result)),
            warnings=cautions(result),
            attack=attack_of(result),
            setting=every[0] if every else Setting(None, None),
            arms=_arms(result, every[0]) if every else None,
            attacks=_attacks(result, every[0]) if len(attacks_of(result)) > 1 else None,
            roc=arms_roc(result) if every else None,
            changes=_changes(result, every) if len(every) > 1 else None,
            forest=forest(result),
            sweep_key=plain(result.config.get("sweep") or "the swept value"),
            swept=_swept(result, every[0]) if every and sweep_of(result) else None,
            sweep=sweep(result),
            stealth=list(_stealth(result)),
            threat=threat_model(result),
            how=HOW_TO_READ_ARMS,
            **how_made(result),
        )
    )


def _counted(result: AuditResult) -> str:
    """How many models each arm has."""
    found = [m for m in result.measurements if m.metric in ("auc", "tpr") and m.group in ARMS]
    return f"{count(found[0].n, found[0].unit)} in each arm" if found else ""


def cards(result: AuditResult) -> Iterator[Card]:
    """The few numbers to take away, most important first."""
    every = settings_of(result)
    if every:
        yield from _cards(result, every[0])


def _cards(result: AuditResult, setting: Setting) -> Iterator[Card]:
    audited, baseline = audited_of(result), baseline_of(result)
    for arm, points in ((audited, "targets"), ("benign", "targets"), (audited, "others")):
        m = change(result, arm, points, setting)
        if m is not None and m.value is not None:
            what = m.label.removesuffix(", difference")
            yield Card(f"{what} of {points}, {arm} less {baseline}", value(m) + suffix(m), interval(m), setting.name)
    m = cell(result, "auc", audited, "targets", setting)
    if m is not None and m.value is not None:
        yield Card(f"AUC of targets, {audited}", value(m), interval(m), "guessing gives 0.5")


def _arms(result: AuditResult, setting: Setting) -> Table:
    """Every arm and its difference to the baseline: targets, then others."""
    rates = rates_of(result)
    names = [f"TPR at {100 * fpr:g}% FPR" for fpr in rates]
    columns = (*names[:1], "AUC", *names[1:])
    blocks = []
    for points in points_of(result):
        rows = [Line(arm, _cells(result, setting, arm, points, "")) for arm in arms_of(result)]
        for arm in arms_of(result):
            found = _cells(result, setting, arm, points, "_difference")
            rows += [Line(f"{arm} less {baseline_of(result)}", found, True)] if any(found) else []
        first = next((m for row in rows for m in row.cells if m is not None), None)
        pairs = f": {sample(first).partition('; ')[2]}" if first and first.members else ""
        blocks.append(Block(points.capitalize(), about_points(result, points) + pairs, tuple(rows)))
    return Table("Arm", columns, tuple(blocks))


def _cells(result: AuditResult, setting: Setting, arm: str, points: str, kind: str) -> Cells:
    """The loosest rate, the AUC, the stricter rates; `kind` is "" or "_difference"."""
    rates = [cell(result, f"tpr{kind}", arm, points, setting, fpr) for fpr in rates_of(result)]
    return (*rates[:1], cell(result, f"auc{kind}", arm, points, setting), *rates[1:])


def _attacks(result: AuditResult, setting: Setting) -> Table:
    """Every attack on the targets: the baseline, the audited arm, and how they differ."""
    fpr, baseline, audited = next(iter(rates_of(result)), None), baseline_of(result), audited_of(result)
    rate, name = ("auc", "AUC") if fpr is None else ("tpr", f"TPR at {100 * fpr:g}% FPR")
    wanted: tuple[tuple[str, str, float | None], ...]
    wanted = ((rate, baseline, fpr), (rate, audited, fpr), (f"{rate}_difference", audited, fpr))
    wanted += (("auc_difference", audited, None),) * (fpr is not None)
    rows = [
        Line(attack, tuple(cell(result, what, arm, "targets", setting, at, None, attack) for what, arm, at in wanted))
        for attack in attacks_of(result)
    ]
    columns = (f"{name}, {baseline}", audited, "difference", "AUC, difference")
    return Table("Attack", columns[: len(wanted)], (Block("", "", tuple(row for row in rows if any(row.cells))),))


def _changes(result: AuditResult, every: tuple[Setting, ...]) -> Table:
    """The differences at every recipe and view."""
    pairs = [(a, p) for a in (audited_of(result), "benign") if a in arms_of(result) for p in points_of(result)]
    rows = tuple(Line(s.name, tuple(change(result, a, p, s) for a, p in pairs)) for s in every)
    heads = tuple(f"{arm}, {points}" for arm, points in pairs)
    fpr = next(iter(rates_of(result)), None)
    what = "AUC" if fpr is None else f"TPR at {100 * fpr:g}% FPR"
    return Table(f"{what}, less the {baseline_of(result)} arm", heads, (Block("", "", rows),))


def _swept(result: AuditResult, setting: Setting) -> Table:
    """The targets' rate in each arm, and the audited arm's difference, at every value of the sweep."""
    fpr = next(iter(rates_of(result)), None)
    metric = "auc" if fpr is None else "tpr"
    rows, audited = [], audited_of(result)
    for at in sweep_of(result):
        own = (cell(result, metric, arm, "targets", setting, fpr, at) for arm in arms_of(result))
        rows.append(Line(f"{at:g}", (*own, change(result, audited, "targets", setting, at))))
    columns = (*arms_of(result), f"{audited} less {baseline_of(result)}")
    return Table("AUC" if fpr is None else f"TPR at {100 * fpr:g}% FPR", columns, (Block("", "", tuple(rows)),))


def _stealth(result: AuditResult) -> Iterator[Table]:
    for table in utility_tables(result):
        rows = tuple(Line(name, cells) for name, cells in table.rows)
        yield Table("", table.arms, (Block("", "", rows),), table.name)
