"""The test of a claim from scores: one p-value, by what is guessed for the bound that assumes nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from undertow.audits.dp.claimed import Claimed
from undertow.metrics.epsilon import (
    Bound,
    Counts,
    Guesses,
    Trials,
    clopper_pearson,
    guess_by_rank,
    guess_grid,
    one_run,
    one_run_curve_p_value,
    one_run_p_value,
    rank_counts,
    refutes,
    split_counts,
    split_guesses,
    wealth,
)

MOST = 24  # deltas of a curve at which the bound is given


def claim_p_value(trials: Trials, ask: Any, unit: str, headline: str, claim: Claimed) -> float:
    """Largest probability of guesses so good if the claim were true; nothing is assumed but the claim.

    ask: an EpsilonAsk. Thresholds (numbers of guesses) are fixed as they are for the bound, and every one tried is paid
    for. Of the sequential bound it is one over the largest wealth, so it too may be looked at at any time.
    """
    if headline == "sequential":
        right = (trials.scores > ask.threshold) == trials.member
        claimed = min(claim.epsilon, 700.0)
        return min(1.0, float(1 / wealth(np.where(right, 1, -1), np.array([claimed]), ask.delta).max()))
    if unit == "runs":
        counts = _counts(trials, ask)
        return min(1.0, len(counts) * min(refutes(c, claim.curve, independent=True).p_value for c in counts))
    guesses = _guesses(trials, ask)
    if claim.kind == "epsilon":
        found = [one_run_p_value(g, claim.epsilon, claim.delta) for g in guesses]
    else:
        found = [one_run_curve_p_value(g, claim.curve) for g in guesses]
    return min(1.0, len(guesses) * min(found))


def at_points(trials: Trials, ask: Any, unit: str, claim: Claimed) -> list[tuple[float, Bound]]:
    """(claimed epsilon, bound at its delta) for the deltas of a curve, at most 24 of them; they hold at once.

    Of runs they come from the same two rates; of canaries the error is shared out among them.
    """
    points = claim.points
    if len(points) > MOST:
        points = tuple(points[i] for i in np.unique(np.linspace(0, len(points) - 1, MOST).round().astype(int)))
    if not points:
        return []
    if unit == "runs":
        counts, error = _counts(trials, ask), 1 - ask.confidence
        level = 1 - error / len(counts)
        return [
            (epsilon, max((clopper_pearson(c, d, level, independent=True) for c in counts), key=lambda b: b.epsilon))
            for epsilon, d in points
        ]
    guesses = _guesses(trials, ask)
    level = 1 - (1 - ask.confidence) / (len(points) * len(guesses))
    return [(epsilon, max((one_run(g, d, level) for g in guesses), key=lambda b: b.epsilon)) for epsilon, d in points]


def _counts(trials: Trials, ask: Any) -> Sequence[Counts]:
    if isinstance(ask.threshold, float | int):
        return [trials.counts(float(ask.threshold))]
    if ask.threshold == "bonferroni":
        return rank_counts(trials)[1]
    return [split_counts(trials, ask.delta, ask.confidence, bound=clopper_pearson, seed=ask.seed, independent=True)]


def _guesses(trials: Trials, ask: Any) -> Sequence[Guesses]:
    if ask.guesses is not None:
        plus, minus = ask.guesses
        return [guess_by_rank(trials, plus, minus, ask.seed)]
    if ask.threshold == "bonferroni":
        return [guess_by_rank(trials, plus, minus, ask.seed) for plus, minus in guess_grid(trials.scores.size)]
    return [split_guesses(trials, ask.delta, ask.confidence, gdp=False, seed=ask.seed)[0]]
