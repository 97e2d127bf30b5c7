"""What an adversary could show at best who sees only the end of subsampled Gaussian training.

The record joins X ~ Binomial(steps, rate) steps, each time moving its coordinate by one clipping norm, and all steps
add N(0, noise^2 steps) to it: the final model tells N(0, s^2) from a mixture of N(X, s^2). The likelihood ratio grows
with the coordinate, so thresholds are the best tests, and the best epsilon is a maximum over thresholds. The gap to
the accountant's epsilon, which grants every iterate, is of the access, not of the attack (Feng and Tramer 2024). A
bound that assumes the claimed family of mechanisms infers the noise, not the epsilon, and may lie above this ceiling.
"""

import numpy as np
from scipy.special import log_ndtr, logsumexp
from scipy.stats import binom

from undertow.types import Array, ConfigError

_POINTS = 20001


def final_iterate_epsilon(noise: float, rate: float, steps: int, delta: float, share: float = 1.0) -> float:
    """The largest epsilon that any test of the final model can show at `delta`; at rate 1, the mechanism's own.

    noise: deviation over the clipping norm. share: part of the clipping norm that lands on the coordinate.

    >>> round(final_iterate_epsilon(1.0, 0.05, 200, 1e-5), 3)
    3.408
    """
    log_tpr, log_fnr, log_fpr, log_tnr = final_iterate_rates(noise, rate, steps, share)
    found = 0.0
    for top, bottom in ((log_tpr, log_fpr), (log_tnr, log_fnr)):
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = top + np.log1p(-np.minimum(delta * np.exp(-top), 1.0)) - bottom
        found = max(found, float(np.nanmax(np.where(np.exp(top) > delta, gap, 0.0))))
    return found


def final_iterate_rates(noise: float, rate: float, steps: int, share: float = 1.0) -> tuple[Array, Array, Array, Array]:
    """Logarithms of TPR, FNR, FPR and TNR of every threshold of a grid, each (n,)."""
    if noise <= 0 or not 0 < rate <= 1 or steps < 1:
        raise ConfigError(f"noise = {noise}, rate = {rate}, steps = {steps}: noise > 0, 0 < rate <= 1, steps >= 1")
    deviation = noise * np.sqrt(steps)
    joins = np.arange(steps + 1)
    log_weights = binom.logpmf(joins, steps, rate)
    joins, log_weights = joins[log_weights > -80], log_weights[log_weights > -80]
    t = np.linspace(-9 * deviation, share * joins.max() + 9 * deviation, _POINTS)
    z = (t[:, None] - share * joins) / deviation
    return (
        np.asarray(logsumexp(log_ndtr(-z) + log_weights, axis=1)),
        np.asarray(logsumexp(log_ndtr(z) + log_weights, axis=1)),
        log_ndtr(-t / deviation),
        log_ndtr(t / deviation),
    )
