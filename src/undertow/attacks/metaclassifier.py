"""Many small classifiers trained in lock step: the cost of every TMI audit.

One network per challenge point, Linear(F, H) - ReLU - Dropout - Linear(H, 2), softmax cross-entropy, Adam
with L2 decay added to the gradient, learning rate times `gamma` every `step` epochs: the metaclassifier of
Abascal et al. (PoPETs 2024), as released. Equal to torch in float64, tested to 1e-10.

Fast for three reasons. Only the difference of the two outputs matters to the loss, so the second layer is one
vector w. With the dropout-and-ReLU mask m (0 or 1) and the error g per row, both gradients come from the one
product S = (x g)^T m, F x H: that of the first layer is S w, that of w is the column sums of W S; no gradient
of the size of the hidden layer is ever written. And points are trained in blocks that stay in the L2 cache.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import expit

from undertow.types import Array

Layers = tuple[Array, Array]  # (P, F + 1, H) and (P, 2, H + 1)
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, as torch has them
BLOCK = 100_000  # hidden activations per block: two float32 arrays of 400 kB, for an L2 cache of 1 MB


@dataclass(frozen=True)
class Recipe:
    """How the metaclassifiers are trained; the defaults are the released ones."""

    hidden: int = 64
    dropout: float = 0.5
    lr: float = 5e-3
    weight_decay: float = 5e-4
    epochs: int = 20
    batch: int = 64
    step: int = 7  # epochs between two decays of the learning rate
    gamma: float = 0.9


@dataclass(frozen=True, eq=False)
class Chance:
    """Everything random in the training of one network on n rows."""

    hidden: Array  # (F + 1, H) initial weights, last row the bias
    output: Array  # (2, H + 1) initial weights, last column the bias
    order: Array  # (epochs, n) rows in the order they are seen
    keep: Array  # (epochs, ceil(n H / 8)) uint8, packed bits of the (n, H) dropout mask, 1 = kept; row i is
    # for the i-th row seen in that epoch


@dataclass(frozen=True, eq=False)
class Networks:
    """P trained networks."""

    hidden: Array  # (P, F + 1, H), last row the bias
    output: Array  # (P, 2, H + 1), last column the bias; output 1 is IN


def draw(rng: np.random.Generator, rows: int, features: int, recipe: Recipe) -> Chance:
    """The chance of one network, with torch's default initialisation U(+-1/sqrt(fan in)) of nn.Linear."""
    hidden = rng.uniform(-1, 1, (features + 1, recipe.hidden)) / math.sqrt(features)
    output = rng.uniform(-1, 1, (2, recipe.hidden + 1)) / math.sqrt(recipe.hidden)
    order = rng.permuted(np.tile(np.arange(rows), (recipe.epochs, 1)), axis=1)
    keep = np.stack([_coins(rng, rows * recipe.hidden, recipe.dropout) for _ in range(recipe.epochs)])
    return Chance(hidden, output, order, keep)


