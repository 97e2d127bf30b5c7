"""What is odd about scores, before anything is concluded: swapped signs, ties, no randomness, a large delta."""

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.stats import mannwhitneyu

from undertow.metrics.epsilon import Trials, check_whole
from undertow.types import Array, BadInput, ConfigError, Examples, Params

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


def check_given(train: object, data: object, seed: object, **others: object) -> None:
    """ConfigError, in one line, for a trainer that cannot be called, records that are none, or a seed that is none."""
    for name, value in {"train": train, **others}.items():
        if not callable(value):
            raise ConfigError(f"{name} = {repr(value)[:40]}: it must be a function")
    if not isinstance(data, Examples):
        raise ConfigError(f"data is a {type(data).__name__}: give Examples(x, y, name) of undertow.types")
    if data.x.dtype.kind == "f" and not np.isfinite(data.x).all():
        raise BadInput(f"{data.name}: values that are not finite; fill or remove them")
    check_whole("seed", seed, 0)


def parameters_of(returned: object, what: str) -> Params:
    """What a trainer returned, if it holds parameters by name: NumPy arrays, or what becomes one. BadInput if not."""
    if not isinstance(returned, Mapping):
        kind = "None" if returned is None else f"a {type(returned).__name__}"
        raise BadInput(f"{what}: train returned {kind}; it must return the parameters after training, arrays by name")
    try:
        return {name: np.asarray(value) for name, value in returned.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"{what}: train returned what is no array ({str(error)[:80]}); detach and copy it") from error
