"""Data traps in two dense layers with a ReLU after each (Feng & Tramer 2024, section 2 of our specification).

Unit k of the first layer fires on few records. All units feed *one* unit of the next layer, the channel: whatever the
fresh head does with it, it does so for every trap, so that where several traps fire at once all are pushed the same
way, and the way is shut: a record drives the logits to the head's largest class c of the channel, and the step is
proportional to a_c - a_y >= 0. (One channel per trap, as published, lets traps push each other open: see LOG.md.)

A record just above the threshold does not saturate the softmax, and its step may tear the unit open as far as another
shuts one. Where slope and rows are planned, a trap is therefore two units with one threshold: a loud detector, which
drives the channel and which a step hardly moves, and a unit that is written to, which a step shuts for good and which
is not heard. Torn open, the first is open a little, and the second does the model no harm.

Off a grid of values nothing in a reading says that it is one record. There detectors drive two channels alike, the
units of a pair lean to one channel each, and a record's share in unit u is (1 + lean_u) d + (1 - lean_u) d', with
d = sum_c (p_c - [c = y]) a_c for the one channel's head column a, and d' for the other's. Records of different labels
differ in d / d', so that a mixture of them is mixed in other shares in the two units, which then do not agree. Records
of one label on which the softmax saturates have the same d and d': of them a mixture agrees.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undertow.traps.acceptance import APART, SAME, Domain, accept, agreeing, domain_of, first_accepted, looking_single
from undertow.traps.baits import Baits, choose_baits, thresholds
from undertow.traps.dense.below import features, records
from undertow.traps.mixtures import PASSED, SingleTest, single_test
from undertow.traps.recorder import Candidates, Recorder, Written, written
from undertow.traps.rounding import on_grid, reach
from undertow.traps.trap import tensor
from undertow.types import Array, BadInput, Params

SLOPE = 1500.0  # gain from trap activation w.x to channel; records just above the threshold saturate the softmax
ROWS = 4.0  # length of a trap's weights: the longer, the less one step shuts it (and the less it can be torn open)
LOUD = 60.0  # what the channel shows of a typical record that fires, where slope is planned
SHUT = 40.0  # slope x overlap x rate / rows^2, in typical excesses over the threshold, where rows is planned
WRITTEN = 1000.0  # the same of the units that are written to, where they have detectors
WHISPER = 0.01  # their weights, of the detectors': torn open, they are not heard
NESTED = 0.5  # of the share that fires a trap, the share that fires its upper unit too; 0: no upper units
HUSHED = 0.1  # an upper unit's weights, of a trap's: it is written to alike, but hardly drives the channel when alone
LEAN = 0.3  # weight difference between the two channels; only their sum has to close a trap
AGREED = 0.05  # of mixtures, the share that may look like a record where two units must agree besides
NEVER = 1e3  # threshold, in lengths of the largest auxiliary record, of the idle unit


@dataclass(frozen=True, eq=False)
class MlpTrap:
    """Traps in the dense layer `layer`, whose ReLU feeds the dense layer `following`."""

    layer: str  # prefix of .weight (H, D) and .bias (H,)
    following: str  # prefix of the next dense layer's
    units: Array  # (K,) int, hidden units that are written to
    idle: int  # a hidden unit that never fires
    channel: int  # the unit of the next layer that all traps feed
    directions: Array  # (K, D) float64
    thresholds: Array  # (K,) float64
    domain: Domain
    upper: Array  # (K,) int, hidden units with the same direction and a higher threshold; or (0,)
    upper_thresholds: Array  # (K,) or (0,)
    detectors: Array  # (K,) int, hidden units that drive the channel in place of those that are written to; or (0,)
    slope: float = SLOPE
    rows: float = ROWS
    quiet: float = ROWS  # length of the weights of upper units, and of units that detectors stand for
    gain: float = SLOPE / ROWS  # with which these feed the channel
    single: SingleTest | None = None  # of readings, where records lie on no grid
    second: int | None = None  # another channel, where records lie on no grid
    below: tuple[str, ...] = ()  # prefixes of the dense layers below, the first one first; records are their inputs
    head: str = ""  # prefix of the head, where it is the attacker's; empty: the victim takes a fresh one
    wrong: tuple[int, int] = (0, 0)  # the classes that the channel and the second one then speak for
    kind: ClassVar[str] = "mlp"

    def recorder(self, units: Array) -> Recorder:
        """How records will stand in these units."""
        columns = np.arange(self.directions.shape[1])
        return Recorder(
            f"{self.layer}.weight", f"{self.layer}.bias", units[:, None], columns, idle=np.array([self.idle])
        )

    @property
    def tensors(self) -> tuple[str, ...]:
        return f"{self.layer}.weight", f"{self.layer}.bias"

    def edits(self, params: Params) -> Params:
        w, b = tensor(params, f"{self.layer}.weight"), tensor(params, f"{self.layer}.bias")
        next_w, next_b = tensor(params, f"{self.following}.weight"), tensor(params, f"{self.following}.bias")
        next_w[:, [*self.units, *self.upper, *self.detectors, self.idle]] = 0
        channels = np.array([self.channel] if self.second is None else [self.channel, self.second])
        next_w[channels], next_b[channels] = 0, 0
        lean = LEAN * np.array([0.0] if self.second is None else [1.0, -1.0])
        loud, quiet = (self.rows, self.slope / self.rows), (self.quiet, self.gain)
        for units, limits, (length, gain), share in (
            (self.units, self.thresholds, quiet if len(self.detectors) else loud, 1 + lean),
            (self.upper, self.upper_thresholds, quiet, 1 - lean),
            (self.detectors, self.thresholds, loud, np.ones(len(channels))),
        ):
            if len(units):
                w[units], b[units] = length * self.directions, -length * limits
                next_w[channels[:, None], units] = gain * share[:, None]
        length = self.quiet if len(self.detectors) else self.rows
        w[self.idle] = length * self.directions[0]
        b[self.idle] = -NEVER * length * (1 + np.abs(self.thresholds).max())
        return {
            f"{self.layer}.weight": w, f"{self.layer}.bias": b,
            f"{self.following}.weight": next_w, f"{self.following}.bias": next_b, **self._crafted(params),
        }  # fmt: skip

    def _crafted(self, params: Params) -> Params:
        """The head, channels wired to one `wrong` class each: every other class's records shut their traps."""
        if not self.head:
            return {}
        weight = tensor(params, f"{self.head}.weight")
        for channel, wrong in zip((self.channel, self.second), self.wrong, strict=True):
            if channel is not None:
                weight[:, channel] = 0
                weight[wrong, channel] = weight.shape[1] ** -0.5  # the longest of a fresh dense layer's weights
        return {f"{self.head}.weight": weight}

    def read(self, before: Params, after: Params) -> Candidates:
        """Two records in one batch mix in the lower unit; if one of them passed the upper threshold too, the upper unit
        holds that one and the difference of the two units holds the other.

        Where records lie on no grid, only readings count on which both units agree; where these speak on one channel,
        a mixture may pass that, and readings must look like one record too. What half precision rounded off is put back
        onto the grid where that is certain. Above other layers the record is what these make the copied features of.
        """

        def judged(found: Written, limits: Array, *units: Array) -> Candidates:
            if self.below:
                found = Written(records(before, self.below, found.values) * found.step[..., None], found.step)
            else:
                found = on_grid(found, [reach(after, self.recorder(one)) for one in units], self.domain)
            return accept(found, lambda x: self._score(features(before, self.below, x)) - limits[:, None], self.domain)

        lower = written(before, after, self.recorder(self.units))
        alone = judged(lower, self.thresholds, self.units)
        if self.single is not None:
            alone = looking_single(alone, self.single(alone.values[:, 0]))
        if not len(self.upper):
            return alone
        upper = written(before, after, self.recorder(self.upper))
        above = judged(upper, self.upper_thresholds, self.upper)
        if not self.domain.grid:
            return agreeing(alone, above, APART if self.second is None else SAME)
        between = judged(lower - upper, self.thresholds, self.units, self.upper)
        return first_accepted([above, between, alone])

    def _score(self, values: Array) -> Array:
        score: Array = np.einsum("kpd,kd->kp", values, self.directions)
        return score


