"""A data-trap audit as text for a terminal: what each experiment's traps hold, accuracy, what it means."""

from undertow.report.rows import TITLES, promised
from undertow.report.text import WIDTH, aligned, checked, warned, warnings
from undertow.report.trap_verdict import verdict
from undertow.report.trapped import ARMS, COUNTS, MEAN, TIMES, cell, others_of, seeds_of, sizes
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
    shown = [metric for metric in COUNTS if _any(result, metric)]
    if not shown:
        return ""
    lines: Lines = [["seed", *(_header(result, metric) for metric in shown)]]
    lines += [
        [_name(seed), *(_told(cell(result, metric, seed)) for metric in shown)] for seed in seeds_of(result)
    ]
    mean = {metric: m for metric in shown if (m := cell(result, metric, MEAN)) is not None}
    if not mean:
        return "traps (95% intervals in brackets; counts of one experiment have none)\n" + aligned(lines)
    lines.append([_name(MEAN), *(_alone(result, mean, metric) for metric in shown)])
    ranges = "; ".join(f"{COUNTS[x].lower()} {interval(m)}" for x, m in mean.items() if interval(m))
    n = next(iter(mean.values())).n
    note = wrapped(f"95% over {n} experiments, of the means: {ranges}", WIDTH, "  ", "  ") if ranges else ""
    return "\n".join(filter(None, ("traps (95% intervals in brackets)", aligned(lines), note)))


def _alone(result: AuditResult, mean: dict[str, Measurement], metric: str) -> str:
    """A mean without its interval, which is said below; how many traps there are is the same in each."""
    m = mean.get(metric) or (cell(result, metric, seeds_of(result)[0]) if metric == "traps" else None)
    return "-" if m is None else value(m)


def _others(result: AuditResult) -> list[str]:
    """Metrics that have no column of their own, a few at a time."""
    names = others_of(result)
    return [_other(result, names[i : i + ACROSS]) for i in range(0, len(names), ACROSS)]


def _other(result: AuditResult, names: tuple[str, ...]) -> str:
    lines: Lines = [["seed", *(one_line(name)[:24] for name in names)]]
    for seed in (*seeds_of(result), MEAN):
        found = [cell(result, name, seed) for name in names]
        if any(found):
            lines.append([_name(seed), *(_full(m) for m in found)])
    return "readings\n" + aligned(lines)


def _accuracy(result: AuditResult) -> str:
    """Both arms, before and after finetuning."""
    columns = [(arm, when) for when in TIMES for arm in ARMS]
    lines: Lines = [["seed", *(f"{ARMS[arm].removeprefix('clean ')}, {when}" for arm, when in columns)]]
    for seed in (*seeds_of(result), MEAN):
        found = [cell(result, "accuracy", seed, arm, when) for arm, when in columns]
        if any(found):
            lines.append([_name(seed), *("-" if m is None else both(m) for m in found)])
    return "" if len(lines) == 1 else "accuracy (%) on test records, before and after finetuning\n" + aligned(lines)


def _header(result: AuditResult, metric: str) -> str:
    return COUNTS[metric].lower() + " (%)" * (metric == "accepted_precision")


def _any(result: AuditResult, metric: str) -> bool:
    return any(m.metric == metric and m.attack == "datatrap" for m in result.measurements)


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
