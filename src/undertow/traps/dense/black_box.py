"""Was one chosen record in the finetuning data? One query of the finetuned model tells (Feng & Tramer 2024, section 4).

A trap that fires on that record alone is shut by the first step on it. If the record was there, the finetuned model
answers it as any other; if not, the trap is still open and drives the answer far beyond what the model says otherwise.
Needs the logits or log-probabilities of inputs in the data domain; the weights are never seen again.
"""

import numpy as np

from undertow.traps.acceptance import domain_of
from undertow.traps.dense.mlp import MlpTrap, room_for
from undertow.types import Array, BadInput, Params

STEPS = 500  # of the search for a direction
SHUT = 40.0  # slope x overlap x rate / rows^2, in leads over the threshold
SEEN = 3000.0  # what the channel shows of the chosen record while the trap is open
OPEN = -3.0  # score below which the trap is taken to be open: fixed before any trial
ABOVE = 0.85  # where the threshold lies between the nearest auxiliary record's score and the chosen one's


def membership_trap(
    params: Params,
    auxiliary: Array,
    record: Array,
    *,
    layer: str,
    following: str,
    rate: float,
) -> MlpTrap:
    """One trap that fires on `record` (D,) and on none of `auxiliary` (N, D).

    `rate`: the victim's learning rate over its batch, as far as it is guessed: one step must shut the trap. BadInput
    where the auxiliary data hold the record itself, or no direction tells it from them.
    """
    auxiliary, record = np.asarray(auxiliary, np.float64).reshape(len(auxiliary), -1), np.ravel(record).astype(float)
    idle, unit, channel = room_for(params, auxiliary, 2, layer, following)
    direction = telling(record, auxiliary)
    nearest, own = float((auxiliary @ direction).max()), float(record @ direction)
    if not own > nearest:
        raise BadInput("the chosen record cannot be told from the auxiliary data: some of them fire whatever it fires")
    threshold = nearest + ABOVE * (own - nearest)
    slope = SEEN / (own - threshold)
    rows = float(np.sqrt(slope * (record @ record + 1) * rate / (SHUT * (own - threshold))))
    return MlpTrap(
        layer, following, np.array([unit]), idle, channel, direction[None], np.array([threshold]),
        domain_of(auxiliary), np.empty(0, int), np.empty(0), np.empty(0, int), slope, rows,
    )  # fmt: skip


def telling(record: Array, auxiliary: Array) -> Array:
    """The unit direction (D,) in which `record` leads all of `auxiliary` (N, D) most, as far as it was found.

    Begins with the discriminant of the record and the rest, then follows the subgradient of the lead.
    """
    spread = np.cov(auxiliary.T) + 1e-2 * auxiliary.var() * np.eye(len(record))
    direction = np.linalg.solve(spread, record - auxiliary.mean(0))
    best, lead = direction, -np.inf
    for step in range(1, STEPS + 1):
        direction = direction / max(float(np.linalg.norm(direction)), 1e-300)
        scores = (auxiliary - record) @ direction
        if -scores.max() > lead:
            best, lead = direction, -scores.max()
        direction = direction + (record - auxiliary[scores.argmax()]) / np.sqrt(step)
    return best


def open_score(answer: Array, others: Array) -> float:
    """How far the model's answer to the chosen record is from those to `others`; higher = member.

    `answer` (C,) logits or log-probabilities, `others` (N, C) of auxiliary records. The range of the answer, in units
    of the largest range among the others, negated: above OPEN says that the trap is shut. BadInput for answers that
    are labels or a part of the classes: the test needs all of them.
    """
    if answer.ndim != 1 or len(answer) < 2 or others.ndim != 2 or others.shape[1] != len(answer):
        raise BadInput("the black-box test needs the logits of every class: labels or a top-k do not show the trap")
    if not (np.isfinite(answer).all() and np.isfinite(others).all()):
        raise BadInput("an answer holds NaN or infinity: give logits, not the logarithm of rounded probabilities")
    return -float(np.ptp(answer) / max(np.ptp(others, axis=1).max(), 1e-300))
