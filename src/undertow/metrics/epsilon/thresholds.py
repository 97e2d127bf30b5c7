"""From scores to a two-worlds bound: the threshold is fixed beforehand, chosen on other trials, or paid for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from undertow.metrics.epsilon.bound import Bound, Counts, Trials, unit_of
from undertow.metrics.epsilon.two_worlds import clopper_pearson, joint_beta, joint_betas
from undertow.rng import stream
from undertow.types import Array, BadInput

TwoWorlds = Callable[..., Bound]  # clopper_pearson, gdp, joint_beta, partial(claimed_family, family=...)


def from_scores(
    trials: Trials,
    delta: float,
    confidence: float = 0.95,
    *,
    bound: TwoWorlds = clopper_pearson,
    threshold: float | Literal["split", "bonferroni"] = "split",
    seed: int = 0,
    independent: bool = False,
) -> Bound:
    """A two-worlds bound from scores; a trial is guessed "member" where its score is above the threshold.

    threshold: a number fixed before the trials were seen; "split": chosen on a random half of each world, the bound
    from the other half; "bonferroni": the best of a grid of ranks fixed by the counts alone, the error divided by its
    size. BadInput where trials share a run and `independent` is not set, or a world has one trial (split).
    """
    unit_of(trials.scores.size, trials.runs, independent)  # refuse before choosing anything
    if threshold == "bonferroni":
        return _best_of_ranks(trials, delta, confidence, bound, independent)
    if threshold == "split":
        counts = split_counts(trials, delta, confidence, bound=bound, seed=seed, independent=independent)
        said = f"chosen on the other half of the trials (seed {seed})"
        return bound(counts, delta, confidence, independent=independent, threshold_how=said)
    said = f"threshold {float(threshold):g}, fixed before the trials"
    counts = trials.counts(float(threshold))
    return bound(counts, delta, confidence, independent=independent, threshold_how=said)


def split_counts(
    trials: Trials, delta: float, confidence: float, *, bound: TwoWorlds, seed: int, independent: bool = False
) -> Counts:
    """Counts of a random half of each world at the threshold that is best for `bound` on the other half."""
    first, second = halves(trials, seed)
    return _own(second, choose_threshold(first, delta, confidence, bound), independent)


def choose_threshold(trials: Trials, delta: float, confidence: float, bound: TwoWorlds = clopper_pearson) -> float:
    """The threshold at which `bound` would be largest on these trials; only for bounds from other trials.

    Midway between the lowest and the highest of those that tie, which do where the worlds are far apart.
    """
    levels, counts = rank_counts(trials)
    if bound is joint_beta:
        found = joint_betas(counts, delta, confidence)
    else:
        found = np.array([bound(c, delta, confidence, independent=True).epsilon for c in counts])
    best = levels[found == found.max()]
    middle = best.min() / 2 + best.max() / 2
    return float(middle if np.isfinite(middle) else best[0])


def halves(trials: Trials, seed: int) -> tuple[Trials, Trials]:
    """Two random halves of each world; BadInput where a world has one trial."""
    rng = stream(seed, "epsilon", "split")
    parts: tuple[list[Array], list[Array]] = ([], [])
    for world in (True, False):
        rows = rng.permutation(np.flatnonzero(trials.member == world))
        if rows.size < 2:
            raise BadInput("a split needs two trials of each world: give a threshold fixed beforehand instead")
        parts[0].append(rows[: rows.size // 2])
        parts[1].append(rows[rows.size // 2 :])
    first, second = (trials.take(np.sort(np.concatenate(part))) for part in parts)
    return first, second


def rank_grid(n: int) -> Array:
    """Ranks 1, 2, 3, 4, 6, 8, 11, ... below n / 2, two for each doubling: fixed by n alone.

    >>> rank_grid(20)
    array([1, 2, 3, 4, 6, 8])
    """
    doublings = np.arange(2 * max(np.log2(max(n, 4)) - 1, 0.5)) / 2
    return np.unique(np.round(2**doublings)).astype(int)


def rank_counts(trials: Trials) -> tuple[Array, list[Counts]]:
    """Thresholds at fixed ranks, and counts whose Clopper-Pearson bounds hold although the thresholds are data.

    A threshold t at the k-th largest non-member score: P(non-member > t) is at most a Beta(k, n - k + 1) variable,
    whose upper quantile is Clopper and Pearson's bound for k - 1 false positives of n (ties only help). And t depends
    on no member, so the members above it are binomial. With the worlds exchanged, t just below the k-th smallest member
    has k - 1 false negatives. So the FPR (or FNR) enters with k - 1, whatever ties make of the count.
    """
    inside, outside = np.sort(trials.scores[trials.member]), np.sort(trials.scores[~trials.member])
    m, n = inside.size, outside.size
    levels, counts = [], []
    for k in rank_grid(n):
        t = outside[n - k]
        tp = int((inside > t).sum())
        levels.append(t)
        counts.append(Counts(tp, m - tp, int(k) - 1, n - int(k) + 1, trials.runs))
    for k in rank_grid(m):
        t = np.nextafter(inside[k - 1], -np.inf)
        fp = int((outside > t).sum())
        levels.append(t)
        counts.append(Counts(m - int(k) + 1, int(k) - 1, fp, n - fp, trials.runs))
    return np.array(levels), counts


def _best_of_ranks(trials: Trials, delta: float, confidence: float, bound: TwoWorlds, independent: bool) -> Bound:
    _, counts = rank_counts(trials)
    error = (1 - confidence) / len(counts)
    said = f"best of {len(counts)} fixed ranks, each at error {error:.2g}"
    if bound is joint_beta:
        counts = [counts[int(np.argmax(joint_betas(counts, delta, 1 - error)))]]
    found = [bound(c, delta, 1 - error, independent=independent, threshold_how=said) for c in counts]
    return replace(max(found, key=lambda b: b.epsilon), confidence=confidence)


def _own(second: Trials, threshold: float, independent: bool) -> Counts:
    """Counts of the second half; vouched-for trials of one run stay vouched for."""
    counts = second.counts(threshold)
    return counts if independent else replace(counts, runs=None)
