"""How sure the blind baseline is: its scores are cross-validated, so those of one membership draw depend on each other.

Over 400 random halves of real records the AUC of blind guesses had a standard deviation of .038 where independent
scores would have .029. With several draws the difference between models shows it; with few, the null is simulated.
"""

from collections.abc import Sequence

import numpy as np

from undertow.attacks.population import blind
from undertow.engine.membership import redraw
from undertow.metrics import auc
from undertow.metrics.limits import with_error
from undertow.rng import stream
from undertow.types import Array, Evidence, Measurement, Scores

NAME = "blind"
FEW = 4  # audited models, up to which the null is simulated
REDRAWS = 40
LEAST = 8  # redraws, below which a standard deviation is not worth having
WORK = 2e11  # multiplications in all
METRICS = ("auc", "balanced_accuracy")


def with_blind_error(
    rows: Sequence[Measurement], scores: Sequence[Scores], evidence: Evidence, seed: int, targets: Array | None = None
) -> tuple[Measurement, ...]:
    """The rows; those of the blind baseline with the error it has when membership is dealt again, if that is larger."""
    own = next((s for s in scores if s.attack == NAME and s.group is None), None)
    if own is None or evidence.features is None or len(own.values) > FEW:
        return tuple(rows)
    models, points = own.values.shape
    count = int(min(REDRAWS, WORK / (models * points**3 / 75)))
    if count < LEAST:
        return tuple(rows)
    audited = np.arange(len(evidence.member)) if targets is None else targets
    rng, found = stream(seed, "blind"), []
    for _ in range(count):
        member = redraw(evidence.member, rng, evidence.groups)[audited]
        found.append(auc(blind(evidence.features, member, rng), member))
    null = float(np.sqrt(np.mean(np.square(np.array(found) - 0.5))))
    return tuple(
        with_error(m, max(m.error or 0.0, null * _narrower(m)))
        if m.attack == NAME and m.group is None and m.metric in METRICS
        else m
        for m in rows
    )


def _narrower(m: Measurement) -> float:
    """What becomes of the error at chance, 1 there, where the value lies near an end of its scale.

    It shrinks as the deviation of a share does. Without that, a blind guess of AUC .99 would be "compatible with .5".
    """
    value = 0.5 if m.value is None else m.value
    return float(2 * np.sqrt(max(value * (1 - value), 0.0)))
