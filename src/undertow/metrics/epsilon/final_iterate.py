"""A bound from final models of Poisson-subsampled Gaussian training of known rate and steps, whose noise is unknown.

Without the record a score is a + b N(0, noise^2 steps), with it a + b (X + N(0, noise^2 steps)), X ~ Binomial(steps,
rate) the participations. The test is of the noise, and the bound what such final models tell (metrics.ceiling).
"""

import numpy as np

from undertow.metrics.ceiling import final_iterate_epsilon
from undertow.metrics.epsilon.bound import Bound, Trials, check, unit_of
from undertow.rng import stream
from undertow.types import Array, BadInput, ConfigError

HOW = "none: the scores themselves are tested"
_DRAWS = 50_000
_LEAST = 1e-3  # noise below which nobody asks


def final_iterate(
    trials: Trials,
    rate: float,
    steps: int,
    delta: float,
    confidence: float = 0.95,
    *,
    unit: float | None = None,
    independent: bool = False,
    seed: int = 0,
) -> Bound:
    """Bound of the final model, by the largest noise that the scores allow.

    unit: what one participation moves the score by, where that is known (weights along a canary's clipped gradient:
    one); the spread without the record is then enough. None: any scale and baseline, and the noise is read off the
    shift over the spread. BadInput where trials share a run and `independent` is not set, or a world has one trial.
    """
    check(confidence, delta, positive=True)
    if not 0 < rate < 1 or steps < 1 or (unit is not None and not 0 < unit < np.inf):
        raise ConfigError(f"rate = {rate}, steps = {steps}, unit = {unit}: 0 < rate < 1, steps >= 1, unit > 0")
    counted = unit_of(trials.scores.size, trials.runs, independent)
    noise = largest_noise(trials, rate, steps, 1 - confidence, unit, seed)
    epsilon = final_iterate_epsilon(max(noise, _LEAST), rate, steps, delta) if np.isfinite(noise) else 0.0
    name = "final-iterate" if unit is None else "final-iterate-unit"
    return Bound(name, epsilon, confidence, "final-iterate", counted, trials.scores.size, delta, HOW)


def largest_noise(trials: Trials, rate: float, steps: int, error: float, unit: float | None, seed: int) -> float:
    """The least noise that is refused, with all that is larger; infinite where none is."""
    inside, outside = trials.scores[trials.member], trials.scores[~trials.member]
    if outside.size < 2 or not np.isfinite(trials.scores).all():
        raise BadInput("final models are compared by their spread: two finite scores without the record are needed")
    rng, spread = stream(seed, "epsilon", "final iterate"), float(outside.std(ddof=1))
    chi = np.sqrt(rng.chisquare(outside.size - 1, _DRAWS) / (outside.size - 1))
    if unit is not None:
        return _upper(spread / (unit * np.sqrt(steps) * chi), error)
    if spread == 0:
        return 0.0 if inside.mean() > outside.mean() else np.inf
    seen = float(inside.mean() - outside.mean()) / spread
    joined = rng.binomial(inside.size * steps, rate, _DRAWS) / inside.size / np.sqrt(steps)
    spare = seen * chi - rng.standard_normal(_DRAWS) * np.sqrt(1 / inside.size + 1 / outside.size)
    # a draw shows a shift of at least `seen` where joined / noise is at least what is spare
    return _upper(np.where(spare > 0, joined / np.where(spare > 0, spare, 1.0), np.inf), error)


def _upper(noises: Array, error: float) -> float:
    """The noise that at most `error` of the draws (n,) reach, itself counted among them."""
    keep = int(np.floor(error * (noises.size + 1))) - 1
    return float(np.sort(noises)[noises.size - keep - 1]) if keep >= 0 else np.inf