def loudness(auxiliary: Array, baits: Baits, rate: float) -> tuple[float, float, float, float]:
    """(slope, rows, quiet, gain) for inputs of any size; fitted on CIFAR-10 images, development seeds 100 to 105.

    `rate`: the victim's learning rate divided by its batch, as far as it is guessed. A typical record that fires a trap
    exceeds its threshold by `excess`; a step on it moves others by their `overlap` with it, times the unit's gain over
    the length of its weights.
    """
    over = auxiliary @ baits.directions.T - baits.thresholds
    excess = float(over[over > 0].mean())
    overlap = float(np.median(auxiliary @ auxiliary.mean(0))) + 1
    slope = LOUD / excess
    rows = float(np.sqrt(slope * overlap * rate / (SHUT * excess)))
    quiet = WHISPER * rows
    return slope, rows, quiet, quiet * WRITTEN * excess / (overlap * rate)


@dataclass(frozen=True)
class Whisper:
    """For victims that train with Adam, whose steps keep the sign of a gradient but not its size.

    Units whose gradient is far below Adam's epsilon move in proportion to it after all. They are `quiet` so that such
    a step shuts them, and feed the channel by next to nothing; ordinary units beside them, the detectors, drive it.
    """

    lr: float = 1e-3  # the victim's, as far as it is guessed
    epsilon: float = 1e-8  # Adam's
    drive: float = 1e-3  # gradient of the channel that a fresh head is expected to give
    quiet: float = 1e-8  # length of the weights
    strength: float = 10.0  # how many times over one step shuts the unit: a later one is a tenth of the first

    def gain(self, auxiliary: Array) -> float:
        """The weight to the channel: one step moves the unit by `strength` times what shuts it for typical records."""
        overlap = float(np.median(auxiliary @ auxiliary.mean(0))) + 1
        gradient = self.strength * self.quiet * self.epsilon / (0.1 * self.lr * overlap)
        return gradient / self.drive


