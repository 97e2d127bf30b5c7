"""Claims that scores can be held against: (epsilon, delta), Gaussian DP, zCDP, and a curve of deltas; and the test."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from undertow.metrics.epsilon import (
    Curve,
    approximate_dp_curve,
    check_number,
    curve_of_deltas,
    gaussian_curve,
    gdp_epsilon,
    zcdp_curve,
    zcdp_epsilon,
)
from undertow.types import Array, BadInput, ConfigError


@dataclass(frozen=True, eq=False)
class Claimed:
    """A claim as a trade-off curve; no test may see false negative rates below it."""

    kind: str  # "epsilon" | "gdp" | "zcdp" | "curve"
    said: str  # in words
    curve: Curve
    epsilon: float  # that it means at the delta that was asked for; infinite where it says nothing there
    delta: float
    points: tuple[tuple[float, float], ...] = ()  # of a curve given as a file: (epsilon, delta)


def claimed_epsilon(epsilon: float, delta: float) -> Claimed:
    """(epsilon, delta)-DP."""
    check_number("--claim-epsilon", epsilon, 0, float("inf"), "[)", "8")
    check_number("--delta", delta, 0, 1, "[)", "1e-5")
    said = f"epsilon {epsilon:g} at delta {delta:g}"
    return Claimed("epsilon", said, approximate_dp_curve(epsilon, delta), epsilon, delta)


def claimed_gdp(mu: float, delta: float) -> Claimed:
    """mu-GDP: no easier to tell apart than N(0, 1) and N(mu, 1)."""
    check_number("--claim-gdp", mu, 0, float("inf"), "[)", "1")
    _positive(delta, "--claim-gdp")
    epsilon = float(gdp_epsilon(mu, delta)) if mu > 0 else 0.0
    return Claimed("gdp", f"{mu:g}-GDP (epsilon {epsilon:.3g} at delta {delta:g})", gaussian_curve(mu), epsilon, delta)


def claimed_zcdp(rho: float, delta: float) -> Claimed:
    """rho-zCDP, by the conversion that takes the best Renyi order."""
    check_number("--claim-zcdp", rho, 0, float("inf"), "[)", "0.5")
    _positive(delta, "--claim-zcdp")
    epsilon = zcdp_epsilon(rho, delta)
    return Claimed("zcdp", f"{rho:g}-zCDP (epsilon {epsilon:.3g} at delta {delta:g})", zcdp_curve(rho), epsilon, delta)


def claimed_curve(epsilons: Array, deltas: Array, delta: float, name: str) -> Claimed:
    """(epsilons[i], deltas[i])-DP for every i, as an accountant prints it. BadInput where a row cannot be a claim."""
    check_number("--delta", delta, 0, 1, "[)", "1e-5")
    bad = np.flatnonzero(~(np.isfinite(epsilons) & (epsilons >= 0) & (deltas >= 0) & (deltas < 1)))
    if epsilons.size == 0 or bad.size:
        where = f"row {bad[0] + 1}: epsilon {epsilons[bad[0]]:g}, delta {deltas[bad[0]]:g}" if bad.size else "no rows"
        raise BadInput(f"{name}: {where}; every row needs epsilon >= 0 and delta from 0 to below 1")
    order = np.argsort(epsilons, kind="stable")
    points = tuple((float(epsilons[i]), float(deltas[i])) for i in order)
    at = _epsilon_at(points, delta)
    said = f"the curve of {name} ({len(points)} points"
    said += f"; epsilon {at:.3g} at delta {delta:g})" if isfinite(at) else f"; nothing at delta {delta:g})"
    return Claimed("curve", said, curve_of_deltas(epsilons[order], deltas[order]), at, delta, points)


def _epsilon_at(points: tuple[tuple[float, float], ...], delta: float) -> float:
    """The least epsilon that the points imply at `delta`: that of the first point whose delta is no larger."""
    return min((epsilon for epsilon, d in points if d <= delta), default=float("inf"))


def _positive(delta: float, option: str) -> None:
    check_number("--delta", delta, 0, 1, "[)", "1e-5")
    if delta == 0:
        raise ConfigError(f"{option} with --delta 0: such a claim has a finite epsilon at a delta above 0 only")
