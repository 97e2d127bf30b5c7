"""Is a claim refuted? Only by an assumption-free test, or by refusing the claimed trade-off curve itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from undertow.metrics.binomial import above, below
from undertow.metrics.epsilon.bound import Bound, Counts, check, unit_of
from undertow.metrics.epsilon.trade_off import Curve, approximate_dp_curve
from undertow.metrics.epsilon.two_worlds import FIXED
from undertow.types import BadInput


@dataclass(frozen=True)
class Refutation:
    """The answer to a claim: `refuted` at `confidence`, and the p-value of what was seen if the claim were true."""

    refuted: bool
    p_value: float  # largest probability of rates as extreme under the claim; small refutes
    confidence: float
    tpr: float  # at least, at `confidence`
    fpr: float  # at most, at `confidence`
    against: str  # what was tested, in words
    unit: str
    n: int


def refutes(
    counts: Counts, curve: Curve, confidence: float = 0.95, *, independent: bool = False, against: str = "curve"
) -> Refutation:
    """Whether the rates behind `counts` are impossible under a claimed trade-off `curve`, at this confidence.

    The claim says FNR >= f(FPR). It is refuted where even the Clopper-Pearson corner (FPR at most, TPR at least, each
    at half the error) breaks it; f falls, so then every pair inside does. Nothing is assumed beyond the claim. The
    threshold must not have seen these trials. BadInput where trials share a run and `independent` is not set.
    """
    check(confidence, 0.0)
    unit = unit_of(counts.n, counts.runs, independent)
    tpr, fpr = _corner(counts, 1 - confidence)
    p_value = _p_value(counts, curve)
    return Refutation(p_value <= 1 - confidence, p_value, confidence, tpr, fpr, against, unit, counts.n)


def refutes_epsilon(
    counts: Counts, epsilon: float, delta: float, confidence: float = 0.95, *, independent: bool = False
) -> Refutation:
    """Whether (epsilon, delta)-DP is refuted; the same answer as `clopper_pearson` larger than epsilon."""
    check(confidence, delta)
    against = f"({epsilon:g}, {delta:g})-DP"
    return refutes(counts, approximate_dp_curve(epsilon, delta), confidence, independent=independent, against=against)


def claimed_family(
    counts: Counts,
    delta: float,
    confidence: float = 0.95,
    *,
    family: Sequence[tuple[float, Curve]],
    independent: bool = False,
    threshold_how: str = FIXED,
) -> Bound:
    """Bound of a mechanism known to be one of a family of curves: the largest epsilon of those refused.

    family: (epsilon at `delta`, curve) by growing epsilon, each curve below the one before, as of subsampled Gaussian
    training with the claimed rate and steps and noise that is unknown (`subsampled_gaussian_family`). Rounded down to
    the family. Nasr et al. 2023 (arXiv:2302.07956) use the curve of the mechanism this way.
    """
    check(confidence, delta)
    unit = unit_of(counts.n, counts.runs, independent)
    if list(family) != sorted(family, key=lambda pair: pair[0]):
        raise BadInput("the family of curves must be given by growing epsilon")
    tpr, fpr = _corner(counts, 1 - confidence)
    epsilon = 0.0
    for candidate, curve in family:
        if 1 - tpr >= float(curve(np.array(fpr))):
            break
        epsilon = candidate
    return Bound("claimed-pld", epsilon, confidence, "claimed-pld", unit, counts.n, delta, threshold_how)


def _corner(counts: Counts, error: float) -> tuple[float, float]:
    tpr, fpr = below(counts.tp, counts.members, error / 2), above(counts.fp, counts.non_members, error / 2)
    return float(tpr), float(fpr)


def _p_value(counts: Counts, curve: Curve) -> float:
    """The smallest error at which the corner breaks the curve, by bisection of its logarithm; 1 where none does."""

    def broken(error: float) -> bool:
        tpr, fpr = _corner(counts, error)
        return 1 - tpr < float(curve(np.array(fpr)))

    if not broken(1.0):
        return 1.0
    low, high = -700.0, 0.0
    if broken(2.0**low):
        return float(2.0**low)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if broken(2.0**middle) else (middle, high)
    return float(2.0**high)
