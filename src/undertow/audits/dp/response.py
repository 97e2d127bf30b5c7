"""How parameters answer to gradient and noise under a claim: exact for linear optimisers, simulated for others."""

import math
from dataclasses import dataclass

import numpy as np

from undertow.audits.dp.claim import DpClaim
from undertow.rng import stream
from undertow.types import Array

PATHS = 20_000  # simulated coordinates where the optimiser is not linear
TINY = 1e-8  # what torch's Adam and RMSprop add to the root


@dataclass(frozen=True)
class Response:
    """How parameters answer to gradient and noise under a claim."""

    noise: float  # deviation of one coordinate's movement where no record has a gradient
    reach: float  # largest mean movement (norm) by one record
    reused: float  # variance, over the declared, if one noise draw served every step
    counts: float | None  # variance of a movement by coins per record, over (that record's mean movement)^2; None: Adam
    coins: float | None = None  # `counts` of coins of their own, whatever the declared sampling; None: Adam
    kept: float = 1.0  # what weight decay leaves of a parameter's starting value
    most: float = math.inf  # reach over noise that no schedule of as many steps exceeds

    @property
    def ratio(self) -> float:
        """One record's reach in deviations of the noise: what the privacy rests on."""
        return self.reach / self.noise


def response(claim: DpClaim, size: int = 0) -> Response:
    """The answer that `claim` implies for `size` trained numbers (needed by `clip_after` alone).

    A linear optimiser moves by w . g. Adam and RMSprop divide by the root mean square of what they see. The mean
    movement is concave in the signal, so the slope at 0 bounds it: E[movement * sum of the noise] / deviation (Stein).
    """
    deviation = claim.noise_multiplier * claim.unit
    scale = 1.0
    if claim.clip_after is not None:
        scale = min(1.0, claim.clip_after / (deviation * math.sqrt(max(1, size))))
    mix = np.eye(claim.steps) if claim.correlation is None else np.asarray(claim.correlation, float)
    w = moved(claim, np.eye(claim.steps))
    kept = 1 - float(moved(claim, np.zeros((claim.steps, 1)), np.ones(1))[0])
    if linear(claim):
        noise = deviation * scale * float(np.linalg.norm(w @ mix))
        total, squares = float(w.sum()), float(w @ w)
        coins = (1 - claim.rate) * squares / (claim.rate * total**2)
        spread = coins if claim.sampling == "poisson" else 0.0
        reach = claim.rate * claim.unit * scale * total
        most = claim.rate * math.sqrt(claim.steps) / claim.noise_multiplier
        reused = total**2 / squares
        return Response(noise, reach, reused, spread, coins, kept, most if claim.correlation is None else reach / noise)
    z = stream(0, "adam").standard_normal((claim.steps, PATHS))
    unit = deviation * scale
    paths, same = moved(claim, mix @ z * unit), moved(claim, np.repeat(z[:1] * unit, claim.steps, 0))
    slope = float((paths * (np.linalg.solve(mix, np.ones(claim.steps)) @ z)).mean()) / unit
    square = float(np.square(paths).mean())
    reach = slope * claim.rate * claim.unit * scale
    noise = math.sqrt(square)
    return Response(noise, reach, float((same**2).mean()) / square, None, None, kept, reach / noise)


def linear(claim: DpClaim) -> bool:
    """Whether twice the gradients move twice as far."""
    if not callable(claim.optimizer):
        return claim.optimizer == "sgd"
    g = stream(0, "linear").standard_normal((claim.steps, 64))
    return bool(np.allclose(moved(claim, 2 * g), 2 * moved(claim, g), rtol=1e-6, atol=1e-12))


def moved(claim: DpClaim, gradients: Array, start: Array | None = None) -> Array:
    """(P,) how far parameters at `start` (None: 0) have come down (T, P) mean gradients."""
    if callable(claim.optimizer):
        return np.asarray(claim.optimizer(gradients), float)
    begin = np.zeros(gradients.shape[1]) if start is None else start
    state = [np.zeros(gradients.shape[1]), np.zeros(gradients.shape[1])]
    p, total = begin.copy(), np.zeros_like(begin)
    for t, g in enumerate(gradients):
        p = _step(claim, t, p, g, state)
        total += p
    return begin - (total / claim.steps if claim.average else p)


def _step(claim: DpClaim, t: int, p: Array, g: Array, state: list[Array]) -> Array:
    """One step of torch's SGD, Adam, AdamW or RMSprop; `state` is changed."""
    lr = claim.rates[t]
    if claim.optimizer == "sgd":
        g = g + claim.weight_decay * p
        if not claim.momentum:
            return p - lr * g
        state[0] = g if t == 0 else claim.momentum * state[0] + (1 - claim.dampening) * g
        return p - lr * (g + claim.momentum * state[0] if claim.nesterov else state[0])
    if claim.optimizer == "rmsprop":
        state[1] = claim.alpha * state[1] + (1 - claim.alpha) * g**2
        return p - lr * g / (np.sqrt(state[1]) + TINY)
    one, two = claim.betas
    state[0], state[1] = one * state[0] + (1 - one) * g, two * state[1] + (1 - two) * g**2
    step = (state[0] / (1 - one ** (t + 1))) / (np.sqrt(state[1] / (1 - two ** (t + 1))) + TINY)
    return (1 - lr * claim.weight_decay) * p - lr * step
