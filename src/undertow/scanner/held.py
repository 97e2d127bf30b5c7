"""Did a unit copy one record? What finetuning on known records wrote into a dense layer, compared with those records.

A data trap (Feng & Tramer, ICML 2024) is a unit that fires, takes one step along what it read, and gets no gradient
from then on. So after finetuning on records that *we* chose, its weights have moved by a multiple of what one record
gave the layer to read, although more than one record may fire it, and they have stopped moving. The multiple is
negative where the unit shuts itself. Where something behind it saturates (the tanh of BERT's pooler, pushed from the
steep part to either flat one) it has the sign that the fresh head happens to ask for. Units of benign layers add up
many records, and go on doing so.
"""

from dataclasses import dataclass

import numpy as np

from undertow.types import Array

STOPPED = 0.01  # share of a unit's whole way that it may go in the last epoch
EXACT = 0.15  # angle between what was written and the record, in radians; lower layers move a little, too
APART = 3.0  # times that, at least, to the nearest other record
SAME = 1e-3  # angle below which two inputs count as one
CONSTANT = 1e-3  # a column that varies by less, of its size, says nothing about a record
SEVERAL = 2  # records that fire a unit, at least: one that a single record fires holds it whether or not it is shut
LEAST_WAY = 1e-9  # of a unit's length: smaller moves show nothing, though in float64 they are exact


@dataclass(frozen=True, eq=False)
class Watched:
    """One dense layer z = W x + b, seen three times."""

    name: str  # of the weight
    weights: tuple[Array, Array, Array]  # (H, D): before finetuning, before its last epoch, after it
    bias: Array | None  # (H,) before finetuning

    @property
    def candidates(self) -> Array:
        """(K,) int: units that moved and have stopped."""
        before, late, after = self.weights
        with np.errstate(over="ignore", invalid="ignore"):  # where training broke down
            way, last = np.linalg.norm(after - before, axis=1), np.linalg.norm(after - late, axis=1)
        size = np.linalg.norm(before, axis=1)
        return np.flatnonzero((way > LEAST_WAY * size) & (last <= STOPPED * way) & np.isfinite(way))


@dataclass(frozen=True)
class Held:
    """One unit that holds one record."""

    tensor: str
    row: int
    record: int
    error: float  # angle between what was written and the record, radians
    fired: int  # records that would have fired the unit before finetuning; it holds one


def held(layer: Watched, inputs: Array, records: Array) -> list[Held]:
    """The candidates of `layer` that hold one record exactly and have stopped.

    `inputs` (M, D) is what the layer read before finetuning, `records` (M,) int the record of each row: one for each
    record, or one for each token or patch of it.
    """
    rows = layer.candidates
    inputs = inputs.astype(np.float64, copy=False)
    spread, size = inputs.std(0), np.abs(inputs.mean(0))
    told = spread > CONSTANT * np.maximum(size, spread.max(initial=0))
    if not len(rows) or told.sum() < 2:
        return []
    read = _unit(inputs[:, told])
    step = _unit((layer.weights[2] - layer.weights[0])[rows][:, told])
    bias = np.zeros(len(layer.weights[0])) if layer.bias is None else layer.bias
    fires = inputs @ layer.weights[0][rows].T + bias[rows] > 0
    found = []
    for row, firing, both in zip(rows, fires.T, step @ read.T, strict=True):
        count = len(np.unique(records[firing]))
        along = both if both.max() > -both.min() else -both
        best = int(along.argmax())
        error = _angle(along[best])
        if error > EXACT or count < SEVERAL:
            continue
        other = np.linalg.norm(read - read[best], axis=1) > SAME
        next_best = _angle(along[other].max(initial=-1))
        shared = len(np.unique(records[~other])) > 1  # of no record: a class token before anything mixes into it
        if next_best >= APART * error and not shared:
            found.append(Held(layer.name, int(row), int(records[best]), error, count))
    return found


def _unit(rows: Array) -> Array:
    wide = np.asarray(rows, np.float64)
    unit: Array = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-300)
    return unit


def _angle(cosine: float) -> float:
    return float(np.sqrt(max(0.0, 2 - 2 * cosine)))