def _coins(rng: np.random.Generator, count: int, dropout: float) -> Array:
    """`count` packed bits, each 0 with probability `dropout`."""
    size = -(-count // 8)
    if dropout == 0:
        return np.full(size, 255, np.uint8)
    if dropout == 0.5:  # a fair coin is one random bit
        return np.frombuffer(rng.bytes(size), np.uint8)
    return np.packbits(rng.random(count, np.float32) >= dropout)


def fit(inputs: Array, labels: Array, recipe: Recipe, rng: np.random.Generator) -> Networks:
    """Train one network per point on inputs (P, n, F) and labels (P, n), in the precision of `inputs`.

    Every point draws from a child generator of its own, so the result does not depend on the blocks.
    """
    points, rows, features = inputs.shape
    return train(inputs, labels, recipe, (draw(child, rows, features, recipe) for child in rng.spawn(points)))


def log_odds(networks: Networks, inputs: Array) -> Array:
    """log P(IN) - log P(OUT) of every row, (P, n) float64, from inputs (P, n, F); higher = member."""
    result = np.empty(inputs.shape[:2])
    weights, bias = _output_difference(networks.output)
    for p in range(len(inputs)):
        hidden = inputs[p] @ networks.hidden[p, :-1] + networks.hidden[p, -1]
        result[p] = np.maximum(hidden, 0) @ weights[p] + bias[p]
    return result


def train(inputs: Array, labels: Array, recipe: Recipe, chances: Iterable[Chance], block: int = 0) -> Networks:
    """`fit` with its randomness given: one Chance per point, in their order. `block` = points at a time."""
    points, rows, features = inputs.shape
    block = block or max(1, BLOCK // (min(recipe.batch, rows) * recipe.hidden))
    trained = [
        _train_block(inputs[start : start + block], labels[start : start + block], recipe, chance)
        for start, chance in zip(range(0, points, block), _batched(chances, block), strict=True)
    ]
    theta = np.concatenate(trained)
    return Networks(*_views(theta, features, recipe.hidden))


def _batched(chances: Iterable[Chance], size: int) -> Iterator[list[Chance]]:
    iterator = iter(chances)
    while batch := list(islice(iterator, size)):
        yield batch


def _views(theta: Array, features: int, hidden: int) -> Layers:
    """The two layers (P, F + 1, H) and (P, 2, H + 1) as views into flat parameters (P, K)."""
    cut = (features + 1) * hidden
    return theta[:, :cut].reshape(-1, features + 1, hidden), theta[:, cut:].reshape(-1, 2, hidden + 1)


def _output_difference(output: Array) -> tuple[Array, Array]:
    """Weights (P, H) and bias (P,) of output IN minus output OUT: all the loss depends on."""
    difference = output[:, 1] - output[:, 0]
    return difference[:, :-1], difference[:, -1]


@dataclass(frozen=True, eq=False)
class _State:
    """Parameters, gradient and buffers of one block, written over at every step."""

    theta: Array  # (P, K)
    gradient: Array  # (P, K)
    m: Array  # (P, K) Adam's moments without their factors (1 - beta), which saves two passes
    v: Array  # (P, K)
    active: Array  # (P, B, H) hidden activations
    mask: Array  # (P, B, H) 1 where the unit is kept and positive, else 0
    bits: Array  # (P, B, H) uint8, the same


def _start(chances: list[Chance], batch: int, dtype: DTypeLike) -> _State:
    theta = np.stack([np.concatenate([c.hidden.ravel(), c.output.ravel()]) for c in chances]).astype(dtype)
    shape = len(chances), batch, chances[0].hidden.shape[1]
    gradient, m, v = (np.zeros_like(theta) for _ in range(3))
    active, mask, bits = np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, np.uint8)
    return _State(theta, gradient, m, v, active, mask, bits)


def _train_block(inputs: Array, labels: Array, recipe: Recipe, chances: list[Chance]) -> Array:
    """Flat parameters (P, K) of the networks of one block."""
    points, rows, _ = inputs.shape
    ones = np.ones((points, rows, 1), inputs.dtype)  # the bias is the weight of a constant feature
    x = np.concatenate([inputs, ones], -1).reshape(points * rows, -1)
    y = np.ascontiguousarray(labels, inputs.dtype).reshape(-1)
    first_row = np.arange(points)[:, None] * rows
    state, t = _start(chances, min(recipe.batch, rows), inputs.dtype), 0
    for epoch in range(recipe.epochs):
        index = first_row + np.stack([c.order[epoch] for c in chances])
        packed = np.stack([c.keep[epoch] for c in chances])
        keep = np.unpackbits(packed, axis=1, count=rows * recipe.hidden).reshape(points, rows, -1)
        xs, ys = x[index], y[index]
        lr = recipe.lr * recipe.gamma ** (epoch // recipe.step)
        for start in range(0, rows, recipe.batch):
            part, t = slice(start, start + recipe.batch), t + 1
            _backward(state, xs[:, part], ys[:, part], keep[:, part], 1 / (1 - recipe.dropout))
            _adam(state, t, lr, recipe.weight_decay)
    return state.theta


def _backward(state: _State, x: Array, y: Array, keep: Array, scale: float) -> None:
    """Gradient of the mean cross-entropy of one batch; dropout multiplies the units it keeps by `scale`."""
    size, features, h = y.shape[1], x.shape[2] - 1, keep.shape[2]
    active, mask, bits = state.active[:, :size], state.mask[:, :size], state.bits[:, :size]
    hidden, output = _views(state.theta, features, h)
    slope_hidden, slope_output = _views(state.gradient, features, h)
    weights, bias = _output_difference(output)
    weights = weights * scale
    np.matmul(x, hidden, out=active)
    np.greater(active, 0, out=bits.view(bool))
    np.bitwise_and(bits, keep, out=bits)
    np.copyto(mask, bits)
    np.multiply(active, mask, out=active)
    odds = np.matmul(active, weights[:, :, None])[:, :, 0] + bias[:, None]
    error = (expit(odds) - y) / size
    np.matmul((x * error[:, :, None]).transpose(0, 2, 1), mask, out=slope_hidden)
    np.multiply((hidden * slope_hidden).sum(1), scale, out=slope_output[:, 1, :-1])
    np.sum(error, axis=1, out=slope_output[:, 1, -1])
    np.negative(slope_output[:, 1], out=slope_output[:, 0])
    np.multiply(slope_hidden, weights[:, None], out=slope_hidden)


def _adam(state: _State, t: int, lr: float, weight_decay: float) -> None:
    """Step number t (from 1). Python floats throughout: a NumPy one would make float32 passes float64."""
    gradient = state.gradient
    gradient += weight_decay * state.theta
    np.multiply(state.m, BETA1, out=state.m)
    np.add(state.m, gradient, out=state.m)
    np.square(gradient, out=gradient)
    np.multiply(state.v, BETA2, out=state.v)
    np.add(state.v, gradient, out=state.v)
    np.sqrt(state.v, out=gradient)
    gradient *= math.sqrt((1 - BETA2) / (1 - BETA2**t))
    gradient += EPSILON
    np.divide(state.m, gradient, out=gradient)
    gradient *= lr * (1 - BETA1) / (1 - BETA1**t)
    np.subtract(state.theta, gradient, out=state.theta)
