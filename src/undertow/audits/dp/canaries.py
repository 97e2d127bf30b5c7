"""Canaries by strength, and the checkpoint they are trained from. NumPy.

random        an ordinary record that is not among the others
mislabelled   the same with a wrong label
gradient      no record: a gradient of the clipping norm on one coordinate (Nasr et al. 2023, "Dirac")
trap          a record that alone opens one unit of a planted checkpoint, whose bias then takes all of the clipped
              gradient (Feng and Tramer 2024, section 5); many such units make many independent canaries in one run
"""

from dataclasses import dataclass

import numpy as np

from undertow.rng import stream
from undertow.types import Array, BadInput, Examples, Params

SCALE = 1e-3  # of what enters the planted layer: small, so that a unit's bias has nearly all of its gradient
LOUD = 3000.0  # weight of a trap to its class
FIRST, HEAD = "1", "3"  # names of the two layers of a perceptron with one hidden layer (models.architecture.Mlp)


@dataclass(frozen=True, eq=False)
class Canaries:
    """K canaries and the checkpoint; `scale` multiplies every record on its way into the model."""

    x: Array  # (K, d), before scaling
    y: Array  # (K,) int
    state: Params
    scale: float = 1.0


def natural_canaries(auxiliary: Examples, count: int, classes: int, wrong: bool, seed: int) -> tuple[Array, Array]:
    """Records (K, d) of the auditor's own, with their labels (K,) or with wrong ones. BadInput where too few."""
    if count > len(auxiliary):
        raise BadInput(
            f"{count} canaries of {len(auxiliary)} auxiliary records: set data.auxiliary to at least {count}"
        )
    rng = stream(seed, "dp", "natural canaries")
    rows = rng.permutation(len(auxiliary))[:count]
    shift = rng.integers(1, classes, size=count) if wrong else 0
    return auxiliary.x[rows].reshape(count, -1), (auxiliary.y[rows] + shift) % classes


def trap_canaries(records: Array, count: int, classes: int, benign: Params, reach: float, seed: int) -> Canaries:
    """Random black-and-white records, and `benign` widened by one trap unit for each.

    records (N, d) in 0..1: those of the finetuning. benign: a perceptron with one hidden layer. reach: how far a trap
    is open at its record, and closed at every other; more than training moves it. BadInput where two canaries or a
    canary and a record are too alike.
    """
    rng = stream(seed, "dp", "trap canaries")
    x = (rng.random((count, records.shape[1])) < 0.5).astype(records.dtype)
    loud = rng.integers(classes, size=count)
    y = (loud + rng.integers(1, classes, size=count)) % classes  # never the class its trap shouts
    weight, threshold, margin = separators(records, x)
    if margin.min() <= 0:
        raise BadInput(f"canary {int(margin.argmin())} cannot be told from the others: use fewer canaries, more pixels")
    gain = reach / (SCALE * margin / 2)
    shout = np.zeros((classes, count))
    shout[loud, np.arange(count)] = LOUD
    state = {
        f"{FIRST}.weight": np.concatenate([benign[f"{FIRST}.weight"] / SCALE, weight * gain[:, None]]),
        f"{FIRST}.bias": np.concatenate([benign[f"{FIRST}.bias"], -threshold * gain * SCALE]),
        f"{HEAD}.weight": np.concatenate([benign[f"{HEAD}.weight"], shout], 1),
        f"{HEAD}.bias": benign[f"{HEAD}.bias"],
    }
    return Canaries(x, y, {name: value.astype(np.float32) for name, value in state.items()}, SCALE)


def separators(records: Array, canaries: Array) -> tuple[Array, Array, Array]:
    """Unit directions (K, d), thresholds (K,) midway, and margins (K,) between each canary and all the rest."""
    mean = records.mean(0)
    weight = canaries - mean
    weight = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-12)
    cross = weight @ canaries.T
    own = np.diag(cross).copy()
    np.fill_diagonal(cross, -np.inf)
    others = np.maximum(cross.max(1), (weight @ records.T).max(1))
    return weight, (own + others) / 2, own - others
