"""How many records an adversary asks about at once: some rules score a record by the answers at others, too.

Such a rule reaches its number only where the adversary holds as many records as the audit has challenge points.
The rows of this module say what it reaches with fewer.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from undertow.attacks.attack import Attack
from undertow.attacks.catalog import ATTACKS
from undertow.audits.in_turn import at_points
from undertow.audits.leakage import attack_all
from undertow.engine.membership import Fold
from undertow.metrics import measure
from undertow.rng import stream
from undertow.types import Array, Evidence, Measurement, Scores

TOGETHER = "asked together"  # group of the rows, and the key in the result's environment
COUNTS = (1, 10, 50)  # records; all challenge points always
FPRS = (0.01,)


def asked_together(names: Sequence[str], member: Array, targets: Array | None) -> dict[str, int]:
    """For each attack of `names` that scores a point by the target's other answers too: how many it is given.

    `member` (M, Q); `targets` are the held-out models, None where each is attacked in turn.
    """
    shadows = member if targets is None else np.delete(member, targets, 0)
    left = int(np.minimum(shadows.sum(0), (~shadows).sum(0)).min()) - (targets is None)  # the target itself is out
    together = [name for name in names if _together(ATTACKS[name], left)]
    return dict.fromkeys(together, int(member.shape[1]))


def _together(attack: Attack, shadows: int) -> bool:
    return attack.together and (attack.alone_from is None or shadows < attack.alone_from)


def together_rows(
    evidence: Evidence, folds: Sequence[Fold], scores: Sequence[Scores], names: Sequence[str], seed: int
) -> tuple[Measurement, ...]:
    """AUC and TPR@1% of each attack of `names` in `scores` when 1, 10, 50 or all records are asked together.

    `scores` are those of `evidence` and `folds`, all records together. The rows carry group "asked together" and,
    as `at`, the number of records. A rule that compares records has a reason in place of its value at one record.
    """
    return tuple(
        row for s in scores if s.attack in names and s.group is None for row in _rows_of(evidence, folds, s, seed)
    )


def _rows_of(evidence: Evidence, folds: Sequence[Fold], everyone: Scores, seed: int) -> list[Measurement]:
    points = everyone.values.shape[1]
    counts = (*(k for k in COUNTS if k < points), points)
    rows: list[Measurement] = []
    for k in counts:
        few = k < ATTACKS[everyone.attack].least
        values = everyone.values if few or k == points else in_groups(evidence, folds, everyone.attack, k, seed)
        scored = replace(everyone, values=values)
        measured = measure(scored, stream(seed, "halves", "", everyone.attack), fprs=FPRS)  # as the ordinary row
        said = (_unknown(row, k) if few else row for row in measured if row.metric != "balanced_accuracy")
        rows += [replace(row, group=TOGETHER, at=float(k)) for row in said]
    return rows


def in_groups(evidence: Evidence, folds: Sequence[Fold], name: str, k: int, seed: int) -> Array:
    """Scores (T, Q) of attack `name`, each record asked about together with k - 1 others drawn at random.

    Shadow models, too, are asked about the k records alone: the adversary holds no others. The scores of the groups
    are put side by side as they are. A last group that falls short is filled up with records of the first ones,
    whose scores it does not give.
    """
    points = evidence.member.shape[1]
    order = stream(seed, "together", k).permutation(points)
    columns: dict[int, Array] = {}
    for first in range(0, points, k):
        own = order[first : first + k]
        group = np.sort(np.concatenate([own, order[: k - len(own)]]))
        (scores,) = attack_all(at_points(evidence, group), folds, [name], seed)
        columns |= {int(q): scores.values[:, np.searchsorted(group, q)] for q in own}
    return np.stack([columns[q] for q in range(points)], 1)


def _unknown(row: Measurement, k: int) -> Measurement:
    least = ATTACKS[row.attack].least
    reason = f"{row.attack} compares records with each other: it needs at least {least}, not {k}"
    return replace(
        row, value=None, low=None, high=None, error=None, df=None, effective=None, reason=reason, warning=None
    )
