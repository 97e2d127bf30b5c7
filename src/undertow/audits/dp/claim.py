"""What a private trainer declares; `response` derives what that means for how far its parameters may move."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from undertow.metrics.epsilon import subsampled_gaussian_epsilon
from undertow.types import Array, ConfigError

Sampling = Literal["poisson", "shuffle", "full"]
Update = Callable[[Array], Array]  # (T, P) noisy mean gradients -> (P,) distance moved down them
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")


@dataclass(frozen=True)
class DpClaim:
    """What the trainer says it does. Gradients of `batch` records on average, clipped to `clip`, are summed; normal
    noise of deviation `noise_multiplier * clip` is added; the sum is divided by `divisor` and given to the optimiser.
    """

    noise_multiplier: float
    clip: float
    batch: float  # records of a step; Poisson sampling: the expected number
    records: int  # in the data of every training
    steps: int
    lr: float | Sequence[float]  # constant, or one per step (0 is allowed: warm-up)
    sampling: Sampling = "poisson"
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] | Update = "sgd"
    momentum: float = 0.0  # SGD, as in torch
    betas: tuple[float, float] = (0.9, 0.999)  # Adam
    epsilon: float | None = None  # claimed for one record added or removed
    delta: float = 1e-5
    divisor: float | None = None  # what the noisy sum is divided by; None: `batch`; 1 with loss_reduction="sum"
    sample_rate: float | None = None  # share of the steps a record takes part in; None: batch / records
    drop_last: bool = False  # shuffle: the small last batch of an epoch is left out
    nesterov: bool = False
    dampening: float = 0.0
    alpha: float = 0.99  # RMSprop
    weight_decay: float = 0.0  # SGD as in torch; "adamw": decoupled
    average: bool = False  # what is returned is the mean of the iterates after each step
    clip_after: float | None = None  # norm to which the noisy mean gradient is clipped once more (a Trainer default)
    correlation: Sequence[Sequence[float]] | None = None  # (T, T): step t's noise is its row times independent draws

    def __post_init__(self) -> None:
        positive = (self.noise_multiplier, self.clip, self.batch, self.steps)
        if not all(0 < value < math.inf for value in positive) or not 0 < self.delta < 1:
            raise ConfigError(
                "a DP claim needs noise_multiplier, clip, batch and steps above 0 and finite, delta in (0, 1)"
            )
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ConfigError(f"epsilon = {self.epsilon}; a claim is a positive, finite number, or None: none is made")
        if not 0 < self.batch <= self.records:
            raise ConfigError(f"batch = {self.batch} of records = {self.records}; a batch is at most all records")
        if self.sampling == "full" and self.batch != self.records:
            raise ConfigError("sampling = 'full' uses every record in every step: set batch = records")
        known = len(self.rates) == self.steps and all(0 <= rate < math.inf for rate in self.rates)
        if not known or max(self.rates) <= 0:
            raise ConfigError(f"lr must be 0 or more, not 0 throughout: one number, or {self.steps} of them")
        if not 0 <= self.momentum < 1 or not all(0 <= b < 1 for b in (*self.betas, self.alpha)):
            raise ConfigError("momentum, betas and alpha are at least 0 and below 1")
        if not callable(self.optimizer) and self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer = {self.optimizer!r}: one of {', '.join(OPTIMIZERS)}, or a function")
        self._check_rest()

    def _check_rest(self) -> None:
        for name in ("divisor", "clip_after", "sample_rate"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf and (name != "sample_rate" or value <= 1)):
                raise ConfigError(f"{name} = {value}: it must be above 0" + ", at most 1" * (name == "sample_rate"))
        if not 0 <= self.weight_decay < math.inf or (self.weight_decay and self.optimizer not in ("sgd", "adamw")):
            raise ConfigError(
                "weight_decay is 0 or more, with optimizer 'sgd' or 'adamw' (decoupled): torch's Adam and RMSprop mix "
                "their decay into the gradient's square; turn it off for this check"
            )
        if self.correlation is not None:
            c = np.asarray(self.correlation, float)
            if c.shape != (self.steps, self.steps) or not np.isfinite(c).all() or np.linalg.matrix_rank(c) < len(c):
                raise ConfigError(f"correlation must be an invertible ({self.steps}, {self.steps}) matrix")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each step."""
        if isinstance(self.lr, int | float):
            return (float(self.lr),) * self.steps
        return tuple(float(v) for v in self.lr)

    @property
    def rate(self) -> float:
        """The share of the steps in which one record takes part."""
        if self.sample_rate is not None:
            return self.sample_rate
        if self.sampling == "shuffle" and not self.drop_last:
            return 1 / math.ceil(self.records / self.batch)
        return self.batch / self.records

    @property
    def unit(self) -> float:
        """How long one clipped record is in the mean gradient."""
        return self.clip / (self.divisor or self.batch)

    def proved_epsilon(self) -> float:
        """The epsilon that the declared mechanism has at `delta`, by privacy loss distributions of dp-accounting.

        Shuffled batches are counted as one full-batch step per epoch: amplification is proved for Poisson only.
        Raises MissingExtra without dp-accounting, ConfigError for correlated noise.
        """
        if self.correlation is not None:
            raise ConfigError("correlated noise has an accountant of its own; this one composes independent steps")
        rate, steps = self.rate, self.steps
        if self.sampling == "shuffle":
            rate, steps = 1.0, math.ceil(round(self.steps * self.rate, 9))
        return subsampled_gaussian_epsilon(self.noise_multiplier, rate, steps, self.delta)
