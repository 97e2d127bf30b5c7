"""Clopper and Pearson's interval of a proportion (Biometrika 1934): exact, never too short."""

from typing import Any

import numpy as np
from scipy.special import betainccinv

from undertow.types import Array

TAIL = 0.025  # on either side of a two-sided 95 % interval


def above(hits: Array | float, trials: Array | float, error: float) -> Array:
    """Upper confidence bound of a proportion; wrong with probability at most `error`. Clopper and Pearson 1934."""
    hits, trials = np.asarray(hits), np.asarray(trials)
    full = hits >= trials
    return np.where(full, 1.0, betainccinv(hits + 1, np.where(full, 1, trials - hits), error))


def below(hits: Array | float, trials: Array | float, error: float) -> Array:
    """Lower confidence bound of a proportion; wrong with probability at most `error`."""
    return 1 - above(np.asarray(trials) - np.asarray(hits), trials, error)


def proportion(hits: int, n: int) -> dict[str, Any]:
    """value, low and high (95 %) of a share: `hits` of `n` independent trials."""
    return {"value": hits / n, "low": float(below(hits, n, TAIL)), "high": float(above(hits, n, TAIL))}
