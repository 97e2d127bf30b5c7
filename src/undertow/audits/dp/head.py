"""Which tensor makes the logits: the one whose rows 0 and 1 move against each other when labels 1 replace labels 0."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.odd import parameters_of
from undertow.rng import seed_for
from undertow.types import IGNORED, Array, BadInput, ConfigError, Examples, Params

Train = Callable[[Params, Examples, int], Params]  # (checkpoint, data, seed) -> checkpoint
PAIRS = 3  # of trainings, with all labels 0 and all labels 1, that search the head
CLEAR = 0.5  # least score of a head; 1 is a perfect one


@dataclass(frozen=True, eq=False)
class Head:
    """The layer that makes the logits."""

    weight: str  # its name; (classes, width)
    bias: str | None  # (classes,)
    features: Array | None = None  # (width,) unit direction of what `still` inputs give it; heads without bias


def find_head(train: Train, checkpoint: Params, data: Examples, claim: DpClaim, name: str | None, seed: int) -> Head:
    """The classifier among the matrices of `checkpoint`, or the one called `name`.

    A head with a bias that is named, or the only matrix that can be one, is taken without training. Otherwise
    2 * PAIRS trainings show which matrix answers to the labels, and as many on one repeated input what features it sees
    there, where it has no bias.
    Raises ConfigError where none does.
    """
    able = candidates(checkpoint, data, name)
    if len(able) == 1 and able[0].bias is not None:
        return able[0]
    names = [head.weight for head in able]
    change = _answer(train, checkpoint, data, claim, seed, names, _many(data, claim.records))
    scores = {head.weight: score(change[head.weight]) for head in able}
    best = max(able, key=lambda head: (round(scores[head.weight], 6), head.bias is not None))
    if scores[best.weight] < CLEAR and name is None:
        raise ConfigError("no matrix in the checkpoint answers to the labels as a classifier does: name it with head=")
    if best.bias is not None:
        return best
    still = np.repeat(still_input(data)[None], claim.records, 0)
    change = _answer(train, checkpoint, data, claim, seed, [best.weight], still)
    direction = change[best.weight][1] - change[best.weight][0]
    length = float(np.linalg.norm(direction))
    if scores[best.weight] < CLEAR or not length:
        raise ConfigError(
            f"{best.weight} has no bias and does not answer to the labels as a classifier does: records cannot be made "
            "silent; give the head a bias of zeros for this check"
        )
    return Head(best.weight, None, direction / length)


def candidates(checkpoint: Params, data: Examples, name: str | None) -> list[Head]:
    """Matrices with a row for each label of `data`; named ones only, where `name` is given. Raises ConfigError."""
    labels = max(2, int(data.y.max()) + 1)
    found = []
    for key, value in checkpoint.items():
        if value.ndim != 2 or value.dtype.kind != "f" or min(value.shape) < 2 or len(value) < labels:
            continue
        if name is not None and not key.startswith(name):
            continue
        bias = key.removesuffix("weight") + "bias" if key.endswith("weight") else ""
        fits = bias in checkpoint and checkpoint[bias].shape == value.shape[:1]
        found.append(Head(key, bias if fits else None))
    if not found:
        named = f" named {name}" if name else ""
        raise ConfigError(f"no matrix{named} in the checkpoint has a row for each of {labels} labels")
    return found


def score(change: Array) -> float:
    """How much of a matrix's change lies in rows 0 and 1, times how opposite these are; 1 for a classifier."""
    zero, one = change[0], change[1]
    lengths = float(np.linalg.norm(zero) * np.linalg.norm(one))
    whole = float(np.square(change).sum())
    if not lengths or not whole:
        return 0.0
    return -float(zero @ one) / lengths * float(zero @ zero + one @ one) / whole


def _many(data: Examples, records: int) -> Array:
    """Inputs of as many records as claimed."""
    return np.asarray(data.x[np.arange(records) % len(data)])


def still_input(data: Examples) -> Array:
    """One input for all records whose features must be known: the first; texts: one token, repeated."""
    if not data.of_tokens:
        return np.asarray(data.x[0])
    values, counts = np.unique(data.x[data.x > 2], return_counts=True)
    if not len(values):
        raise BadInput(f"{data.name}: the check needs texts with tokens above 2")
    return np.full_like(data.x[0], values[counts.argmax()])


def labelled(data: Examples, rows: Array, label: Array) -> Array:
    """(n,) or (n, L) labels: `label` (n,) for each record, at every token that has a label in `data`."""
    if not data.of_tokens:
        return label.astype(data.y.dtype)
    return np.where(data.y[rows] == IGNORED, IGNORED, label[:, None]).astype(data.y.dtype)


def _answer(
    train: Train, checkpoint: Params, data: Examples, claim: DpClaim, seed: int, names: list[str], x: Array
) -> dict[str, Array]:
    """Mean change of each named matrix where all labels are 1 instead of 0."""
    total = {name: np.zeros(checkpoint[name].shape) for name in names}
    rows = np.zeros(claim.records, int)
    for pair in range(PAIRS):
        for label, sign in ((0, -1.0), (1, 1.0)):
            records = Examples(x, labelled(data, rows, np.full(claim.records, label)), "records of one label")
            start = {name: value.copy() for name, value in checkpoint.items()}
            returned = train(start, records, seed_for(seed, "conformance", "head", pair) % 2**31)
            after = parameters_of(returned, "search of the head")
            for name in names:
                if name in after and after[name].shape == checkpoint[name].shape:
                    total[name] += sign * after[name].astype(float)
    return total
