"""What is odd about scores, before anything is concluded: swapped signs, ties, no randomness, a large delta."""

from collections.abc import Iterator

import numpy as np
from scipy.stats import mannwhitneyu

from undertow.metrics.epsilon import Trials
from undertow.types import Array, BadInput

SWAPPED = 1e-4  # p-value of "members do not score lower" below which signs look swapped
FEW = 8  # scores of a world, below which nothing is called odd
LARGE = 0.01  # of delta


def odd_notes(trials: Trials, delta: float) -> Iterator[str]:
    """One sentence for each thing that a reader should know before the bounds; none for ordinary scores."""
    inside, outside = trials.scores[trials.member], trials.scores[~trials.member]
    few = min(inside.size, outside.size) < FEW
    if trials.scores.size > 1 and (trials.scores == trials.scores[0]).all():
        yield "all scores are equal: they tell nothing of who was a member, so nothing was tested"
    elif not few and _still(inside) and _still(outside):
        yield (
            "the scores with the record are all one number and those without another: nothing random reaches them. Is "
            "noise added? (check_pipeline tests it; bounds from so many runs cannot show an infinite epsilon)"
        )
    elif not few and mannwhitneyu(inside, outside, alternative="less").pvalue < SWAPPED:
        yield (
            f"members score lower than others (AUC {_auc(inside, outside):.2f}), and higher is read as member: a leak "
            "may be missed. If lower means member, give the scores with their signs swapped, of new trials"
        )
    if delta > LARGE:
        yield (
            f"delta {delta:g} allows a mechanism to publish one record in {max(1, round(1 / delta)):,}: deltas are "
            "usually below one over the number of records"
        )


def number_of(value: object, run: int) -> float:
    """The score of a training as a float; BadInput where it is none."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"run {run}: score returned {type(value).__name__} {str(value)[:40]!r}; it must return one number"
        ) from error
    if not np.isfinite(found):
        raise BadInput(f"run {run}: its score is {found}; training must end and score must return a number")
    return found


def _still(scores: Array) -> bool:
    return bool((scores == scores[0]).all())


def _auc(inside: Array, outside: Array) -> float:
    return float(mannwhitneyu(inside, outside).statistic) / (inside.size * outside.size)
