"""A poisoning audit as text for a terminal: arms, differences, what the models are worth, what it means."""

from undertow.report.lines import WIDTH, aligned, checked, warned
from undertow.report.poisoning.arms import (
    Setting,
    about_points,
    arms_of,
    attack_of,
    baseline_of,
    cell,
    points_of,
    rates_of,
    settings_of,
    sweep_of,
    utility_of,
    utility_tables,
)
from undertow.report.poisoning.verdict import blind_spots, cautions, verdict
from undertow.report.rows import TITLES
from undertow.report.verdict import Verdict
from undertow.report.words import both, one_line, plain, sample, suffix, wrapped
from undertow.types import AuditResult, Measurement

Lines = list[list[str] | str]


def summary(result: AuditResult) -> str:
    """The audit as plain text without colour; a judged checkpoint's verdict and evidence come first."""
    found = verdict(result)
    tables = [_setting(result, setting) for setting in settings_of(result)]
    if tables and sweep_of(result):
        tables.append(_sweep(result))
    if utility_of(result):
        tables.append(_utility(result))
    says = [_verdict(found)] if result.verdict is None else [_judged(result, found)]
    order = [*tables, *says] if result.verdict is None else [*says, *tables]
    return "\n\n".join([_head(result), *order, *([checked(found)] if found.checks else []), *warned(cautions(result))])


def _head(result: AuditResult) -> str:
    lines = [f"{TITLES['poisoning']} (poisoning)"]
    if name := result.data.get("name"):
        lines.append(f"data   {one_line(plain(name))}")
    lines.append(f"seed   {result.seed}")
    if settings_of(result):
        lines.append(f"attack {attack_of(result)}; 95% intervals in brackets; pp: percentage points")
        lines += [f"{points:<6} {about_points(result, points)}" for points in points_of(result)]
    return "\n".join(lines)


def _setting(result: AuditResult, setting: Setting) -> str:
    """The arms and their differences at one recipe and view."""
    fpr = next(iter(rates_of(result)), None)
    lines: Lines = [["", "" if fpr is None else f"TPR@{100 * fpr:g}%", "AUC"]]
    for points in points_of(result):
        rows = {arm: _cells(result, setting, arm, points, fpr, "") for arm in arms_of(result)}
        counted = next((m for row in rows.values() for m in row if m is not None), None)
        about = f" ({sample(counted)})" if counted else ""
        lines.append(f"{points}{about}")
        lines += [[f"  {arm}", *map(_told, row)] for arm, row in rows.items()]
        for arm in arms_of(result):
            row = _cells(result, setting, arm, points, fpr, "_difference")
            if any(row):
                lines.append([f"  {arm} - {baseline_of(result)}", *map(_told, row)])
    heading = wrapped(setting.name + (f" ({setting.about})" if setting.about else ""), WIDTH, "", "  ")
    return heading + "\n" + aligned(lines)


def _cells(
    result: AuditResult, setting: Setting, arm: str, points: str, fpr: float | None, kind: str
) -> list[Measurement | None]:
    rate = None if fpr is None else cell(result, f"tpr{kind}", arm, points, setting, fpr)
    return [rate, cell(result, f"auc{kind}", arm, points, setting)]


def _sweep(result: AuditResult) -> str:
    setting, fpr = settings_of(result)[0], next(iter(rates_of(result)), None)
    metric = "auc" if fpr is None else "tpr"
    arms = arms_of(result)
    lines: Lines = [[one_line(plain(result.config.get("sweep") or "swept")), *arms]]
    for at in sweep_of(result):
        lines.append([f"  {at:g}", *(_told(cell(result, metric, a, "targets", setting, fpr, at)) for a in arms)])
    what = "AUC" if fpr is None else f"TPR@{100 * fpr:g}%"
    return f"sweep: {what} of the targets, {one_line(setting.name)}\n" + aligned(lines)


def _utility(result: AuditResult) -> str:
    """What the models are worth on held-out records, before and after finetuning."""
    blocks = []
    for table in utility_tables(result):
        lines: Lines = [["", *table.arms]]
        lines += [[f"  {one_line(name)}", *map(_told, cells)] for name, cells in table.rows]
        blocks.append(f"utility: {table.name}\n{aligned(lines)}")
    return "\n\n".join(blocks)


def _told(m: Measurement | None) -> str:
    if m is None:
        return "-"
    if m.value is None:
        return both(m)
    number, _, rest = both(m).partition(" ")
    return f"{number}{suffix(m)} {rest if m.low is not None else ''}".rstrip()


def _verdict(found: Verdict) -> str:
    text = f"VERDICT: {found.badge}\n" + wrapped(found.headline, WIDTH, "", "")
    return text + "".join("\n" + wrapped(line, WIDTH, "- ", "  ") for line in found.sentences)


def _judged(result: AuditResult, found: Verdict) -> str:
    """Verdict, evidence, and what the evidence cannot see."""
    blocks = [_verdict(found)]
    if result.evidence:
        lines = [
            wrapped(f"{e['test']}: {e['found']} ({e.get('verdict', 'unknown')})", WIDTH, "- ", "  ")
            + "\n" + wrapped(str(e.get("explanation", "")), WIDTH, "  ", "  ")
            for e in result.evidence
        ]  # fmt: skip
        blocks.append("EVIDENCE\n" + "\n".join(line.rstrip() for line in lines))
    spots = "\n".join(wrapped(line, WIDTH, "- ", "  ") for line in blind_spots(result))
    return "\n\n".join([*blocks, f"WHAT THIS EVIDENCE CANNOT SEE\n{spots}"])
