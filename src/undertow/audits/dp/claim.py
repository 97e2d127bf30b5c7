"""What a private trainer declares, and what that means for how far its parameters may move."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from undertow.metrics.epsilon import subsampled_gaussian_epsilon
from undertow.rng import stream
from undertow.types import ConfigError

Sampling = Literal["poisson", "shuffle", "full"]
PATHS = 20_000  # simulated coordinates of Adam


@dataclass(frozen=True)
class DpClaim:
    """What the trainer says it does. Gradients of `batch` records on average, clipped to `clip`, are summed; normal
    noise of deviation `noise_multiplier * clip` is added; the sum is divided by `batch` and given to the optimiser.
    """

    noise_multiplier: float
    clip: float
    batch: float  # what the noisy sum is divided by; Poisson sampling: the expected batch
    records: int  # in the data of every training
    steps: int
    lr: float | Sequence[float]  # constant, or one per step
    sampling: Sampling = "poisson"
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0  # SGD, as in torch (no dampening)
    betas: tuple[float, float] = (0.9, 0.999)  # Adam
    epsilon: float | None = None  # claimed for one record added or removed
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.noise_multiplier, self.clip, self.batch) <= 0 or self.steps < 1 or not 0 < self.delta < 1:
            raise ConfigError("a DP claim needs noise_multiplier, clip, batch and steps above 0, delta in (0, 1)")
        if not 0 < self.batch <= self.records:
            raise ConfigError(f"batch = {self.batch} of records = {self.records}; a batch is at most all records")
        if self.sampling == "full" and self.batch != self.records:
            raise ConfigError("sampling = 'full' uses every record in every step: set batch = records")
        if len(self.rates) != self.steps or min(self.rates) <= 0:
            raise ConfigError(f"lr must be positive: one number, or {self.steps} of them")
        if not 0 <= self.momentum < 1 or not all(0 <= b < 1 for b in self.betas):
            raise ConfigError("momentum and betas are at least 0 and below 1")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each step."""
        if isinstance(self.lr, int | float):
            return (float(self.lr),) * self.steps
        return tuple(float(v) for v in self.lr)

    @property
    def rate(self) -> float:
        """The share of the steps in which one record takes part."""
        if self.sampling == "shuffle":
            return 1 / math.ceil(self.records / self.batch)
        return self.batch / self.records

    def weights(self) -> np.ndarray:
        """(T,) how far a unit of the averaged gradient of each step has moved a parameter in the end (SGD)."""
        decay = self.momentum ** np.arange(self.steps)
        lr = np.array(self.rates)
        return np.array([float(lr[t:] @ decay[: self.steps - t]) for t in range(self.steps)])

    def proved_epsilon(self) -> float:
        """The epsilon that the declared mechanism has at `delta`, by privacy loss distributions of dp-accounting.

        Shuffled batches are counted as one full-batch step per epoch: amplification is proved for Poisson only.
        Raises MissingExtra without dp-accounting.
        """
        rate, steps = self.rate, self.steps
        if self.sampling == "shuffle":
            rate, steps = 1.0, math.ceil(self.steps * self.rate)
        return subsampled_gaussian_epsilon(self.noise_multiplier, rate, steps, self.delta)


@dataclass(frozen=True)
class Response:
    """How parameters answer to gradient and noise under a claim."""

    noise: float  # deviation of one coordinate's movement where no record has a gradient
    reach: float  # largest mean movement (norm) by one record
    reused: float  # variance, over the declared, if one noise draw served every step
    counts: float | None  # variance of a movement by coins per record, over (that record's mean movement)^2; None: Adam


def response(claim: DpClaim) -> Response:
    """The answer that `claim` implies: exact for SGD, simulated for Adam.

    Adam divides by the root mean square of what it sees, so its noise does not depend on sigma and a record's movement
    is lr/sigma times a slope. The mean movement is concave in the signal, so the slope at 0 bounds it. The slope is
    E[movement * sum of the noise] (Stein).
    """
    w = claim.weights()
    unit = claim.clip / claim.batch
    if claim.optimizer == "sgd":
        total, squares = float(w.sum()), float(w @ w)
        spread = (1 - claim.rate) * squares / (claim.rate * total**2) if claim.sampling == "poisson" else 0.0
        noise = claim.noise_multiplier * unit * math.sqrt(squares)
        return Response(noise, claim.rate * unit * total, total**2 / squares, spread)
    z = stream(0, "adam").standard_normal((claim.steps, PATHS))
    moved = _adam(claim, z)
    same = _adam(claim, np.broadcast_to(z[0], z.shape))
    slope = float((moved * z.sum(0)).mean())
    scale = float(np.square(moved).mean())
    return Response(
        math.sqrt(scale), slope * claim.rate / claim.noise_multiplier, float((same**2).mean()) / scale, None
    )


def _adam(claim: DpClaim, gradients: np.ndarray) -> np.ndarray:
    """(T, P) gradients -> (P,) distance moved down them, by Adam with a negligible eps."""
    one, two = claim.betas
    first, second, moved = (np.zeros(gradients.shape[1]) for _ in range(3))
    for t, g in enumerate(gradients):
        first = one * first + (1 - one) * g
        second = two * second + (1 - two) * g**2
        moved += claim.rates[t] * (first / (1 - one ** (t + 1))) / np.sqrt(second / (1 - two ** (t + 1)))
    return moved
