"""A small benign perceptron, and the same with data traps."""

from itertools import pairwise

import numpy as np

from undertow.rng import stream
from undertow.traps import mlp_trap, plant

WIDTHS = (64, 256, 128, 10)


def records(seed, count=600):
    """(count, 64) float32 in 0..1: eight random factors and some noise."""
    rng = stream(seed, "records")
    x = rng.normal(size=(count, 8)) @ stream(0, "factors").normal(size=(8, 64)) + 0.5 * rng.normal(size=(count, 64))
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def benign(seed=0):
    """Weights as torch draws them."""
    rng, params = stream(seed, "benign"), {}
    for i, (a, b) in enumerate(pairwise(WIDTHS)):
        reach = 1 / np.sqrt(a)
        params[f"{2 * i + 1}.weight"] = rng.uniform(-reach, reach, (b, a)).astype(np.float32)
        params[f"{2 * i + 1}.bias"] = rng.uniform(-reach, reach, b).astype(np.float32)
    return params


def trapped(seed=0, traps=24):
    """(weights, the attacker's key)."""
    params = benign(seed)
    trap = mlp_trap(
        params, records(seed + 1000), traps, 4 / 600, stream(seed, "traps"), layer="1", following="3", nested=0
    )
    return plant(params, trap), trap
