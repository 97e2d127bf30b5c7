"""What a private trainer declares; `response` derives what that means for how far its parameters may move."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np

from undertow.metrics.epsilon import check_number, check_whole, subsampled_gaussian_epsilon
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
        self._check_numbers()
        if not 0 < self.batch <= self.records:
            raise ConfigError(f"batch = {self.batch} of records = {self.records}; a batch is at most all records")
        if self.sampling == "full" and self.batch != self.records:
            raise ConfigError("sampling = 'full' uses every record in every step: set batch = records")
        rates = self.rates
        if len(rates) != self.steps or not all(0 <= r < math.inf for r in rates) or max(rates) <= 0:
            raise ConfigError(f"lr must be 0 or more and finite, not 0 throughout: one number, or {self.steps} of them")
        if not callable(self.optimizer) and self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer = {self.optimizer!r}: one of {', '.join(OPTIMIZERS)}, or a function")
        self._check_rest()

    def _check_numbers(self) -> None:
        """NaN, infinities and texts are refused with the name of the field."""
        for name in ("noise_multiplier", "clip", "batch"):
            check_number(f"DpClaim: {name}", getattr(self, name), 0, math.inf)
        for name in ("records", "steps"):
            check_whole(f"DpClaim: {name}", getattr(self, name))
        check_number("DpClaim: delta", self.delta, 0, 1, "()", "1e-5")
        if self.epsilon is not None:
            check_number("DpClaim: epsilon", self.epsilon, 0, math.inf, "()", "8")
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise ConfigError(f"DpClaim: betas = {self.betas!r}: they are two numbers, such as (0.9, 0.999)")
        for name, value in (("momentum", self.momentum), ("alpha", self.alpha), *(("betas", b) for b in self.betas)):
            check_number(f"DpClaim: {name}", value, 0, 1, "[)", "0.9")
        for name in ("divisor", "clip_after", "sample_rate"):
            if getattr(self, name) is not None:
                most = 1.0 if name == "sample_rate" else math.inf
                check_number(f"DpClaim: {name}", getattr(self, name), 0, most, "(]" if most == 1 else "()")
        check_number("DpClaim: weight_decay", self.weight_decay, 0, math.inf, "[)", "0.01")
        check_number("DpClaim: dampening", self.dampening, 0, 1, "[]", "0")
        if self.sampling not in ("poisson", "shuffle", "full"):
            raise ConfigError(f"DpClaim: sampling = {self.sampling!r}; allowed: poisson, shuffle, full")

    def _check_rest(self) -> None:
        if self.weight_decay and self.optimizer not in ("sgd", "adamw"):
            raise ConfigError(
                "weight_decay goes with optimizer 'sgd' or 'adamw' (decoupled): torch's Adam and RMSprop mix "
                "their decay into the gradient's square; turn it off for this check"
            )
        if self.correlation is not None:
            c = np.asarray(self.correlation, float)
            if c.shape != (self.steps, self.steps) or not np.isfinite(c).all() or np.linalg.matrix_rank(c) < len(c):
                raise ConfigError(f"correlation must be an invertible ({self.steps}, {self.steps}) matrix")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each step."""
        try:
            if isinstance(self.lr, Real):
                return (float(self.lr),) * self.steps
            return tuple(float(v) for v in self.lr)  # type: ignore[union-attr]
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"DpClaim: lr = {str(self.lr)[:40]}: it is one number, or one for each step") from error

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
