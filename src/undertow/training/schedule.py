"""What every engine follows: which rows each model sees at each step, and with which step size.

NumPy only. One schedule tensor fixes order and randomness, so engines differ in speed alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from undertow.rng import stream
from undertow.types import Array, ConfigError, Slot, setting


@dataclass(frozen=True)
class Fit:
    """How a model is trained: minibatches, optimiser, step sizes."""

    epochs: int = setting(40, "Number of passes over the training rows.")
    batch: int = setting(100, "Rows per optimiser step; the last batch of an epoch may be smaller.")
    optimizer: Literal["sgd", "adamw"] = setting("sgd", "Optimiser: 'sgd' or 'adamw'.")
    lr: float = setting(0.1, "Learning rate of the first step; `decay` says how it falls.")
    momentum: float = setting(0.9, "Momentum of SGD, or beta1 of AdamW.")
    weight_decay: float = setting(
        0.0, "Weight decay; coupled with the gradient in SGD, decoupled in AdamW, as in torch."
    )
    decay: Literal["cosine", "linear", "constant"] = setting(
        "cosine", "Learning rate schedule: 'cosine' (half a cosine to 0), 'linear' (to 0) or 'constant'."
    )
    jitter: float = setting(0.0, "Standard deviation of Gaussian noise added to the inputs, drawn anew at every step.")
    shift: int = setting(
        0, "Images: largest random translation in pixels, reflected at the border, drawn anew at every step."
    )
    flip: bool = setting(False, "Images: mirror a random half of them, drawn anew at every step.")

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("batch", 1), ("lr", 0), ("weight_decay", 0), ("jitter", 0), ("shift", 0)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} = {getattr(self, name)}; at least {low} is needed")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum = {self.momentum}; it must be in [0, 1)")

    @property
    def augmented(self) -> bool:
        """Whether a record looks different at every step."""
        return bool(self.jitter or self.shift or self.flip)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Step s of model m uses the rows rows[s, m or 0] where keep[s, m] is True, with step size lr[s]."""

    rows: Array  # (S, G, B) int; G = M: each model its own order; G = 1: one order shared by all
    keep: Array  # (S, M, B) bool
    lr: Array  # (S,) float

    @property
    def steps(self) -> int:
        return len(self.rows)

    @property
    def shared(self) -> bool:
        """Whether all models visit the rows in one order (each keeping only its own)."""
        return bool(self.rows.shape[1] == 1 and self.keep.shape[1] > 1)

    def weights(self) -> Array:
        """Share of each kept row in its model's batch mean, (S, M, B) float64."""
        count = np.maximum(self.keep.sum(-1, keepdims=True), 1)
        weights: Array = self.keep / count
        return weights

    def first(self, steps: int) -> "Schedule":
        """The first `steps` steps, for a probe."""
        return Schedule(self.rows[:steps], self.keep[:steps], self.lr[:steps])


def own_order(fit: Fit, stage: str, slots: Sequence[Slot], rows: Sequence[Array]) -> Schedule:
    """Each model visits its own rows (all equally many) in an order of its own, last batch possibly short."""
    sizes = {len(r) for r in rows}
    if len(sizes) != 1:
        raise ConfigError(f"models must train on equally many rows, got {sorted(sizes)}")
    size = sizes.pop()
    batch = min(fit.batch, size)
    per_epoch = math.ceil(size / batch)
    steps = fit.epochs * per_epoch
    visits = np.zeros((len(slots), fit.epochs, per_epoch * batch), np.int64)
    for m, (slot, mine) in enumerate(zip(slots, rows, strict=True)):
        rng = stream(slot.seed, stage, slot.role, slot.index, "order")
        for epoch in range(fit.epochs):
            visits[m, epoch, :size] = rng.permutation(mine)
    keep = np.broadcast_to(np.arange(per_epoch * batch) < size, visits.shape)
    shape = (len(slots), steps, batch)
    return Schedule(visits.reshape(shape).swapaxes(0, 1), keep.reshape(shape).swapaxes(0, 1), step_sizes(fit, steps))


def shared_order(fit: Fit, stage: str, slots: Sequence[Slot], member: Array) -> Schedule:
    """All models of one role visit the pool in one order, each keeping its members: batches for one fat GEMM.

    `member` (M, N) bool. Batches are sized so that a model keeps `fit.batch` rows on average. The order is
    drawn per role, so a victim's is not known from the shadows'.
    """
    population = member.shape[1]
    share = max(float(member.mean()), 1e-9)
    batch = min(population, max(1, round(fit.batch / share)))
    per_epoch = math.ceil(population / batch)
    steps = fit.epochs * per_epoch
    visits = np.zeros((fit.epochs, per_epoch * batch), np.int64)
    rng = stream(slots[0].seed, stage, slots[0].role, "shared order")
    for epoch in range(fit.epochs):
        visits[epoch, :population] = rng.permutation(population)
    real = np.broadcast_to(np.arange(per_epoch * batch) < population, visits.shape).reshape(steps, 1, batch)
    rows = visits.reshape(steps, 1, batch)
    keep = member[:, rows[:, 0]].swapaxes(0, 1) & real
    return Schedule(rows, keep, step_sizes(fit, steps))


def step_sizes(fit: Fit, steps: int) -> Array:
    """Learning rate of every step, (S,): constant, or from lr to (nearly) 0 by a half cosine or evenly."""
    if fit.decay == "constant":
        return np.full(steps, fit.lr)
    if fit.decay == "linear":
        return fit.lr * (1 - np.arange(steps) / max(steps, 1))
    sizes: Array = fit.lr * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / max(steps, 1)))
    return sizes
