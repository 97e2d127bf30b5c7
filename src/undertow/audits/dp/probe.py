"""Checkpoints and records made for a test of a private trainer: most have no gradient at all, a few a very large one.

The head's bias of class 0 is set so high that records labelled 0 are fitted exactly: their gradient is 0 in floating
point, whatever the body does, as long as nothing else comes near that bias. A record labelled 1 or 2 then has the
gradient of its logit, made as large as wanted by the head's weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from undertow.audits.dp.claim import DpClaim
from undertow.rng import seed_for, stream
from undertow.types import Array, BadInput, ConfigError, Examples, Params

Train = Callable[[Params, Examples, int], Params]  # (checkpoint, data, seed) -> checkpoint
MARGIN = 1e6  # of class 0's bias, times clip: far above any other logit
LOUD, LOUDER = 10.0, 500.0  # norm, times clip, of the head's rows of classes 1 and 2
WILD = 4.0  # times real records


@dataclass(frozen=True, eq=False)
class Probe:
    """The crafted checkpoint, and records to fill it with."""

    checkpoint: Params
    data: Examples  # real records; their labels are not used
    claim: DpClaim
    seed: int

    def records(self, loud: int = 0, louder: int = 0, wild: int = 0) -> Examples:
        """As many records as claimed: so many loud (label 1) and louder (label 2) copies, the rest without gradient.

        `wild` of the rest are far from the data: nothing of them may be seen in what the loud ones do.
        """
        rng = stream(self.seed, "probe records")
        rows = rng.integers(len(self.data), size=self.claim.records)
        x, y = self.data.x[rows].copy(), np.zeros(self.claim.records, self.data.y.dtype)
        order = rng.permutation(self.claim.records)
        one, two, far = np.split(order[: loud + louder + wild], [loud, loud + louder])
        x[one], y[one] = self.data.x[0], 1
        x[two], y[two] = self.data.x[1 % len(self.data)], 2
        x[far] = self._wild(x[far], rng)
        return Examples(x, y, "crafted records")

    def _wild(self, x: Array, rng: np.random.Generator) -> Array:
        if x.dtype.kind in "iu":
            return rng.permutation(x.ravel()).reshape(x.shape)
        return (x * WILD).astype(x.dtype)


def make_probe(checkpoint: Params, data: Examples, claim: DpClaim, head: str | None, seed: int) -> Probe:
    """Craft the checkpoint: `head` is the classifier's name in it (None: the last layer with a bias that fits).

    Raises ConfigError where no head is found or it has fewer than three classes, BadInput for labels of tokens.
    """
    if data.of_tokens:
        raise BadInput(f"{data.name}: the check crafts records with one label each, not one per token")
    weight, bias = find_head(checkpoint, head)
    classes, width = checkpoint[weight].shape
    if classes < 3 or width < 2:
        raise ConfigError(f"{weight} is {(classes, width)}: the check needs a head of three classes or more")
    rng = stream(seed, "probe head")
    rows = np.zeros((classes, width))
    for label, part, size in zip((1, 2), np.array_split(rng.permutation(width), 2), (LOUD, LOUDER), strict=True):
        rows[label, part] = rng.choice([-1.0, 1.0], len(part)) * size * claim.clip / np.sqrt(len(part))
    level = np.zeros(classes)
    level[0] = MARGIN * max(1.0, claim.clip)
    crafted = dict(checkpoint)
    crafted[weight] = rows.astype(checkpoint[weight].dtype)
    crafted[bias] = level.astype(checkpoint[bias].dtype)
    return Probe(crafted, data, claim, seed)


def find_head(checkpoint: Params, head: str | None) -> tuple[str, str]:
    """Names of the classifier's weight (classes, width) and bias (classes,)."""
    pairs = [
        (name, bias)
        for name, bias in ((name, name.removesuffix("weight") + "bias") for name in checkpoint)
        if name.endswith("weight") and checkpoint[name].ndim == 2 and bias in checkpoint
        if checkpoint[bias].shape == checkpoint[name].shape[:1]
        if head is None or name.startswith(head)
    ]
    if not pairs:
        raise ConfigError(f"no classifier with weight and bias {'named ' + head if head else ''} in the checkpoint")
    return pairs[-1]


@dataclass(frozen=True, eq=False)
class Movements:
    """How far every floating parameter moved in each training: rows of one matrix."""

    values: Array  # (R, D) float64
    parts: dict[str, slice] = field(default_factory=dict)

    def of(self, name: str) -> Array:
        """(R, size) of one tensor."""
        return self.values[:, self.parts[name]]


def movements(train: Train, probe: Probe, data: Examples, runs: int, purpose: str) -> Movements:
    """Train `runs` times from the crafted checkpoint, each with a seed of its own.

    Raises BadInput where a tensor is missing, has another shape, or is not finite afterwards.
    """
    names = [name for name, value in probe.checkpoint.items() if value.dtype.kind == "f"]
    sizes = np.cumsum([0] + [probe.checkpoint[name].size for name in names])
    parts = {name: slice(int(a), int(b)) for name, a, b in zip(names, sizes[:-1], sizes[1:], strict=True)}
    values = np.empty((runs, int(sizes[-1])))
    for r in range(runs):
        start = {name: value.copy() for name, value in probe.checkpoint.items()}
        after = train(start, data, seed_for(probe.seed, "conformance", purpose, r) % 2**31)
        for name in names:
            before = probe.checkpoint[name]
            if name not in after or after[name].shape != before.shape:
                raise BadInput(f"the trainer returned no {name} of shape {before.shape}: return what it was given")
            values[r, parts[name]] = (after[name].astype(float) - before.astype(float)).ravel()
        if not np.isfinite(values[r]).all():
            raise BadInput("the trainer returned values that are not finite; train in float32 for this check")
    return Movements(values, parts)
