"""Checkpoints and records made for a test of a private trainer: most have no gradient at all, a few a very large one.

The head's bias of class 0 (without a bias: its weights along the features of one repeated input) is set so high that
records labelled 0 are fitted exactly: their gradient is 0 in floating point, whatever the body does. A record labelled
1 or 2 then has the gradient of its logit, made as large as wanted by the head's weights.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.head import Head, Train, labelled, still_input
from undertow.audits.dp.odd import parameters_of
from undertow.rng import seed_for, stream
from undertow.types import Array, BadInput, Examples, Params

MARGIN = 1e6  # of class 0's bias, times clip: far above any other logit
LOUD, LOUDER = 10.0, 500.0  # norm, times clip, of the head's rows of classes 1 and 2
ALONG, ACROSS = 3e3, 2.4e4  # norms of rows 0 and 2, times clip, of a head without bias
WILD = 4.0  # times real records
FAR = 50.0  # times a real record: louder records of a head with two classes
SMALL = 0.02  # times the embeddings that are tied to a head with a bias
GAIN = 30.0  # times what lies between the two uses of tied weights
SHIFT = 1e-3  # between tensors that start alike: those that end alike nevertheless are one tensor


@dataclass(frozen=True, eq=False)
class Probe:
    """The crafted checkpoint, and records to fill it with."""

    checkpoint: Params
    data: Examples  # real records; their labels are not used
    claim: DpClaim
    seed: int
    head: Head
    classes: int

    @property
    def one_input(self) -> bool:
        """Whether all records share one input, because only its features are known."""
        return self.head.features is not None

    @property
    def can_shout(self) -> bool:
        """Whether records louder than loud can be made."""
        return self.classes > 2 or (not self.one_input and self.data.x.dtype.kind == "f")

    def records(self, loud: int = 0, louder: int = 0, wild: int = 0, run: int = 0, among: Array | None = None):  # type: ignore[no-untyped-def]
        """As many records as claimed: so many loud (label 1) and louder (label 2) ones, the rest without gradient.

        Their places are drawn for each `run` (`among`: bool (records,), loud are these instead). `wild` of the rest
        are far from the data: nothing of them may be seen in what the loud ones do.
        """
        rng = stream(self.seed, "probe records")
        n = self.claim.records
        rows = rng.integers(len(self.data), size=n)
        x, label = self._inputs(rows), np.zeros(n, int)
        order = stream(self.seed, "probe places", run).permutation(n)
        one, two, far = np.split(order[: loud + louder + wild], [loud, loud + louder])
        one = one if among is None else np.flatnonzero(among)
        if not self.one_input:
            x[one], x[two] = self.data.x[0], self.data.x[1 % len(self.data)]
        label[one], label[two] = 1, 2
        if self.classes == 2 and len(two):
            label[two] = 1
            x[two] = (FAR * self.data.x[0]).astype(x.dtype)
        x[far] = self._wild(x[far], rng)
        return Examples(x, labelled(self.data, rows, label), "crafted records")

    def varied(self, run: int) -> Examples:
        """Every record loud, with labels and inputs of all kinds: shows which numbers move with the records."""
        rng = stream(self.seed, "varied", run)
        rows = rng.integers(len(self.data), size=self.claim.records)
        label = 1 + (np.arange(self.claim.records) + run * self.claim.records) % (self.classes - 1)
        return Examples(self._inputs(rows), labelled(self.data, rows, label), "crafted records")

    def _inputs(self, rows: Array) -> Array:
        if self.one_input:
            return np.repeat(still_input(self.data)[None], len(rows), 0)
        return self.data.x[rows].copy()

    def _wild(self, x: Array, rng: np.random.Generator) -> Array:
        if x.dtype.kind in "iu":
            return rng.permutation(x.ravel()).reshape(x.shape)
        return (x * WILD).astype(x.dtype)


def make_probe(checkpoint: Params, data: Examples, claim: DpClaim, head: Head, seed: int) -> Probe:
    """Craft the checkpoint for the layer `head`."""
    old = checkpoint[head.weight]
    classes, width = old.shape
    rng = stream(seed, "probe head")
    clip = max(1.0, claim.clip)
    crafted = {name: _apart(name, value, checkpoint) for name, value in checkpoint.items()}
    rows = np.zeros((classes, width))
    twins = len(_same(checkpoint, head.weight)) > 1
    if data.of_tokens or twins:  # a tied embedding keeps its other tokens; small ones have a large share in the norm
        rows[3:] = old[3:] * (SMALL if twins and head.bias is not None else 1)
    if head.bias is not None:
        parts = np.array_split(rng.permutation(width), 2) if classes > 2 else [np.arange(width)]
        for label, part, size in zip((1, 2), parts, (LOUD, LOUDER)):
            rows[label, part] = rng.choice([-1.0, 1.0], len(part)) * size * claim.clip / np.sqrt(len(part))
        bias = np.zeros(classes)
        bias[0] = MARGIN * clip
        crafted[head.bias] = bias.astype(checkpoint[head.bias].dtype)
    else:
        assert head.features is not None
        rows[0] = ALONG * clip * head.features
        if classes > 2:
            across: Array = rng.standard_normal((width,))
            across -= (across @ head.features) * head.features
            rows[2] = ACROSS * clip * across / np.linalg.norm(across)
    for name in _same(checkpoint, head.weight):
        crafted[name] = rows.astype(old.dtype)
    return Probe(crafted, data, claim, seed, head, classes)


def amplified(probe: Probe) -> Probe:
    """The same with everything below the head times GAIN, for trainings in which every record is loud.

    The gradient that weights tied to the head get as an embedding grows with what lies between the two uses, as does
    that of the head with its inputs; the gradients in between do not. No record is silent there.
    """
    apart = {*_same(probe.checkpoint, probe.head.weight), probe.head.bias}
    grown = {
        name: value
        if name in apart or value.dtype.kind != "f" or ".running_" in f".{name}"
        else value * value.dtype.type(GAIN)
        for name, value in probe.checkpoint.items()
    }
    return replace(probe, checkpoint=grown)


def _same(checkpoint: Params, name: str) -> list[str]:
    """Names of tensors with the values of `name`: it, and what it is tied to."""
    value = checkpoint[name]
    return [key for key, other in checkpoint.items() if other.shape == value.shape and np.array_equal(other, value)]


def _apart(name: str, value: Array, checkpoint: Params) -> Array:
    """A constant tensor a little away from an earlier one that is the same: only tied ones end alike then."""
    if value.dtype.kind != "f" or not value.size or np.ptp(value):
        return value
    before = 0
    for other, content in checkpoint.items():
        if other == name:
            break
        before += content.shape == value.shape and np.array_equal(content, value)
    return value if not before else (value + SHIFT * before).astype(value.dtype)


@dataclass(frozen=True, eq=False)
class Movements:
    """How far every floating parameter moved in each training: rows of one matrix."""

    values: Array  # (R, D) float64
    parts: dict[str, slice] = field(default_factory=dict)

    def of(self, name: str) -> Array:
        """(R, size) of one tensor."""
        return self.values[:, self.parts[name]]

    def only(self, names: list[str]) -> "Movements":
        """The same trainings, with the tensors `names` alone."""
        return Movements(self.values, {name: self.parts[name] for name in names})


def movements(train: Train, probe: Probe, sets: list[Examples], purpose: str) -> Movements:
    """Train once on each of `sets` from the crafted checkpoint, each with a seed of its own.

    Raises BadInput where a tensor is missing, has another shape, or is not finite afterwards.
    """
    names = [name for name, value in probe.checkpoint.items() if value.dtype.kind == "f"]
    sizes = np.cumsum([0] + [probe.checkpoint[name].size for name in names])
    parts = {name: slice(int(a), int(b)) for name, a, b in zip(names, sizes[:-1], sizes[1:], strict=True)}
    values = np.empty((len(sets), int(sizes[-1])))
    for r, data in enumerate(sets):
        start = {name: value.copy() for name, value in probe.checkpoint.items()}
        returned = train(start, data, seed_for(probe.seed, "conformance", purpose, r) % 2**31)
        after = parameters_of(returned, f"{purpose} training {r}")
        for name in names:
            before = probe.checkpoint[name]
            if name not in after or after[name].shape != before.shape:
                raise BadInput(f"the trainer returned no {name} of shape {before.shape}: return what it was given")
            values[r, parts[name]] = (after[name].astype(float) - before.astype(float)).ravel()
        if not np.isfinite(values[r]).all():
            raise BadInput(
                "the trainer returned values that are not finite: does it clip? If it does, train in float32"
            )
    return Movements(values, parts)


def tied(movement: Movements, probe: Probe) -> list[tuple[str, str]]:
    """(kept, dropped) names of one tensor: equal in the end of every training, and not by starting and staying so."""
    names, found = list(movement.parts), []
    ends = {n: movement.of(n) + probe.checkpoint[n].astype(float).ravel() for n in names}
    gone: set[str] = set()
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            if one in gone or two in gone or probe.checkpoint[one].shape != probe.checkpoint[two].shape:
                continue
            start_one, start_two = probe.checkpoint[one], probe.checkpoint[two]
            alike = np.array_equal(start_one, start_two)
            if alike and not np.ptp(start_one):
                continue
            if movement.of(one).any() and np.array_equal(ends[one], ends[two]):
                found.append((one, two))
                gone.add(two)
    return found
