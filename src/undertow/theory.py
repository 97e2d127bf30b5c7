"""How much of the pretraining data a finetuned *mean* gives away: closed forms, and a simulator to check them.

The model: n pretraining records with mean mu_P and variance sigma^2 per coordinate, m finetuning records with mean
mu_Q and variance tau^2, all in d dimensions. What is released is

    theta = alpha * (pretraining mean) + (1 - alpha) * (finetuning mean) + nu * standard normal noise.

alpha is what finetuning leaves of the pretrained model (`alpha_of_descent`, `alpha_of_ridge`), nu the noise of a
private release. The adversary traces a record x by z = <x - mu_P, theta - E theta>; higher = member. The derivation is
in docs/papers.md; the lemmas of Abascal et al. 2024 could not be read, so this is ours and cites none of them.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from undertow.types import Array, ConfigError


@dataclass(frozen=True)
class Tracing:
    """Mean and variance of the tracing statistic z for members (IN) and fresh records (OUT); nearly normal."""

    shift: float  # mean of IN; that of OUT is 0
    variance_in: float
    variance_out: float

    def auc(self) -> float:
        """Area under the ROC curve, .5 to 1."""
        return float(ndtr(self.shift / math.sqrt(self.variance_in + self.variance_out)))

    def tpr(self, fpr: float) -> float:
        """True positive rate at a false positive rate (fractions)."""
        threshold = -ndtri(fpr) * math.sqrt(self.variance_out)
        return float(ndtr((self.shift - threshold) / math.sqrt(self.variance_in)))


@dataclass(frozen=True)
class Gaussian:
    """Normal records of equal variance in every coordinate."""

    dimension: int  # d
    pretraining: int  # n
    finetuning: int  # m
    alpha: float
    sigma: float = 1.0
    tau: float = 1.0
    nu: float = 0.0

    def __post_init__(self) -> None:
        _check(self.pretraining, self.finetuning, self.alpha, self.nu)
        if self.dimension < 1:
            raise ConfigError(f"dimension = {self.dimension}; at least 1 is needed")

    @property
    def noise(self) -> float:
        """s^2: variance of one coordinate of theta."""
        own = self.alpha**2 * self.sigma**2 / self.pretraining
        return own + (1 - self.alpha) ** 2 * self.tau**2 / self.finetuning + self.nu**2

    def tracing(self) -> Tracing:
        d, n, a = self.dimension, self.pretraining, self.alpha
        scale = d * self.sigma**2
        return Tracing(a * scale / n, scale * (self.noise + a**2 * self.sigma**2 / n**2), scale * self.noise)

    def auc_of(self, distance: float) -> float:
        """AUC of one fixed record at `distance` |x - mu_P| over models that saw it or not: outliers leak more."""
        # Where the record is one of the n, only n - 1 of them vary.
        inside = self.noise - self.alpha**2 * self.sigma**2 / self.pretraining**2
        return float(ndtr(self.alpha * distance / (self.pretraining * math.sqrt(self.noise + inside))))

    def simulate(self, trials: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """z of a member and of a fresh record in `trials` independent games, each (trials,)."""
        d, n = self.dimension, self.pretraining
        member, fresh, rest, other, release = rng.standard_normal((5, trials, d))
        # Sums of normals are normal: the mean of the n - 1 other records is drawn at once, exactly.
        mean = (member + math.sqrt(n - 1) * rest) * (self.sigma / n)
        theta = self.alpha * mean + (1 - self.alpha) * self.tau / math.sqrt(self.finetuning) * other
        theta += self.nu * release
        return (self.sigma * member * theta).sum(1), (self.sigma * fresh * theta).sum(1)


@dataclass(frozen=True, eq=False)
class Signs:
    """Records of +-1 with means p (pretraining) and q (finetuning) per coordinate."""

    p: Array  # (d,) in (-1, 1)
    q: Array  # (d,)
    pretraining: int  # n
    finetuning: int  # m
    alpha: float
    nu: float = 0.0

    def __post_init__(self) -> None:
        _check(self.pretraining, self.finetuning, self.alpha, self.nu)
        if self.p.shape != self.q.shape or self.p.ndim != 1 or (np.abs(np.stack([self.p, self.q])) >= 1).any():
            raise ConfigError("p and q must be vectors of one length with values strictly between -1 and 1")

    def tracing(self) -> Tracing:
        n, m, a = self.pretraining, self.finetuning, self.alpha
        v, w = 1 - self.p**2, 1 - self.q**2
        other = (1 - a) ** 2 * w / m + self.nu**2
        fourth = v * (1 + 3 * self.p**2)  # E (x - p)^4
        variance_in = a**2 / n**2 * (fourth - v**2) + v * (a**2 * v * (n - 1) / n**2 + other)
        variance_out = v * (a**2 * v / n + other)
        return Tracing(float(a / n * v.sum()), float(variance_in.sum()), float(variance_out.sum()))

    def simulate(self, trials: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """z of a member and of a fresh record in `trials` independent games, each (trials,)."""
        n, m, a = self.pretraining, self.finetuning, self.alpha
        shape = (trials, len(self.p))
        member, fresh = (np.where(rng.random(shape) < (1 + self.p) / 2, 1.0, -1.0) for _ in range(2))
        rest = 2.0 * rng.binomial(n - 1, (1 + self.p) / 2, shape) - (n - 1)
        other = (2.0 * rng.binomial(m, (1 + self.q) / 2, shape) - m) / m
        theta = a * ((member + rest) / n - self.p) + (1 - a) * (other - self.q)
        theta += self.nu * rng.standard_normal(shape)
        return ((member - self.p) * theta).sum(1), ((fresh - self.p) * theta).sum(1)


def alpha_of_descent(step: float, steps: int) -> float:
    """What `steps` gradient steps of size `step` on half the squared distance to the finetuning mean leave.

    >>> alpha_of_descent(0.5, 2)
    0.25
    """
    return (1 - step) ** steps


def alpha_of_ridge(strength: float) -> float:
    """What the minimum of the squared distances to the finetuning mean and, times `strength`, to the start leaves."""
    return strength / (1 + strength)


def noise_of_private_descent(step: float, steps: int, noise: float) -> float:
    """nu after gradient descent whose every mean gradient carried normal noise of deviation `noise`."""
    left = (1 - step) ** 2
    return noise * step * math.sqrt((1 - left**steps) / (1 - left))


def _check(pretraining: int, finetuning: int, alpha: float, nu: float) -> None:
    if pretraining < 1 or finetuning < 1:
        raise ConfigError(f"pretraining = {pretraining}, finetuning = {finetuning}; at least 1 record each")
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha = {alpha}; it is a share, 0 to 1")
    if nu < 0:
        raise ConfigError(f"nu = {nu}; a deviation is not negative")
