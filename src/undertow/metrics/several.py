"""Numbers over several runs of the same game (other seeds), and the difference of two attacks on the same runs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import t

from undertow.metrics.interval import CONFIDENCE, FPRS, intervals
from undertow.metrics.resample import Ranking, draws, rank, roc_numbers
from undertow.types import Array, BadInput, Measurement, Scores


def mean_over_runs(
    runs: Sequence[Scores], rng: np.random.Generator, *, fprs: Sequence[float] = FPRS[:2], resamples: int = 1000
) -> tuple[Measurement, ...]:
    """AUC and the TPR at each FPR of one attack, each the mean over `runs` of the run's own value.

    The interval speaks of other models in the same runs: models are drawn again within each run, and the runs'
    errors are independent. Degrees of freedom add up, models less one per run. BadInput where a run has fewer
    than two models or lacks a class.
    """
    rankings = [rank(scores) for scores in runs]
    values, samples = _sampled([(ranking,) for ranking in rankings], rng, fprs, resamples)
    value, resampled = values[:, 0].mean(0), samples[:, :, 0].mean(0)
    members = sum(len(ranking.members) for ranking in rankings)
    non_members = sum(len(ranking.non_members) for ranking in rankings)
    trials = np.array([min(members, non_members)] + [members] * len(fprs))
    low, high = intervals(value, resampled, _freedom(rankings) + 1, trials, np.arange(len(value)) < 1)
    return _rows(runs[0].attack, runs[0].group, rankings, fprs, value, low, high)


def difference(
    first: Sequence[Scores],
    second: Sequence[Scores],
    rng: np.random.Generator,
    *,
    fprs: Sequence[float] = FPRS[:2],
    resamples: int = 1000,
) -> tuple[Measurement, ...]:
    """`first` less `second`, run by run the same models and points: AUC, then the TPR at each FPR; mean over runs.

    Paired: both attacks are read on the same drawn models. A t interval with the bootstrap standard error; it
    excludes 0 where one attack is significantly better. A TPR that asks for less than one false positive of a run
    has a reason in place of a value. BadInput where the pairs do not agree.
    """
    for a, b in zip(first, second, strict=True):
        if a.member.shape != b.member.shape or (a.member != b.member).any():
            raise BadInput(f"{a.attack} and {b.attack} were not scored on the same models and points")
    pairs = [(rank(a), rank(b)) for a, b in zip(first, second, strict=True)]
    values, samples = _sampled(pairs, rng, fprs, resamples)
    value = (values[:, 0] - values[:, 1]).mean(0)
    error = (samples[:, :, 0] - samples[:, :, 1]).mean(0).std(0)
    reach = t.ppf((1 + CONFIDENCE) / 2, _freedom([a for a, _ in pairs])) * error
    name = f"{first[0].attack} - {second[0].attack}"
    rows = _rows(name, first[0].group, [a for a, _ in pairs], fprs, value, value - reach, value + reach)
    fewest = min(len(a.non_members) for a, _ in pairs)
    return tuple(_resolved(row, fewest) for row in rows)


def _resolved(row: Measurement, non_members: int) -> Measurement:
    """The row, or a reason where its false positive rate is less than one non-member of a run."""
    if row.fpr is None or non_members * row.fpr >= 1:
        return row
    return replace(row, value=None, low=None, high=None, reason=f"not resolvable with {non_members} non-members")


def _sampled(
    runs: Sequence[tuple[Ranking, ...]], rng: np.random.Generator, fprs: Sequence[float], resamples: int
) -> tuple[Array, Array]:
    """Values (R, G, K) of G rankings per run, and resamples (R, B, G, K) with unbiased variance."""
    values, samples = [], []
    for rankings in runs:
        first = rankings[0]
        if first.unit != "models":
            raise BadInput("a run of one model cannot be compared: models are what is drawn again")
        value = np.stack([roc_numbers(r, np.ones((1, r.size), np.int32), fprs)[0] for r in rankings])
        drawn = [
            np.stack([roc_numbers(r, weights, fprs) for r in rankings], 1) for weights in draws(first, rng, resamples)
        ]
        sample = np.concatenate(drawn)
        values.append(value)
        # Resamples of U models are centred on their own mean: (U - 1) / U of the unbiased variance.
        samples.append(value + (sample - sample.mean(0)) * np.sqrt(first.units / (first.units - 1)))
    return np.stack(values), np.stack(samples)


def _freedom(rankings: Sequence[Ranking]) -> int:
    return sum(ranking.units - 1 for ranking in rankings)


def _rows(
    attack: str,
    group: str | None,
    rankings: Sequence[Ranking],
    fprs: Sequence[float],
    value: Array,
    low: Array,
    high: Array,
) -> tuple[Measurement, ...]:
    names: list[tuple[str, float | None]] = [("auc", None), *(("tpr", fpr) for fpr in fprs)]
    return tuple(
        Measurement(
            attack=attack,
            metric=metric,
            value=float(v),
            low=float(a),
            high=float(b),
            n=sum(ranking.size for ranking in rankings),
            unit="models",
            fpr=fpr,
            group=group,
            members=sum(len(ranking.members) for ranking in rankings),
            non_members=sum(len(ranking.non_members) for ranking in rankings),
        )
        for (metric, fpr), v, a, b in zip(names, value, low, high, strict=True)
    )
