"""A data-trap audit as text for a terminal: what each experiment's traps hold, accuracy, what it means."""

from undertow.report.datatrap.trapped import (
    ARMS,
    COUNTS,
    MEAN,
    TIMES,
    Key,
    accuracy,
    cell,
    name_of,
    others_of,
    seeds_of,
    sizes,
    traps_cell,
)
from undertow.report.datatrap.verdict import verdict
from undertow.report.lines import WIDTH, aligned, checked, warned, warnings
from undertow.report.rows import TITLES, promised
from undertow.report.words import both, interval, needs_interval, one_line, plain, suffix, value, wrapped
from undertow.types import AuditResult, Measurement

ACROSS = 3  # columns of numbers with intervals, so that a line fits a terminal
Lines = list[list[str] | str]


def summary(result: AuditResult) -> str:
    """The audit as plain text without colour, ready for a pipe; ends without a newline."""
    found = verdict(result)
    tables = [table for table in (_captures(result), *_others(result), _accuracy(result)) if table]
    says = [f"VERDICT: {found.badge}\n" + wrapped(found.headline, WIDTH, "", "")]
    if found.sentences:
        says.append("\n".join(wrapped(line, WIDTH, "- ", "  ") for line in found.sentences))
    return "\n\n".join([_head(result), *tables, *says, checked(found), *warned(warnings(result))])


def _head(result: AuditResult) -> str:
    lines = [f"{TITLES['datatrap']} (datatrap)"]
    if name := result.data.get("name"):
        lines.append(f"data   {one_line(plain(name))}")
    seeds = ", ".join(one_line(str(seed)) for seed in seeds_of(result))
    lines.append(wrapped(seeds or str(result.seed), WIDTH, "seeds  ", " " * 7))
    if size := sizes(result):
        lines.append(wrapped(size, WIDTH, "size   ", " " * 7))
    lines += [wrapped(line, WIDTH, "model  ", " " * 7) for line in (promised(result),) if line]
    return "\n".join(lines)


def _captures(result: AuditResult) -> str:
    """A line for each experiment, and their mean."""
    shown = [metric for metric in COUNTS if any(traps_cell(result, metric, seed) for seed in seeds_of(result))]
    if not shown:
        return ""
    lines: Lines = [["seed", *(_header(metric) for metric in shown)]]
    for seed in seeds_of(result):
        lines.append([_name(seed), *(_told(traps_cell(result, metric, seed)) for metric in shown)])
    mean = {x: m for x in shown if (m := traps_cell(result, x, MEAN)) is not None and m.value is not None}
    if not mean.keys() - {"traps"}:
        return "traps (95% intervals in brackets; counts of one experiment have none)\n" + aligned(lines)
    lines.append([_name(MEAN), *(value(mean[x]) if x in mean else "-" for x in shown)])
    ranges = "; ".join(f"{COUNTS[x].lower()} {interval(m)}" for x, m in mean.items() if interval(m))
    note = wrapped(f"of the means, over {len(seeds_of(result))} experiments: {ranges}", WIDTH, "  ", "  ")
    return "traps (95% intervals in brackets)\n" + aligned(lines) + ("\n" + note) * bool(ranges)


def _others(result: AuditResult) -> list[str]:
    """Numbers that have no column of their own, a few at a time."""
    keys = others_of(result)
    return [_other(result, keys[i : i + ACROSS]) for i in range(0, len(keys), ACROSS)]


def _other(result: AuditResult, keys: tuple[Key, ...]) -> str:
    lines: Lines = [["seed", *(one_line(name_of(key))[:24] for key in keys)]]
    for seed in (*seeds_of(result), MEAN):
        found = [cell(result, key, seed) for key in keys]
        if any(found):
            lines.append([_name(seed), *(_full(m) for m in found)])
    return "also measured\n" + aligned(lines)


def _accuracy(result: AuditResult) -> str:
    """Both arms, before and after finetuning."""
    columns = [(arm, when) for when in TIMES for arm in ARMS]
    lines: Lines = [["seed", *(f"{ARMS[arm].removeprefix('clean ')}, {when}" for arm, when in columns)]]
    for seed in (*seeds_of(result), MEAN):
        found = [accuracy(result, seed, arm, when) for arm, when in columns]
        if any(found):
            lines.append([_name(seed), *("-" if m is None else both(m) for m in found)])
    return "" if len(lines) == 1 else "accuracy (%) on test records, before and after finetuning\n" + aligned(lines)


def _header(metric: str) -> str:
    short = {"accepted_precision": "precision (%)", "max_error": "error"}
    return short.get(metric, COUNTS[metric].lower())


def _name(seed: int | str) -> str:
    return "  " + one_line(str(seed))[:12]


def _told(m: Measurement | None) -> str:
    if m is None or m.value is None:
        return "-"
    return both(m) if needs_interval(m) else value(m)


def _full(m: Measurement | None) -> str:
    if m is None or m.value is None:
        return "-"
    return f"{value(m)}{suffix(m)} {interval(m)}".rstrip()
