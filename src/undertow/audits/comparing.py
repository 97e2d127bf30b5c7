"""Is one finished run worse than another of the same audit? Paired where they share models and points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from undertow.attacks.catalog import ATTACKS
from undertow.audits.finished_run import FinishedRun
from undertow.metrics import difference
from undertow.metrics.limits import TAIL, shift_interval
from undertow.types import AuditResult, BadInput, Measurement, Scores

METRICS = ("auc", "tpr", "captured_exact", "captured_unique", "epsilon_lower", "tpr_difference", "verbatim",
           "near_verbatim")  # fmt: skip
CONTROL = "blind"
RANKED = ("mia", "tmi", "score", "model", "lm")  # audits whose attacks compete for the same number
PAIRED = "Paired: the runs share models' memberships and records, so what they have in common cancels."
UNPAIRED = (
    "Unpaired: the runs were not scored on the same memberships and records, so each brings its own error and the "
    "interval is wider; a difference may also come from the records."
)


@dataclass(frozen=True)
class Change:
    """One number before and after, and its difference: after less before; higher = leaks more."""

    before: Measurement
    after: Measurement
    moved: Measurement  # the difference with its interval; only a reason where there is none
    paired: bool


@dataclass(frozen=True)
class Comparison:
    """One later run against the first one."""

    name: str
    changes: tuple[Change, ...]
    state: str  # "worse" | "not worse" | "undecided"
    how: str

    @property
    def firm(self) -> int:
        """How many of the numbers carry no warning: the intervals hold for all of these at once."""
        return sum(c.before.warning is None and c.after.warning is None for c in self.changes)


def check_comparable(runs: Sequence[FinishedRun]) -> None:
    """BadInput in one line where the runs cannot be compared."""
    if len(runs) < 2:
        raise BadInput("compare needs two finished runs at least: undertow compare BEFORE AFTER")
    scans = [run for run in runs if run.result is None]
    if scans:
        raise BadInput(f"{scans[0].path} is a scan; compare takes finished audits")
    first = runs[0]
    other = next((run for run in runs if run.audit != first.audit), None)
    if other is not None:
        raise BadInput(
            f"{first.path} is of {first.audit!r} and {other.path} of {other.audit!r}: give runs of one audit"
        )


def against(first: FinishedRun, other: FinishedRun) -> Comparison:
    """`other` against `first`: every number that both have, and whether one of them is worse.

    An adversary chooses its attack: where attacks compete, each of the later run is held against the best one of the
    first run. Each interval is at Bonferroni's level over the numbers compared that carry no warning. "worse": a lower
    limit lies above 0. "not worse": every upper limit is at most TOLERANCE. Else "undecided": unknown is never a pass.
    """
    a, b = _result(first), _result(other)
    if first.audit in RANKED:
        before = _numbers(a)
        same = [([m for m in before if _place(m) == _place(n)], n) for n in _numbers(b)]
        rows = [(max(some, key=_value), n) for some, n in same if some]
    else:
        rows = [(m, n) for m in _numbers(a) for n in _numbers(b) if _key(m) == _key(n)]
    if not rows:
        raise BadInput(f"{first.path} and {other.path} have no number in common: nothing can be compared")
    firm = sum(m.warning is None and n.warning is None for m, n in rows)
    changes = tuple(_change(a, b, m, n, max(firm, 1)) for m, n in rows)
    return Comparison(other.name, changes, state_of(changes), PAIRED if all(c.paired for c in changes) else UNPAIRED)


TOLERANCE = {"auc": 0.02, "tpr": 0.02, "tpr_difference": 0.02, "verbatim": 0.02, "near_verbatim": 0.02}
"""How much more may be called not worse, where the interval excludes more than that."""


def state_of(changes: Sequence[Change]) -> str:
    """ "worse", "not worse" or "undecided", over all changes."""
    known = [c.moved for c in changes if c.moved.low is not None and c.moved.warning is None]
    if any(m.low is not None and m.low > 0 for m in known):
        return "worse"
    within = [m.high is not None and m.high <= TOLERANCE.get(m.metric, 0.0) for m in known]
    return "not worse" if within and all(within) else "undecided"


def _result(run: FinishedRun) -> AuditResult:
    if run.result is None:
        raise BadInput(f"{run.path} is a scan; compare takes finished audits")
    return run.result


def _numbers(result: AuditResult) -> list[Measurement]:
    """The numbers that are compared: of real attacks, no controls, no steps of a sweep, headlines of bounds only."""
    found = []
    for m in result.measurements:
        kind = str(ATTACKS[m.attack].kind) if m.attack in ATTACKS else "attack"
        control = m.attack.startswith("direct-") or kind == "bound" or m.attack == CONTROL
        arm = m.group in (None, "poisoned", "suspect", "backdoored") and m.points != "others"
        if m.metric in METRICS and m.at is None and arm and not control and m.value is not None:
            bound = m.metric != "epsilon_lower" or m.headline
            seed = result.audit != "datatrap" or m.seed in (None, "mean") or result.config.get("seeds", 1) == 1
            found += [m] if bound and seed else []
    return found


def _key(m: Measurement) -> tuple[object, ...]:
    attack = "" if m.metric == "epsilon_lower" else m.attack
    return (attack, m.metric, m.fpr, m.group, m.points, m.recipe, m.view)


def _place(m: Measurement) -> tuple[object, ...]:
    """What is the same of two numbers that attacks compete for."""
    return _key(m)[1:]


def _value(m: Measurement) -> float:
    return float(m.value or 0.0)


def best_changes(found: Comparison) -> tuple[Change, ...]:
    """For each number the one of the later run's best attack; all of them where attacks do not compete."""
    kept: dict[tuple[object, ...], Change] = {}
    for change in found.changes:
        place = (_place(change.after), change.before.attack)
        if place not in kept or _value(change.after) > _value(kept[place].after):
            kept[place] = change
    return tuple(kept.values())


