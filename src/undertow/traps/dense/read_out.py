"""Reading traps out of a model that only answers: their weights by finite differences across their kinks.

Along a line a ReLU network is piecewise linear. Where a trap's unit opens, the gradient of the logits jumps by w, the
unit's weights, times what the unit adds to each logit: differences of the answers on both sides give w up to a factor,
and the kink's place gives the threshold. The factor shows at the coordinates where the record is zero: there the
weights are those that were planted. A record is then what the two differ by (`recorder`), as with the weights in
hand. Derived from section 4 of our specification; no code is published.

Needed are the logits of every class, with nearly all of their digits, of inputs that the querier chooses freely:
2 (D + 1) queries for a gradient's jump, and about 100 to find the kink. A trap that holds a record is shut for all
data, so that the inputs lie outside of the data; `box` keeps them within the range of valid values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from undertow.traps.acceptance import accept
from undertow.traps.dense.mlp import MlpTrap
from undertow.traps.recorder import Candidates, Written
from undertow.types import Array, BadInput

Oracle = Callable[[Array], Array]  # inputs (n, D) -> logits (n, C); the inputs of the trapped layer
PLACES = 97  # on the line, where the slope is looked at first
NARROWED = 0.2  # of its length, to which the interval around a kink shrinks
ROUNDS = 5
BEYOND = 6.0  # how far behind the planted threshold a kink may lie
ZEROS = 0.2  # of a record's coordinates are zero, at least
SPREAD = 0.02  # relative, by which the factors that these show may differ
NO_KINK, NO_SCALE = "no kink found", "no scale: the record has too few zeros"


@dataclass(frozen=True, eq=False)
class Asked:
    """What was read by queries, and how many it took."""

    candidates: Candidates
    queries: int


def read_out(
    oracle: Oracle,
    trap: MlpTrap,
    starts: Array,
    *,
    step: float = 1e-3,
    box: tuple[float, float] | None = None,
    ajar: bool = True,
) -> Asked:
    """What the traps hold, from answers alone; the readings pass the same tests as others.

    `starts` (R, D): inputs from which each trap's kink is looked for; what they show is averaged by the median. `step`:
    of finite differences, the larger the fewer digits the answers have. `box`: the range of inputs that are answered;
    None: any are. `ajar`: another trap is held open meanwhile, which is exact where answers have all their digits and
    worse where they have few. BadInput for answers that are no logits of every class, and for traps with detectors.
    """
    if len(trap.detectors):
        raise BadInput("these traps have detectors, whose kinks hide those of the units that are written to")
    ask = _Counted(oracle)
    planted = trap.rows * trap.directions
    found, kinks = np.full_like(planted, np.nan), np.full(len(planted), np.nan)
    for k in range(len(planted)):
        begin = _ajar(starts, trap, k) if ajar and box is None else starts
        seen = [unit for x in begin if (unit := _unit(ask, x, planted[k], trap.thresholds[k], step, box)) is not None]
        if seen:
            found[k], kinks[k] = np.median([w for w, _ in seen], 0), np.median([t for _, t in seen])
    factor = np.array([scale(w, p) for w, p in zip(found, planted)])
    after, shift = factor[:, None] * found, -factor * kinks
    step_b = shift + trap.rows * trap.thresholds
    known = np.isfinite(factor)
    written = Written(np.where(known[:, None], after - planted, 0)[:, None], np.where(known, step_b, 0)[:, None])
    held = accept(
        written, lambda x: np.einsum("kpd,kd->kp", x, trap.directions) - trap.thresholds[:, None], trap.domain
    )
    reasons = held.reasons.copy()
    reasons[np.isnan(kinks), 0], reasons[~np.isnan(kinks) & ~known, 0] = NO_KINK, NO_SCALE
    return Asked(Candidates(held.values, held.step, reasons == "", reasons), ask.queries)


def scale(direction: Array, planted: Array) -> float:
    """The factor from `direction` (D,) to weights that differ from `planted` (D,) where the record is not zero.

    The closest `ZEROS` of the coordinates' ratios; NaN where even these differ.
    """
    ratios = np.sort(planted / np.where(direction == 0, np.nan, direction))
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    size = int(np.ceil(ZEROS * len(planted)))
    if len(ratios) < size:
        return float("nan")
    reach = ratios[size - 1 :] - ratios[: len(ratios) - size + 1]
    best = int(np.argmin(reach / ratios[size - 1 :]))
    inside = ratios[best : best + size]
    return float(np.median(inside)) if reach[best] <= SPREAD * inside[-1] else float("nan")


class _Counted:
    """An oracle that counts, and refuses answers in which a kink does not show."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle, self.queries = oracle, 0

    def __call__(self, x: Array) -> Array:
        self.queries += len(x)
        answer = np.asarray(self.oracle(x))
        if answer.ndim != 2 or len(answer) != len(x) or answer.dtype.kind != "f":
            raise BadInput("weights can only be read out of the logits of every class: labels show no slope")
        if not np.isfinite(answer).all():
            raise BadInput("weights can only be read out of the logits of every class: a top-k leaves holes in them")
        return answer.astype(np.float64)


