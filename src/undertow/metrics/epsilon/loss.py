"""Privacy loss distributions of Poisson-subsampled Gaussian steps, in arrays: each takes milliseconds.

The construction is dp-accounting's (connect the dots, Doroshenko et al. 2022, arXiv:2207.04380; self-composition by FFT
with Chernoff tails): losses on a grid of 1e-3, deltas rounded up. Its numbers are those of dp-accounting to 1e-9, which
the tests hold it against; only the loops over the grid are gone.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.special import log_ndtr, ndtr, ndtri

from undertow.types import Array, ConfigError

STEP = 1e-3  # between two losses of the grid
_LOST = math.exp(-50) / 2  # mass of the noise that is counted as an infinite loss
_TAILS = 1e-15  # mass cut off by the composition, counted as an infinite loss too
_ORDERS = 20  # of the Chernoff bounds of those tails
_LARGEST = 20_000_000  # losses of a grid that are computed: epsilons of 1,000 and more


@dataclass(frozen=True, eq=False)
class Losses:
    """One direction (record added, or removed): probabilities of losses (lowest + i) * STEP, and of an infinite one."""

    lowest: int
    probabilities: Array  # (n,)
    infinite: float

    def deltas(self, epsilons: Array) -> Array:
        """(K,) the delta at each of `epsilons` (K,), each at least 0."""
        losses, upper, lower = self._sums()
        above = losses.size - np.searchsorted(losses, epsilons, side="right")
        return np.asarray(upper[above] - np.exp(epsilons) * lower[above])

    def epsilon(self, delta: float) -> float:
        """The least epsilon, at least 0, at `delta`; infinite where there is none."""
        if self.infinite > delta:
            return math.inf
        losses, upper, lower = self._sums()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = np.log((upper - delta) / lower)
        if np.any((upper >= delta) & (lower == 0)[: upper.size] & (np.arange(upper.size) > 0)):
            return float(losses[-int(np.argmax((upper >= delta) & (np.arange(upper.size) > 0)))])  # e^-loss is 0
        reached = np.flatnonzero((upper[:-1] > delta) & (lower[:-1] > 0) & (found[:-1] >= losses[::-1]))
        last = int(reached[0]) if reached.size else losses.size
        return max(float(found[last]), 0.0) if upper[last] > lower[last] + delta else 0.0

    def _sums(self) -> tuple[Array, Array, Array]:
        """Losses from 0 up (n,); mass above, in the two worlds, of the k largest of them (n + 1,)."""
        losses = (np.arange(self.probabilities.size) + self.lowest) * STEP
        first = int(np.searchsorted(losses, 0.0))
        losses, held = losses[first:], self.probabilities[first:]
        upper = np.cumsum(np.concatenate([[self.infinite], held[::-1]]))
        lower = np.cumsum(np.concatenate([[0.0], (held * np.exp(-losses))[::-1]]))
        return losses, upper, lower


@lru_cache(maxsize=512)
def subsampled_losses(noise: float, rate: float, steps: int) -> tuple[Losses, Losses]:
    """The losses of `steps` steps: record removed, record added; the same at rate 1."""
    removed = _composed(_one_step(noise, rate, True), steps)
    return removed, _composed(_one_step(noise, rate, False), steps) if rate < 1 else removed


def subsampled_deltas(noise: float, rate: float, steps: int, epsilons: Array) -> Array:
    """(K,) delta at each epsilon, the larger of the two directions."""
    removed, added = subsampled_losses(noise, rate, steps)
    return np.maximum(removed.deltas(epsilons), added.deltas(epsilons))


def subsampled_epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon at `delta`, the larger of the two directions."""
    return max(losses.epsilon(delta) for losses in subsampled_losses(noise, rate, steps))


