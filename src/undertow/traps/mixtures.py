"""Does a reading look like one record, or like several mixed? Off a grid of values a mixture is in range like a record.

Mixing averages: a mixture of records that fire the same trap scores as high as they do, but is smaller in all other
directions, and less sparse. Bands of principal components show both. The test compares two Gaussians of these numbers,
fitted on auxiliary records that fire the trap and on mixtures made of them; it needs no record of the victim.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from undertow.types import Array

PASSED = 0.02  # of mixtures, the share that the test lets pass
DRAWN = 2000  # records and mixtures that it is fitted on
LOOSER = 3.0  # times the share that fires a trap: which auxiliary records are drawn from
WEIGHTS = (0.2, 0.8)  # of the first record in a mixture
MOST = 256  # principal components
FITTED = 8192  # records that these are fitted on, at most


@dataclass(frozen=True, eq=False)
class SingleTest:
    """Single records against mixtures of two; made by `single_test`."""

    mean: Array  # (d,) of records
    axes: Array  # (d, r) principal axes, divided by the standard deviation along them
    edges: Array  # (B + 1,) int, bands of the axes
    centres: Array  # (2, F) of the features of records, and of mixtures
    inverses: Array  # (2, F, F) of their covariances
    limit: float  # half the difference of Mahalanobis distances from which a reading passes

    def __call__(self, x: Array) -> Array:
        """(N,) bool: which of the readings (N, d) look like one record; NaN does not."""
        known: Array = np.isfinite(x.sum(1))
        passed: Array = known & (self._score(np.where(known[:, None], x, 0.0)) > self.limit)
        return passed

    def _score(self, x: Array) -> Array:
        away = _features((x - self.mean) @ self.axes, self.edges)[None] - self.centres[:, None]
        distance = np.einsum("cnf,cfg,cng->cn", away, self.inverses, away)
        score: Array = (distance[1] - distance[0]) / 2
        return score


def single_test(x: Array, scores: Array, share: float, rng: np.random.Generator, passed: float = PASSED) -> SingleTest:
    """Fitted on auxiliary records x (N, d), whose scores (N, K) by K traps say which fire together.

    `share`: of records, that fire a trap; `passed`: of mixtures, that the test lets pass.
    """
    mean, (axes, edges) = x.mean(0), _axes(x)
    one, mixed = _drawn(x, scores, min(0.5, LOOSER * share), rng)
    features = [_features((part - mean) @ axes, edges) for part in (one, mixed)]
    centres = np.stack([part.mean(0) for part in features])
    inverses = np.stack([np.linalg.inv(np.cov(part.T) + 1e-4 * np.eye(part.shape[1])) for part in features])
    test = SingleTest(mean, axes, edges, centres, inverses, 0.0)
    limit = float(np.quantile(test._score(mixed), 1 - passed))
    return replace(test, limit=limit)


def _axes(x: Array) -> tuple[Array, Array]:
    """(d, r) scaled axes, and the edges of bands that double in width."""
    value, vector = np.linalg.eigh(np.cov(x[:FITTED].T))
    order = np.argsort(-value)
    count = int(min(MOST, (value > 1e-6 * value.max()).sum()))
    edges = [0, *(e for e in (4, 8, 16, 32, 64, 128) if e < count), count]
    axes: Array = vector[:, order[:count]] / np.sqrt(value[order[:count]])
    return axes, np.array(edges)


def _features(white: Array, edges: Array) -> Array:
    """(N, 2 B): the logarithm of each band's mean square, and of how evenly it is spread over the band."""
    bands = [white[:, a:b] for a, b in pairwise(edges)]
    square = np.stack([(band**2).mean(1) + 1e-12 for band in bands], 1)
    size = np.stack([np.abs(band).mean(1) + 1e-12 for band in bands], 1)
    features: Array = np.concatenate([np.log(square), np.log(size) - np.log(square) / 2], 1)
    return features


def _drawn(x: Array, scores: Array, share: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Records that fire a trap, and mixtures of two that fire the same one."""
    size = max(2, int(np.ceil(share * len(x))))
    firing = np.argsort(-scores, axis=0, kind="stable")[:size]
    traps = rng.integers(scores.shape[1], size=DRAWN)
    first = rng.integers(size, size=DRAWN)
    second = (first + rng.integers(1, size, size=DRAWN)) % size
    weight = rng.uniform(*WEIGHTS, size=(DRAWN, 1))
    one, other = x[firing[first, traps]], x[firing[second, traps]]
    return one, weight * one + (1 - weight) * other
