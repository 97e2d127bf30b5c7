"""A bound from the scores of canaries that share runs, whose noise is Gaussian with any covariance.

Scores are s = baseline of the run + theta * coin + noise, theta the same for every canary, noise ~ N(0, S) with any
fixed S: canaries need not be independent of each other. Given everything else, a score tells its coin as well as
mu_i = theta sqrt((S^-1)_ii), so a mechanism that is mu-GDP in every coin has theta^2 mean_i (S^-1)_ii <= mu^2. Two
exact tests share the error (derived in docs/papers.md, after the abstract of "Let's Ask Gauss", arXiv:2606.12733):

- theta: coins are dealt again; where theta is right, s - theta * coin knows nothing of the coins, whatever S is.
- noise: of given harmonic mean H of its eigenvalues, |noise|^2 is at least H times a chi-square (Okamoto 1960).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import chdtr, ndtr, ndtri

from undertow.metrics.epsilon.bound import Bound, Trials, check
from undertow.metrics.epsilon.trade_off import gdp_epsilon
from undertow.rng import stream
from undertow.types import Array, BadInput

HOW = "none: the scores themselves are tested"
_DEALS = 4000  # of the coins, at 95 % confidence
_MOST = 40_000
_CELLS = 1 << 19  # coins dealt at once
_HIGHEST = 64.0  # mu beyond which nobody asks
_FEWEST = 8  # degrees of freedom


@dataclass(frozen=True, eq=False)
class _Fit:
    """Candidates of theta at which the test of the coins changes, and what is left of the scores there."""

    theta: Array  # (n,) growing, positive
    z: Array  # (n - 1,) how surely each interval between them is too small for theta
    noise: Array  # (n,) squared norm of what is left, over theta^2
    degrees: int
    canaries: int


def gaussian_pairs(trials: Trials, delta: float, confidence: float = 0.95, *, seed: int = 0) -> Bound:
    """Bound of a mechanism whose scores are a common effect and Gaussian noise of any covariance; see the module.

    Higher = member. The coins of each run must be fair, or deal a fixed number of members evenly. BadInput where too
    few canaries share a run, or a score is infinite.
    """
    check(confidence, delta, positive=True)
    fit = _fit(trials, 1 - confidence, seed)
    mu = 0.0 if fit is None else _largest_mu(fit, 1 - confidence)
    epsilon = float(gdp_epsilon(mu, delta)) if mu > 0 else 0.0
    return Bound(
        "gaussian-pairs", epsilon, confidence, "gaussian-scores", "canaries", trials.scores.size, delta, HOW
    )  # fmt: skip


def _fit(trials: Trials, error: float, seed: int) -> _Fit | None:
    """None where theta may be 0."""
    run = np.zeros(trials.scores.size, int) if trials.run is None else np.unique(trials.run, return_inverse=True)[1]
    runs = int(run.max()) + 1
    degrees = trials.scores.size - runs
    if degrees < _FEWEST:
        raise BadInput(
            f"{trials.scores.size} canaries of {runs} run{'s' * (runs != 1)}: this bound needs at least {_FEWEST} more "
            "canaries than runs"
        )
    if not np.isfinite(trials.scores).all():
        count = int((~np.isfinite(trials.scores)).sum())
        raise BadInput(f"{count} scores are infinite, which no Gaussian is: use one-run, which only ranks them")
    s, coins = _centred(trials.scores, run), _centred(trials.member.astype(float), run)
    if not coins.any() or not s.any():
        return None
    scale = float(np.linalg.norm(s))
    s = s / scale
    first, second = _deals(s, coins, trials.member, run, error, seed)
    mine, norm = float(s @ coins), float(coins @ coins)
    moved = norm - second > 1e-9 * norm
    knots = np.where(moved, (mine - first) / np.where(moved, norm - second, 1.0), -np.inf)  # dealt coins do as well
    return _between(np.sort(knots), s, degrees, error, mine, norm)


def _between(knots: Array, s: Array, degrees: int, error: float, mine: float, norm: float) -> _Fit | None:
    """The candidates that the test of the coins does not settle by itself: none where theta = 0 is one."""
    n = knots.size
    p = (1 + np.arange(n + 1)) / (n + 1)  # of "theta is at most this", left of, between, right of the knots
    least, most = error / 8, error / 20
    low = int(np.searchsorted(p, least, side="right"))  # intervals left of knot `low - 1` are rejected
    spare = math.floor(most * (n + 1))
    high = n + 1 - spare  # intervals right of knot `high - 1` are rejected
    if low < 1 or spare < 1 or knots[low - 1] <= 0:
        return None
    theta = knots[low - 1 : high]
    left = float(s @ s) / theta**2 - 2 * mine / theta + norm
    return _Fit(theta, -ndtri(p[low : low + theta.size - 1]), left, degrees, s.size)


def _largest_mu(fit: _Fit, error: float) -> float:
    """The largest mu that is refused; 0 where none is."""
    if fit.theta.size < 2:
        return 0.0
    low, high = 0.0, 1.0
    while high < _HIGHEST and _refused(fit, high, error):
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _refused(fit, middle, error) else (low, middle)
    return low


def _refused(fit: _Fit, mu: float, error: float) -> bool:
    """Whether no theta that the coins allow goes with so little privacy loss and so little noise."""
    least, most = error / 8, error / 20
    ratio = mu**2 * fit.canaries / fit.degrees  # theta^2 over the harmonic mean of the noise is at most this
    z = -ndtri(np.clip(chdtr(fit.degrees, fit.noise * ratio), 1e-300, 1 - 1e-16))
    z = np.minimum(z[:-1], z[1:])  # |noise|^2 / theta^2 falls, then grows: an end of the interval is worst
    share = min(0.99, round(2 / math.hypot(2, mu / math.sqrt(2)), 2))  # the two errors of an estimate of mu
    limit = _limit(share, least, error - most)
    return bool(((z >= -ndtri(least)) | (share * fit.z + math.sqrt(1 - share**2) * z >= limit)).all())


@lru_cache(maxsize=1024)
def _limit(share: float, least: float, error: float) -> float:
    """k with P(x > -ndtri(least), or y is, or share x + sqrt(1 - share^2) y > k) = error, x and y normal."""
    edge, other = -float(ndtri(least)), math.sqrt(1 - share**2)
    x = ndtri((np.arange(2000) + 0.5) / 2000 * (1 - least))
    low, high = -float(ndtri(error)), 12.0
    for _ in range(40):
        k = (low + high) / 2
        kept = float(np.mean(ndtr(np.minimum(edge, (k - share * x) / other)))) * (1 - least)
        low, high = (k, high) if 1 - kept > error else (low, k)
    return high


def _centred(values: Array, run: Array) -> Array:
    """(n,) less the mean of each run."""
    return np.asarray(values - (np.bincount(run, values) / np.bincount(run))[run])


def _deals(s: Array, coins: Array, member: Array, run: Array, error: float, seed: int) -> tuple[Array, Array]:
    """Sums of centred scores, and of centred coins, over the members when coins are dealt again within each run."""
    deals = min(_MOST, max(_DEALS, math.ceil(_DEALS * 0.05 / error)))
    rng, order = stream(seed, "epsilon", "deals"), np.argsort(run, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(run[order])) + 1)
    both = np.stack([s, coins], 1)
    found = np.zeros((deals, 2))
    for rows in groups:
        each = max(1, _CELLS // rows.size)
        for start in range(0, deals, each):
            size = min(each, deals - start)
            dealt = rng.permuted(np.tile(member[rows].astype(float), (size, 1)), axis=1)
            found[start : start + size] += dealt @ both[rows]
    return found[:, 0], found[:, 1]
