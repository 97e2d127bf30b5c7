"""The bootstrap: pairs are sorted once, and a resample is nothing but an integer weight per unit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from undertow.types import Array, BadInput, Scores

CELLS = 200_000  # weights held at once: a block stays in the L2 cache (8 MB at most, whatever the audit)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The pooled (target, point) pairs of one attack in ascending order of score: all that a ROC curve sees.

    A unit is what is drawn again in a resample: a model (row of the scores) where there are at least two,
    otherwise a point. Points inside one trained model are not independent trials.
    """

    unit: str  # "models" or "points"
    size: int  # U, number of units
    members: Array  # (m,) int, the unit of each member pair, ascending in score
    non_members: Array  # (n,) int, the unit of each non-member pair, ascending in score
    below: Array  # (m,) int, how many non-members score lower than this member
    up_to: Array  # (m,) int, how many score lower or the same
    passed: Array  # (n,) int, how many members score lower than or the same as this non-member
    carriers: tuple[Array, Array]  # the units that hold members, the units that hold non-members

    @property
    def strata(self) -> tuple[Array, ...]:
        """What is drawn from: all models together, or the points of each class, so that both stay present."""
        return self.carriers if self.unit == "points" else (np.arange(self.size),)

    @property
    def units(self) -> int:
        """How many units the rarer class is spread over."""
        return min(len(carrier) for carrier in self.carriers)


def unit_of(scores: Scores) -> Array:
    """The unit of every pair, (T, Q) int: its model, or its point where there is one model only."""
    models, points = scores.member.shape
    own = np.arange(models)[:, None] if models > 1 else np.arange(points)
    return np.broadcast_to(own, scores.member.shape)


def rank(scores: Scores) -> Ranking:
    """The ranking of `scores`; BadInput where a class is missing, since nothing can then be told apart."""
    member = scores.member.ravel()
    for present, name in ((member, "members"), (~member, "non-members")):
        if not present.any():
            raise BadInput(f"{scores.attack}: no {name} among {member.size} scored pairs; both are needed")
    order = np.argsort(scores.values, axis=None, kind="stable")
    values, member, unit = scores.values.ravel()[order], member[order], unit_of(scores).ravel()[order]
    inside, outside = values[member], values[~member]
    models, points = scores.member.shape
    return Ranking(
        unit="models" if models > 1 else "points",
        size=models if models > 1 else points,
        members=unit[member],
        non_members=unit[~member],
        below=np.searchsorted(outside, inside, "left"),
        up_to=np.searchsorted(outside, inside, "right"),
        passed=np.searchsorted(inside, outside, "right"),
        carriers=(np.unique(unit[member]), np.unique(unit[~member])),
    )


def draws(ranking: Ranking, rng: np.random.Generator, count: int) -> Iterator[Array]:
    """`count` resamples in blocks (b, U) int32: how often each unit was drawn, with replacement."""
    block = max(1, CELLS // (len(ranking.members) + len(ranking.non_members)))
    for start in range(0, count, block):
        yield np.stack([_draw(ranking, rng) for _ in range(min(block, count - start))])


def _draw(ranking: Ranking, rng: np.random.Generator) -> Array:
    while True:
        weights = np.zeros(ranking.size, np.int32)
        for units in ranking.strata:
            drawn = units[rng.integers(len(units), size=len(units))]
            weights += np.bincount(drawn, minlength=ranking.size).astype(np.int32)
        # Models that carry one class only may leave the other out: such a draw has no ROC, draw again.
        if all(weights[carrier].any() for carrier in ranking.carriers):
            return weights


def roc_numbers(ranking: Ranking, weights: Array, fprs: Sequence[float] | Array) -> Array:
    """AUC, then the TPR at each of F false positive rates, (B, 1 + F), of B weighted samples (B, U) int.

    Equal to the last bit to `auc` and `tpr_at` of the sample in which every unit is written out as often as
    its weight says: ranks are integers, and a cumulative weight *is* a rank.
    """
    hits = weights.take(ranking.members, 1)
    members, non_members = _ranks(hits), _ranks(weights.take(ranking.non_members, 1))
    m, n = members[:, -1:].astype(np.int64), non_members[:, -1:].astype(np.int64)
    # Twice the concordant pairs, so that a tie counts one and the sum stays an integer.
    concordant = sum(
        np.einsum("bi,bi->b", non_members.take(lower, 1), hits, dtype=np.int64)
        for lower in (ranking.below, ranking.up_to)
    )
    auc = np.asarray(concordant)[:, None] / (2 * m * n)
    wanted = np.ceil((n - 1) * (1 - np.asarray(fprs, float))).astype(np.int32) + 1  # method="higher"
    at = np.array([np.searchsorted(ranks[1:], want) for ranks, want in zip(non_members, wanted)])
    not_above = np.take_along_axis(members, ranking.passed[at], 1)
    return np.column_stack([auc, (m - not_above) / m])


def _ranks(weights: Array) -> Array:
    """Cumulative weights along the last axis with a leading 0, (B, n) -> (B, n + 1)."""
    result = np.zeros((len(weights), weights.shape[1] + 1), np.int32)
    np.cumsum(weights, 1, out=result[:, 1:])
    return result