def _change(a: AuditResult, b: AuditResult, m: Measurement, n: Measurement, choices: int) -> Change:
    before, after = _scores(a, m), _scores(b, n)
    row = None
    if m.metric in ("auc", "tpr") and before is not None and after is not None and _same_trials(a, b, before, after):
        rates = () if m.fpr is None else (m.fpr,)
        row = next(r for r in difference([after], [before], fprs=rates) if r.metric == m.metric)
    moved, paired = (row, True) if row is not None else (_unpaired(m, n), False)
    name = n.attack if m.attack == n.attack else f"{n.attack} - {m.attack}"
    moved = replace(moved, attack=name, warning=moved.warning or m.warning or n.warning)
    if moved.value is not None and moved.error is not None and moved.df is not None:
        low, high = shift_interval(moved.value, moved.error, moved.df, TAIL / choices)
        moved = replace(moved, low=low, high=high, choices=choices)
    return Change(m, n, moved, paired)


def _scores(result: AuditResult, m: Measurement) -> Scores | None:
    wanted = (m.attack, m.group, m.points, m.recipe, m.view)
    return next((s for s in result.scores if (s.attack, s.group, s.points, s.recipe, s.view) == wanted), None)


def _same_trials(a: AuditResult, b: AuditResult, first: Scores, second: Scores) -> bool:
    """Whether two scores are of the same memberships of the same records."""
    same = first.member.shape == second.member.shape and bool((first.member == second.member).all())
    ids = (first.ids or a.ids) == (second.ids or b.ids)
    return same and ids and a.data.get("sha256") == b.data.get("sha256")


def _unpaired(m: Measurement, n: Measurement) -> Measurement:
    """After less before, with the errors of both, as those of independent runs; a reason where one has no error."""
    value = float(n.value or 0) - float(m.value or 0)
    errors = [_error(m), _error(n)]
    blank = replace(n, value=value, low=None, high=None, error=None, df=None)
    if any(error is None for error in errors):
        return replace(blank, reason="one of the two has no standard error")
    variances = np.array([float(error or 0) ** 2 for error in errors])
    dfs = np.array([x.df if x.df is not None else max(x.n - 1, 1) for x in (m, n)], float)
    total = float(variances.sum())
    df = total**2 / float((variances**2 / dfs).sum()) if total > 0 else 1.0
    return replace(blank, error=float(np.sqrt(total)), df=df) if total > 0 else replace(blank, reason="no spread")


def _error(m: Measurement) -> float | None:
    """The standard error; of results of earlier versions, from the width of the interval."""
    if m.error is not None:
        return m.error
    return None if m.low is None or m.high is None else (m.high - m.low) / 2 / float(-ndtri(TAIL))
