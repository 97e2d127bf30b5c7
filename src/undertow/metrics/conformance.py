"""Tests of a noisy trainer's movements against what it declares; each is a p-value under "it is as declared".

z below are movements of parameters in trainings whose records have no gradient: independent, normal, of one variance.
Shares of squares need no variance: of K independent normals of one variance, the share of the squares that lies in a
subspace of k dimensions is Beta(k/2, (K - k)/2).
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from undertow.types import Array


def too_small(squares: float, count: int, least: float = 1.0) -> float:
    """P(sum of `count` squares of standard normals, times `least`, is at most `squares`).

    The null is "the variance is at least `least`".

    >>> round(too_small(50.0, 100), 6), round(too_small(100.0, 100), 1)
    (7e-06, 0.5)
    """
    return float(stats.chi2.cdf(squares / least, count))


def too_large(squares: float, count: int, most: float = 1.0) -> float:
    """P(sum of `count` squares of standard normals, times `most`, is at least `squares`)."""
    return float(stats.chi2.sf(squares / most, count))


def share_p(share: float, part: float, whole: float) -> float:
    """P(the share of the squares in `part` of `whole` dimensions is at least `share`); both sides, doubled."""
    null = stats.beta(part / 2, (whole - part) / 2)
    return float(min(1.0, 2 * min(null.sf(share), null.cdf(share))))


def cosine(a: Array, b: Array) -> float:
    """Cosine similarity of two arrays of equal size, read as vectors; 0 where one of them is 0."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a.ravel() @ b.ravel()) / lengths if lengths else 0.0


def cosine_p(value: float, size: int) -> float:
    """Two-sided p-value of the cosine between two independent isotropic vectors of `size` >= 2 numbers.

    >>> cosine_p(1.0, 100), round(cosine_p(0.2, 100), 3)
    (0.0, 0.045)
    """
    return float(stats.beta.sf(min(1.0, value**2), 0.5, (size - 1) / 2))


def mean_above(values: Array, bound: float) -> float:
    """One-sided t test of (n,) independent values: the p-value of "their mean is at most `bound`".

    Values that do not vary decide by themselves: 0 above the bound, else 1.
    """
    values = np.asarray(values, float)
    spread = float(values.std(ddof=1)) / np.sqrt(len(values))
    if spread <= 1e-9 * max(abs(bound), 1e-300):
        return 0.0 if values.mean() > bound * (1 + 1e-6) else 1.0
    return float(stats.t.sf((values.mean() - bound) / spread, len(values) - 1))


def sum_below(samples: Sequence[Array]) -> float:
    """P-value of "the means of these independent samples add up to at least 0": a t test with the fewest degrees."""
    total = sum(float(v.mean()) for v in samples)
    spread = np.sqrt(sum(float(v.var(ddof=1)) / len(v) for v in samples))
    return float(stats.t.cdf(total / max(spread, 1e-300), min(len(v) for v in samples) - 1))


def least_count(ratio: float, level: float, tolerance: float, most: int = 128) -> int | None:
    """The fewest values that tell, at `level`, a variance smaller by `ratio` in 95 % of cases; None: over `most`.

    The null is "at least `tolerance` times the declared variance".

    >>> least_count(25.0, 1e-4, 0.6), least_count(1.5, 1e-4, 0.6)
    (14, None)
    """
    for n in range(6, most + 1, 2):
        critical = tolerance * ratio * stats.chi2.ppf(level, n - 2)
        if stats.chi2.ppf(0.95, n - 2) <= critical:
            return n
    return None


def least_count_high(ratio: float, level: float, tolerance: float, most: int = 220) -> int | None:
    """The fewest values that tell, at `level`, a variance larger by `ratio` in 95 % of cases; None: over `most`.

    The null is "at most `tolerance` times the declared variance".

    >>> least_count_high(2.2, 1e-4, 1.1), least_count_high(1.2, 1e-4, 1.1)
    (112, None)
    """
    for n in range(8, most + 1, 2):
        if stats.chi2.ppf(0.05, n - 1) * ratio >= tolerance * stats.chi2.isf(level, n - 1):
            return n
    return None


