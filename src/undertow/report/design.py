"""How membership was dealt, which attacks could not be run, and which records were left out, in words."""

from collections.abc import Iterator

from undertow.report.rows import measured
from undertow.report.spoken import listed
from undertow.report.words import count
from undertow.types import AuditResult, Measurement


def design_lines(result: AuditResult) -> tuple[str, ...]:
    """The design as the audit found it, and what it is worth; empty for results that do not say."""
    return tuple(_design_lines(result))


def _design_lines(result: AuditResult) -> Iterator[str]:
    design = result.design
    if design.get("about"):
        yield str(design["about"])
    draws = design.get("draws")
    if draws is not None:
        yield (
            f"Models: {int(design.get('models', 0)):,}, worth {float(draws):.3g} independent draws of membership. "
            f"Records: {int(design.get('points', 0)):,}."
        )
    if design.get("groups"):
        yield f"The records form {int(design['groups']):,} groups."
    m = next((m for m in measured(result) if m.metric == "auc" and m.effective is not None), None)
    if m is not None:
        unit = {"models": "the model", "points": "the record"}.get(m.unit, m.unit)
        alike = " (records of a group count as one)" if design.get("groups") and m.unit == "models" else ""
        yield f"The unit of the intervals is {unit}{alike}; {worth(m)}."


def worth(m: Measurement) -> str:
    """The effective number of pairs behind a number."""
    pairs = f"{(m.members or 0) + (m.non_members or 0):,} (model, record) pairs" if m.members else "its pairs"
    return f"the AUC of {m.attack} rests on {pairs} worth {m.effective or 0:,.0f} independent ones"


def not_run(result: AuditResult) -> tuple[str, ...]:
    """Attacks that were not run, those with one reason together: names, reason, fix."""
    by: dict[tuple[str, str], list[str]] = {}
    for entry in result.not_run:
        by.setdefault((str(entry.get("reason", "")), str(entry.get("fix", ""))), []).append(str(entry["attack"]))
    return tuple(
        f"{listed(names)}: {sentence(reason)}{' To run ' + ('it' if len(names) == 1 else 'them') + ': ' if fix else ''}"
        f"{sentence(fix) if fix else ''}"
        for (reason, fix), names in by.items()
    )


def left_out(result: AuditResult) -> tuple[str, ...]:
    """Records and (model, record) pairs that attacks could not use, counted, those with one reason together."""
    by: dict[tuple[int, int, int, str], list[str]] = {}
    for entry in result.left_out:
        numbers = (int(entry["records"]), int(entry["of"]), int(entry.get("pairs", 0)))
        by.setdefault((*numbers, str(entry.get("reason", ""))), []).append(str(entry["attack"]))
    return tuple(
        f"{listed(names)}: {_gone(records, of, pairs)} left out. {sentence(reason)}".rstrip()
        for (records, of, pairs, reason), names in by.items()
    )


def _gone(records: int, of: int, pairs: int) -> str:
    whole = f"{records:,} of {count(of, 'records')}"
    return f"{pairs:,} (model, record) pairs{f', among them {whole} whole,' if records else ''}" if pairs else whole


def sentence(text: str) -> str:
    """`text` closed by a full stop."""
    text = text.strip()
    return text if not text or text[-1] in ".!?" else f"{text}."
