"""Which attack is best at what: a real adversary chooses one for each number it is after."""

from dataclasses import dataclass, replace

from undertow.metrics import lower_limit
from undertow.report.doubt import chance, chosen
from undertow.report.rows import Row, columns, realistic
from undertow.types import AuditResult, Measurement


@dataclass(frozen=True)
class Best:
    """The attack that is best at one metric or rate; `m` has an interval that allows for the choice."""

    row: Row
    m: Measurement
    choices: int  # realistic attacks it was picked from

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.m.low is not None and self.m.high is not None

    @property
    def better(self) -> bool:
        """Whether it was shown to do better than guessing."""
        return self.m.low is not None and self.m.low > chance(self.m)

    @property
    def which(self) -> str:
        """The attack, as a sentence names it."""
        return f"the best of {self.choices} attacks, {self.row.attack}," if self.choices > 1 else self.row.attack

    @property
    def allowing(self) -> str:
        """What its interval allows for."""
        return "allowing for the choice" if self.choices > 1 else ""


def best_at(result: AuditResult, label: str = "AUC") -> Best | None:
    """The realistic attack with the largest value at `label` (a column); None where no attack has one."""
    found = [(row, m) for row in realistic(result) if (m := row.cells.get(label)) and m.value is not None]
    if not found:
        return None
    row, m = max(found, key=lambda pair: pair[1].value or 0.0)  # the first of equals: the larger AUC
    if m.metric == "auc" and m.chance is None and result.leak is not None:
        m = replace(m, chance=float(result.leak.get("chance", 0.5)))
    return Best(row, chosen(m, len(found)), len(found))


def rates(result: AuditResult) -> tuple[str, ...]:
    """The columns of true positive rates, the loosest first."""
    return tuple(label for label in columns(result) if label.startswith("TPR@"))


def most_exposing(result: AuditResult) -> Best | None:
    """By whom to rank records: the best attack at the strictest firm rate where one beats guessing, else by AUC.

    A rate is firm where its numbers carry no warning: with a few expected false positives the threshold is noise.
    """
    for label in reversed(rates(result)):
        found = best_at(result, label)
        if found is not None and found.m.warning is None and found.better:
            return found
    return best_at(result)


def tail(result: AuditResult, strictness: int) -> Best | None:
    """The rate at which an attack finds most members for its price, beyond what picking it explains; None: nowhere.

    Rates that carry a warning are left out: with a few expected false positives the threshold is mostly noise.
    The others are held to a limit `strictness` times stricter, since intervals of rare events are rough: without it,
    9 of 120 null audits (11 independent attacks, 16 models of 200 records) gave a hint.
    """
    cells = [(row, m) for row in realistic(result) for label in rates(result) if (m := row.cells.get(label))]
    firm = [(row, m) for row, m in cells if m.value is not None and m.warning is None]
    sure = [(row, m) for row, m in firm if lower_limit(m, strictness * len(firm)) > chance(m)]
    if not sure:
        return None
    row, m = max(sure, key=lambda pair: (pair[1].value or 0.0) / chance(pair[1]))
    choices = sum(other.label == m.label for _, other in cells)
    return Best(row, chosen(m, choices), choices)
