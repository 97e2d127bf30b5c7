"""Attacks that ask about many records together: what they reach with fewer."""

from collections.abc import Iterator, Mapping

from undertow.report.rows import kind
from undertow.report.rows import together as number
from undertow.report.spoken import stated
from undertow.report.tables import Block, Line, Table
from undertow.types import AuditResult, Measurement

GROUP = "asked together"  # of the rows, whose `at` is the number of records


def about_together(result: AuditResult) -> Iterator[str]:
    """What each such attack reaches with one record."""
    for attack, rows in _rows(result).items():
        one = rows.get(1)
        if one is not None and one.value is not None and number(result, attack) > 1:
            asks = f"The attack {attack} asks about {number(result, attack):,} records together"
            alone = f"an adversary who holds one record and asks about it alone reaches AUC {stated(one)}"
            yield f"{asks}; {alone}."


def table(result: AuditResult) -> Table | None:
    """AUC by the number of records asked about together, None where that was not measured."""
    blocks = tuple(
        Block(attack, "", tuple(Line(_records(k), (m,)) for k, m in sorted(rows.items())))
        for attack, rows in _rows(result).items()
    )
    return Table("Records asked together", ("AUC",), blocks, "Records asked together") if blocks else None


def legend(result: AuditResult) -> str:
    """Which attacks of the table ask about several records together, in a sentence; empty where none does."""
    asked = result.environment.get(GROUP)
    names = [str(name) for name in asked if _realistic(result, str(name))] if isinstance(asked, Mapping) else []
    many = [f"the attack {name} asks about {number(result, name):,} records together" for name in names]
    text = "; ".join(many)
    return f"{text[0].upper()}{text[1:]}; the other attacks ask about one record at a time." if many else ""


def _realistic(result: AuditResult, name: str) -> bool:
    measured = any(m.attack == name and m.group is None for m in result.measurements)
    return measured and number(result, name) > 1 and kind(name) == "attack"


def _rows(result: AuditResult) -> dict[str, dict[int, Measurement]]:
    found: dict[str, dict[int, Measurement]] = {}
    for m in (*result.measurements, *result.controls):
        if m.group == GROUP and m.metric == "auc" and m.at is not None:
            found.setdefault(m.attack, {})[int(m.at)] = m
    return found


def _records(k: int) -> str:
    return f"{k:,} record{'' if k == 1 else 's'}"