def least_low(count: float, level: float, tolerance: float) -> float:
    """The largest share of the declared variance that `too_small` at `level` finds in 95 % of cases."""
    return float(tolerance * stats.chi2.ppf(level, count) / stats.chi2.ppf(0.95, count))


def least_high(count: float, level: float, tolerance: float) -> float:
    """The smallest multiple of the declared variance that `too_large` at `level` finds in 95 % of cases."""
    return float(tolerance * stats.chi2.isf(level, count) / stats.chi2.ppf(0.05, count))


def least_shift(values: Array, level: float) -> float:
    """How far the mean of (n,) values must lie above a bound for `mean_above` at `level` to find it, 19 times in 20."""
    n = len(values)
    error = float(np.std(values, ddof=1)) / np.sqrt(n)
    return float(error * (stats.t.isf(level, n - 1) + stats.t.isf(0.05, n - 1)))


def least_sum(samples: Sequence[Array], level: float) -> float:
    """How far below 0 the sum of means must lie for `sum_below` at `level` to find it, 19 times in 20."""
    spread = float(np.sqrt(sum(float(v.var(ddof=1)) / len(v) for v in samples)))
    degrees = min(len(v) for v in samples) - 1
    return spread * float(stats.t.isf(level, degrees) + stats.t.isf(0.05, degrees))


def least_distance(a: Array, b: Array, level: float) -> float:
    """The distance of two means that `same_distribution` at `level` finds in about 95 % of cases (normal noise).

    The squared distance of two means has variance 2 tr(S^2) without a difference, S the covariance of their
    difference; its trace and square trace are estimated from the centred rows.
    """
    n, m = len(a), len(b)
    rows = np.concatenate([a - a.mean(0), b - b.mean(0)])
    gram = rows @ rows.T / (n + m - 2)
    share = 1 / n + 1 / m
    trace = float(np.trace(gram))
    square = max(float(np.square(gram).sum()) - trace**2 / (n + m - 2), trace**2 / rows.shape[1])
    sigma = share * float(np.sqrt(2 * square))
    return float(np.sqrt(sigma * (stats.norm.isf(level) + stats.norm.isf(0.05))))


def same_distribution(a: Array, b: Array, rng: np.random.Generator, draws: int = 100_000) -> float:
    """Permutation test of two sets of movements, (n, D) and (m, D): squared distance of their means.

    Exact for any distribution where all n + m are exchangeable; the least p-value is 1 / (draws + 1).
    """
    both = np.concatenate([a, b])
    gram = both @ both.T
    n, m = len(a), len(b)
    first = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    observed = float(first @ gram @ first)
    larger = 0
    for start in range(0, draws, 10_000):
        signs = rng.permuted(np.tile(first, (min(10_000, draws - start), 1)), axis=1)
        larger += int((np.einsum("ij,ij->i", signs @ gram, signs) >= observed * (1 - 1e-9)).sum())
    return (larger + 1) / (draws + 1)


def same_signs(values: Array, rng: np.random.Generator, draws: int = 20_000) -> float:
    """Sign-flip test of movements (n, D) that are symmetric around 0: squared length of their sum.

    Exact whatever the dependence within a row; the least p-value is 1 / (draws + 1).
    """
    gram = values @ values.T
    observed = float(gram.sum())
    signs = rng.choice([-1.0, 1.0], (draws, len(values)))
    larger = int((np.einsum("ij,ij->i", signs @ gram, signs) >= observed * (1 - 1e-9)).sum())
    return (larger + 1) / (draws + 1)


def folds(values: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(learn from, test on) twice: the rows of (n, D) in two halves that change places."""
    half = len(values) // 2
    first, second = values[:half], values[half:]
    return (first, second), (second, first)


def along_own_mean(values: Array) -> list[Array]:
    """Projections of each half of (n, D) on the direction of the other half's mean: two arrays.

    Whatever direction the other half gives, the mean projection is at most the norm of the mean.
    """
    return [test @ unit(learn.mean(0)) for learn, test in folds(values)]


def unit(vector: Array) -> Array:
    """`vector` at length 1; a vector of zeros as it is."""
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