def mlp_trap(
    params: Params,
    auxiliary: Array,
    traps: int,
    share: float,
    rng: np.random.Generator,
    *,
    layer: str,
    following: str,
    slope: float = SLOPE,
    rows: float = ROWS,
    rate: float = 0.0,
    nested: float = NESTED,
    whisper: Whisper | None = None,
    below: tuple[str, ...] = (),
    head: str = "",
    labels: Array | None = None,
) -> MlpTrap:
    """Traps for the dense layer `layer`, in the hidden units that the next layer makes least use of.

    `auxiliary` (N, D): inputs of that layer, of records that the victim does not have, or of the first of the dense
    layers `below` it, with a ReLU after each; `share`: of such inputs, how
    many fire a trap (`best_expected(records, batch) / records`); `whisper`: for victims that use Adam or AdamW;
    `rate`: the victim's learning rate over its batch, from which `slope` and `rows` are planned, and detectors are
    planted (0: they are as given, and units drive the channel themselves); `head`: the head, for a victim who keeps it:
    it is wired to the class that fewest auxiliary records that fire a trap have, by their `labels` (N,).
    BadInput where there is no room for the traps.
    """
    seen = np.asarray(auxiliary, np.float64).reshape(len(auxiliary), -1)
    auxiliary = features(params, below, seen)
    groups = np.array([1, traps, traps * bool(nested), traps * (whisper is not None or rate > 0)])
    if traps < 1:
        raise BadInput(f"{traps} traps: plant at least 1")
    domain = domain_of(seen)
    leaning = rate > 0 and bool(nested) and not domain.grid
    *taken, second, channel = room_for(params, auxiliary, int(groups.sum()), layer, following, 2)
    idle, units, upper, detectors = np.split(np.array(taken), np.cumsum(groups)[:-1])
    baits = choose_baits(auxiliary, traps, share, rng)
    limits = thresholds(auxiliary @ baits.directions.T, nested * share) if nested else np.empty(0)
    quiet, gain = HUSHED * rows, HUSHED * slope / rows
    if rate:
        slope, rows, quiet, gain = loudness(auxiliary, baits, rate)
    if whisper:
        quiet, gain = whisper.quiet, whisper.gain(auxiliary)
    passed = AGREED if nested else PASSED
    single = None if domain.grid or leaning else single_test(seen, auxiliary @ baits.directions.T, share, rng, passed)
    wrong = (0, 0) if labels is None else rarest(labels, baits.fires(auxiliary))
    return MlpTrap(
        layer, following, units, int(idle[0]), channel, baits.directions, baits.thresholds, domain, upper, limits,
        detectors, slope, rows, quiet, gain, single, second if leaning else None, below, head, wrong,
    )  # fmt: skip


def rarest(labels: Array, fired: Array) -> tuple[int, int]:
    """The two classes that the fewest of the records that fire a trap, by `fired` (N, K), have: these are lost."""
    counts = np.bincount(labels, weights=fired.sum(1), minlength=int(labels.max()) + 1)
    least, second = counts.argsort(kind="stable")[:2].tolist()
    return least, second


def room_for(params: Params, auxiliary: Array, units: int, layer: str, following: str, channels: int = 1) -> list[int]:
    """The `units` hidden units that the following layer makes least use of, and then its own `channels` least active
    units, the least active one last.

    BadInput where the layers do not follow each other, or where that would take more than three quarters of them.
    """
    w, next_w = tensor(params, f"{layer}.weight"), tensor(params, f"{following}.weight")
    if w.ndim != 2 or next_w.ndim != 2 or next_w.shape[1] != len(w) or w.shape[1] != auxiliary.shape[1]:
        raise BadInput(
            f"{layer} {w.shape} and {following} {next_w.shape} do not follow each other, or do not read "
            f"inputs of width {auxiliary.shape[1]}"
        )
    if units > len(w) * 3 // 4:
        raise BadInput(
            f"{layer} has {len(w)} units: the traps need {units}, and at most {len(w) * 3 // 4} can be taken"
        )
    hidden = np.maximum(auxiliary @ w.T + tensor(params, f"{layer}.bias"), 0)
    beyond = np.maximum(hidden @ next_w.T + tensor(params, f"{following}.bias"), 0)
    least_used = np.argsort(hidden.mean(0) * np.linalg.norm(next_w, axis=0), kind="stable")
    idlest = np.argsort(beyond.mean(0), kind="stable")[:channels][::-1]
    return [*least_used[:units].tolist(), *idlest.tolist()]