def _one_step(noise: float, rate: float, removed: bool) -> Losses:
    """Probabilities whose hockey-stick curve joins the exact deltas on the grid by chords, which lie above them."""
    edge = noise * float(ndtri(_LOST))
    ends = np.array([edge - 1, -edge]) if removed else np.array([edge, 1 - edge])
    high, low = _loss(ends, noise, rate, removed)
    first, last = math.floor(low / STEP), math.ceil(high / STEP)
    _check_size(last - first, noise)
    grid = np.arange(first, last + 1) * STEP
    deltas = np.clip(_removed(grid, noise, rate) if removed else _added(grid, noise, rate), 0, 1)
    deltas = np.minimum.accumulate(deltas)
    fall = np.diff(deltas)
    held = np.zeros(deltas.size)
    held[0] = 1 - deltas[0] + fall[0] / math.expm1(STEP)
    held[1:-1] = (fall[1:] - fall[:-1] * math.exp(STEP)) / math.expm1(STEP)
    held[-1] = fall[-1] / math.expm1(-STEP)
    return Losses(first, np.maximum(held, 0.0), float(deltas[-1]))


def _check_size(losses: int, noise: float | None) -> None:
    """ConfigError where the grid would fill the memory."""
    if losses > _LARGEST:
        cause = "the steps add up to" if noise is None else f"a noise multiplier of {noise:g} gives"
        raise ConfigError(f"{cause} privacy losses in the thousands, which are not accounted: use more noise")


def _loss(x: Array, noise: float, rate: float, removed: bool) -> Array:
    """The privacy loss at x: log of the mixture of N(-1) and N(0) over N(0), or of N(0) over that of N(0) and N(1)."""
    outside = _log_outside(rate)
    if removed:
        return np.asarray(np.logaddexp(outside, math.log(rate) + (-0.5 - x) / noise**2))
    return np.asarray(-np.logaddexp(outside, math.log(rate) - (0.5 - x) / noise**2))


def _log_outside(rate: float) -> float:
    """log(1 - rate)."""
    return math.log1p(-rate) if rate < 1 else -math.inf


def _removed(epsilons: Array, noise: float, rate: float) -> Array:
    deltas = -np.expm1(np.minimum(epsilons, 0))  # where every x has a larger loss
    rows = epsilons > _log_outside(rate)
    x = -0.5 - noise**2 * _unmixed(epsilons[rows], rate)
    upper = (1 - rate) * ndtr(x / noise) + rate * ndtr((x + 1) / noise)
    deltas[rows] = upper - np.exp(epsilons[rows] + log_ndtr(x / noise))
    return deltas


def _added(epsilons: Array, noise: float, rate: float) -> Array:
    deltas = np.zeros(epsilons.size)  # where no x has a larger loss
    rows = epsilons < -_log_outside(rate)
    x = 0.5 + noise**2 * _unmixed(-epsilons[rows], rate)
    lower = np.logaddexp(_log_outside(rate) + log_ndtr(x / noise), np.log(rate) + log_ndtr((x - 1) / noise))
    deltas[rows] = ndtr(x / noise) - np.exp(epsilons[rows] + lower)
    return deltas


def _unmixed(losses: Array, rate: float) -> Array:
    """log(1 + (e^loss - 1) / rate): the loss without sampling of the x whose loss with it is `loss`."""
    gap = losses - _log_outside(rate)
    with np.errstate(divide="ignore"):
        return np.asarray(losses - math.log(rate) + np.log(-np.expm1(-gap)))


def _composed(one: Losses, steps: int) -> Losses:
    if steps == 1:
        return one
    low, high = _kept(one.probabilities, steps)
    _check_size(high - low, None)
    size = fft.next_fast_len(max(high - low + 1, one.probabilities.size), real=True)
    whole = fft.irfft(fft.rfft(one.probabilities, size) ** steps, size)
    infinite = _TAILS - math.expm1(steps * math.log1p(-one.infinite))
    return Losses(one.lowest * steps + low, np.roll(whole, -low)[: high - low + 1], infinite)


def _kept(held: Array, steps: int) -> tuple[int, int]:
    """The range outside of which a sum of `steps` draws has less than _TAILS of its mass, by Chernoff bounds."""
    n = held.size
    low, high = 0, (n - 1) * steps
    for sign in (1, -1):
        base, powers = np.exp(sign * np.arange(n) / n), np.ones(n)
        for order in range(1, _ORDERS + 1):
            powers = powers * base
            bound = (steps * math.log(float(powers @ held)) + math.log(2 / _TAILS)) * n / (sign * order)
            low, high = (low, min(high, math.ceil(bound))) if sign > 0 else (max(low, math.floor(bound)), high)
    return low, high
