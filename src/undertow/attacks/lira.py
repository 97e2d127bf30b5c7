"""Likelihood ratio attacks on one number per model and point (Carlini et al. 2022, arXiv:2112.03570)."""

from typing import Literal

import numpy as np
from scipy.special import log_ndtr

from undertow.attacks.moments import Moments, moments, require
from undertow.types import Array, ConfigError, Signals

Variance = Literal["auto", "example", "pooled"]

PER_EXAMPLE = 24
"""Models on each side from which a point's own variance is used instead of the pooled one.

On eight kinds of trained models (`benchmarks/defaults.py`) the best threshold was 12, and 24 less than one standard
error behind it; so 24 stayed, near the 32 of each side that Carlini et al. 2022 have where they use a point's own. 64
models qualify held out (32 of each) and leave-one-out (31), so that the two designs are one attack. Kinds disagree:
wrong labels, whose variances differ much, want a point's own from 4 models, forests always the pooled one; `bavaria`
decides it from the signals.
"""


def lira(shadow: Signals, target: Array, variance: Variance = "auto") -> Array:
    """Log-likelihood ratio of IN against OUT, (T, Q) from `target` (T, Q); higher = member.

    Carlini et al. 2022, Algorithm 1 (online): a normal per point and side. Assumes values close to normal
    over models: scaled logits are, losses are not. `variance`: per "example", "pooled" over points per side,
    or "auto" = per example where every point has PER_EXAMPLE models on each side. BadInput below 2 on a side.
    """
    require(shadow.member)
    inside, outside = (moments(shadow.values, side) for side in (shadow.member, ~shadow.member))
    own = _per_example(variance, inside, outside)
    return _log_normal(target, inside, own) - _log_normal(target, outside, own)


def lira_offline(shadow: Signals, target: Array, variance: Variance = "auto") -> Array:
    """-log(1 - Phi(z)) with z the target's value standardised by the OUT models, (T, Q); higher = member.

    Carlini et al. 2022, offline: a one-sided test that uses no model trained on the point. In logs, the order
    of Phi(z) is kept where Phi(z) itself is 1. BadInput below 2 OUT models; IN models are not looked at.
    """
    require(shadow.member, inside=0)
    outside = moments(shadow.values, ~shadow.member)
    spread = outside.variance if _per_example(variance, outside) else outside.pooled
    result: Array = -log_ndtr(-(target - outside.mean) / np.sqrt(spread))
    return result


def _per_example(variance: Variance, *sides: Moments) -> bool:
    if variance == "auto":
        return all(int(side.count.min()) >= PER_EXAMPLE for side in sides)
    if variance not in ("example", "pooled"):
        raise ConfigError(f"variance = {variance!r}; it must be 'auto', 'example' or 'pooled'")
    return variance == "example"


def _log_normal(x: Array, side: Moments, own: bool) -> Array:
    """Log-density up to a constant, (T, Q)."""
    variance = side.variance if own else np.float64(side.pooled)
    result: Array = -(np.square(x - side.mean) / variance + np.log(variance)) / 2
    return result
