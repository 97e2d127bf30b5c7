"""Numbers over several runs of the same game (other seeds), and the difference of two attacks on the same runs."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from undertow.metrics.influence import Ranking, auc_influence, rank, tpr_influence
from undertow.metrics.interval import FPRS, auc_of, error_of, unit_row
from undertow.metrics.limits import logit_interval, rate_interval, shift_interval, trials_of
from undertow.metrics.roc import allowed
from undertow.types import Array, BadInput, Measurement, Scores

Number = Callable[[Ranking], tuple[float, Array]]
Runs = Sequence[Scores]


def mean_over_runs(runs: Runs, *, fprs: Sequence[float] = FPRS[:2]) -> tuple[Measurement, ...]:
    """AUC and the TPR at each FPR of one attack, each the mean over `runs` of the run's own value.

    The interval speaks of other models and records in the same runs, whose errors are independent: variances add up,
    and so does Satterthwaite's noise. It does not speak of other runs. BadInput where a run lacks a class.
    """
    return tuple(_mean(runs, metric, fpr, number) for metric, fpr, number in _numbers(fprs))


def difference(first: Runs, second: Runs, *, fprs: Sequence[float] = FPRS[:2]) -> tuple[Measurement, ...]:
    """`first` less `second`, run by run the same models and points: AUC, then the TPR at each FPR; mean over runs.

    Paired: the variance is that of the difference of the two influences, so what both attacks share cancels. Excludes
    0 where one is significantly better. A TPR that allows less than one false positive in a run has a reason in place
    of a value. BadInput where the pairs do not agree.
    """
    for a, b in zip(first, second, strict=True):
        if a.member.shape != b.member.shape or (a.member != b.member).any():
            raise BadInput(f"{a.attack} and {b.attack} were not scored on the same models and points")
    both = [_on_both(a, b) for a, b in zip(first, second, strict=True)]
    first, second = [a for a, _ in both], [b for _, b in both]
    return tuple(_gap(first, second, metric, fpr, number) for metric, fpr, number in _numbers(fprs))


def _on_both(a: Scores, b: Scores) -> tuple[Scores, Scores]:
    """The two on the pairs that both have scored."""
    if a.scored is None and b.scored is None:
        return a, b
    scored = np.logical_and(*(np.ones(s.member.shape, bool) if s.scored is None else s.scored for s in (a, b)))
    return replace(a, scored=scored), replace(b, scored=scored)


def _numbers(fprs: Sequence[float]) -> list[tuple[str, float | None, Number]]:
    def at(fpr: float) -> Number:
        return lambda ranking: tpr_influence(ranking, fpr)

    return [("auc", None, auc_influence), *(("tpr", fpr, at(fpr)) for fpr in fprs)]


def _mean(runs: Runs, metric: str, fpr: float | None, number: Number) -> Measurement:
    rankings = [rank(scores) for scores in runs]
    blank = _blank(runs, rankings, metric, fpr)
    if blank.reason:
        return blank
    found = [(value, phi, scores) for scores, ranking in zip(runs, rankings) for value, phi in [number(ranking)]]
    interval = rate_interval if metric == "tpr" else logit_interval
    at = float(np.mean([f[0] for f in found]))
    row = _with_error(blank, at, [(phi, s) for _, phi, s in found], auc_of(metric, at))
    low, high = interval(float(row.value or 0), float(row.error or 0), float(row.df or 1), trials_of(row))
    return replace(row, low=low, high=high)


def _gap(first: Runs, second: Runs, metric: str, fpr: float | None, number: Number) -> Measurement:
    rankings = [(rank(a), rank(b)) for a, b in zip(first, second, strict=True)]
    blank = _blank(first, [a for a, _ in rankings], metric, fpr)
    blank = replace(blank, attack=f"{first[0].attack} - {second[0].attack}")
    if blank.reason:
        return blank
    found = [(number(a), number(b)) for a, b in rankings]
    moved = [(a[1] - b[1], scores) for (a, b), scores in zip(found, first, strict=True)]
    row = _with_error(blank, float(np.mean([a[0] - b[0] for a, b in found])), moved)
    low, high = shift_interval(float(row.value or 0), float(row.error or 0), float(row.df or 1))
    return replace(row, low=low, high=high)


def _blank(runs: Runs, rankings: Sequence[Ranking], metric: str, fpr: float | None) -> Measurement:
    """The row before its value: counts add up over the runs."""
    rows = [unit_row(scores, ranking) for scores, ranking in zip(runs, rankings, strict=True)]
    fewest = min(ranking.counts[1] for ranking in rankings)
    missing = fpr is not None and allowed(fewest, fpr) < 1
    return replace(
        rows[0],
        metric=metric,
        fpr=fpr,
        n=sum(row.n for row in rows),
        members=sum(row.members or 0 for row in rows),
        non_members=sum(row.non_members or 0 for row in rows),
        reason=f"not resolvable with {fewest} non-members" if missing else None,
    )


def _with_error(
    blank: Measurement, value: float, parts: Sequence[tuple[Array, Scores]], auc: float | None = None
) -> Measurement:
    """The row with value and error, from the influences of independent runs."""
    errors = [error_of(phi, scores, auc) for phi, scores in parts]
    variance = sum(e.total for e in errors)
    noise = sum(e.total**2 / e.df for e in errors)
    df = variance**2 / noise if noise > 0 else 1.0
    alone = sum(float(np.square(phi).sum()) for phi, _ in parts)
    pairs = (blank.members or 0) + (blank.non_members or 0)
    effective = pairs * alone / variance if variance > 0 else float(blank.n)
    error = float(np.sqrt(variance)) / len(parts)
    return replace(blank, value=value, error=error, df=df, effective=effective)
