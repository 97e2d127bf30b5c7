"""Which attacks are too dear to run unasked: those that train a network, or solve a system, for every target and point.

The estimate is a formula, not a measurement, so that the same file always runs the same attacks.
"""

import numpy as np

from undertow.attacks.attack import Attack
from undertow.engine.membership import balanced, folds
from undertow.types import Array, Evidence

SECONDS = 3.0  # one attack may take about so long unasked


def too_dear(attack: Attack, evidence: Evidence, targets: Array | None) -> str | None:
    """Why `attack` is not run unless it is asked for; None where it is cheap."""
    seconds = estimate(attack, evidence, targets)
    if seconds <= SECONDS:
        return None
    about = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    return f"about {about} of CPU time on a file of this size"


def estimate(attack: Attack, evidence: Evidence, targets: Array | None) -> float:
    """About how many seconds of CPU time it takes."""
    logits = evidence.pretrained_logits if attack.kind == "direct" else evidence.logits
    if not attack.shadows or attack.in_turn is not None or logits is None:
        return 0.0
    member = evidence.member
    if targets is not None:
        count = 1
    else:
        count = len(member) if balanced(member) else len(folds(member))
    numbers = float(np.prod(logits.shape))
    return float(count * (attack.point_seconds * member.shape[1] + attack.number_seconds * numbers))