def _ajar(starts: Array, trap: MlpTrap, k: int) -> Array:
    """The starts, moved to where another trap is far open, but not towards trap k.

    Else trap k's opening would open the channel with it, and what finetuning made of the channel's other inputs would
    show in the jump.
    """
    if len(trap.directions) < 2:
        return starts
    own, other = trap.directions[k], trap.directions[k - 1]
    aside = other - (other @ own) * own
    reach = trap.thresholds[k - 1] - starts @ other + BEYOND
    moved: Array = starts + (reach / (aside @ other))[:, None] * aside
    return moved


def _unit(
    ask: _Counted, start: Array, planted: Array, threshold: float, step: float, box: tuple[float, float] | None
) -> tuple[Array, float] | None:
    """Direction (D,) of unit length and threshold of the unit whose planted weights are these; None: no kink."""
    line = planted / np.linalg.norm(planted)
    low, high = threshold - start @ line - 1.0, threshold - start @ line + BEYOND
    if box is not None:  # towards the corner that fires it most
        corner = np.where(planted > 0, box[1], box[0])
        line, low, high = corner - start, 0.02, 0.98
    place = _kink(ask, start, line, low, high, step)
    if place is None:
        return None
    before, after = (_gradient(ask, start + (place + side) * line, step, box) for side in (-2 * step, 2 * step))
    left, _, _ = np.linalg.svd(after - before, full_matrices=False)
    direction = left[:, 0] * np.sign(left[:, 0] @ line)
    return direction, float(direction @ (start + place * line))


def _kink(ask: _Counted, start: Array, line: Array, low: float, high: float, step: float) -> float | None:
    """Where on the line the slope changes most; None where it hardly does."""
    at = np.linspace(low, high, PLACES)
    change = np.abs(np.diff(ask(start + at[:, None] * line), 2, axis=0)).max(1)
    best = int(change.argmax())
    if not change[best] > 10 * np.median(change):
        return None
    low, high, place = at[best], at[best + 2], at[best + 1]
    for _ in range(ROUNDS):
        part = (high - low) / 8
        t = np.array([low, low + part, high - part, high])
        a, b, c, d = ask(start + t[:, None] * line)
        one, two = (b - a) / part, (d - c) / part
        which = int(np.abs(two - one).argmax())
        if two[which] == one[which]:
            return None
        place = low + ((d - a)[which] - two[which] * (high - low)) / (one[which] - two[which])
        place = float(np.clip(place, low, high))
        half = max(NARROWED * (high - low) / 2, 4 * step)
        low, high = place - half, place + half
    return float(place)


def _gradient(ask: _Counted, x: Array, step: float, box: tuple[float, float] | None) -> Array:
    """(D, C): of the logits, by one-sided differences that stay in the box."""
    signs = np.ones(len(x)) if box is None else np.where(x + step > box[1], -1.0, 1.0)
    answers = ask(np.vstack([x, x + step * np.diag(signs)]))
    gradient: Array = (answers[1:] - answers[0]) / (step * signs[:, None])
    return gradient
