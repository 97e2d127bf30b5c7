"""Everything that must be fixed before the runs of a DP audit: thresholds, numbers of guesses, the claimed curves.

Where canaries keep to themselves, their scores under the *claimed* mechanism have a known distribution; thresholds
are the best ones of simulated scores. No score of a real run is looked at, so no error is spent on the choice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from undertow.metrics.epsilon import (
    Bound,
    Counts,
    Curve,
    Refutation,
    Trials,
    clopper_pearson,
    gaussian_curve,
    gdp,
    joint_beta,
    one_run,
    one_run_gdp,
    refutes,
    subsampled_gaussian_family,
)
from undertow.metrics.epsilon.accuracy import gdp_accuracy, refutes_by_accuracy
from undertow.metrics.epsilon.bound import unit_of
from undertow.metrics.epsilon.one_run import guess_by_rank, guess_grid
from undertow.metrics.epsilon.two_worlds import FIXED
from undertow.rng import stream
from undertow.training.privacy import Noise
from undertow.types import Array

SIMULATED = 40_000  # scores of each world
TwoWorlds = Callable[..., Bound]


@dataclass(frozen=True, eq=False)
class Claim:
    """What is claimed: the mechanism by its noise, the trade-off curve of that, and epsilon at delta."""

    noise: Noise  # its epsilon is the claimed one
    curve: Curve
    known: bool = True  # False: only epsilon and delta are claimed, nothing is said of the mechanism


def claim_of(noise: Noise) -> Claim:
    """The claim of this noise: Gaussian where every step sees all, else the privacy loss distribution's curve."""
    if noise.rate == 1:
        return Claim(noise, gaussian_curve(noise.steps**0.5 / noise.multiplier))
    return Claim(noise, _pair(noise.multiplier, noise.rate, noise.steps, noise.delta)[1])


@lru_cache(maxsize=1024)
def _pair(multiplier: float, rate: float, steps: int, delta: float) -> tuple[float, Curve]:
    """(epsilon, curve) of one member of the claimed family; tenths of a second each, so they are kept."""
    return subsampled_gaussian_family(rate, steps, delta, np.array([multiplier]))[0]


def claimed_family_bound(
    counts: Counts,
    delta: float,
    confidence: float = 0.95,
    *,
    noise: Noise,
    test: Callable[..., Refutation],
    name: str,
    independent: bool = False,
    threshold_how: str = FIXED,
) -> Bound:
    """The largest epsilon at which `test` refuses training of the claimed rate and steps with other noise.

    The curves of less noise lie below those of more, so a bisection of the noise finds it; to 2 % of the noise.
    """
    noises = noise.multiplier * np.exp(np.arange(-30, 90) / 50)[::-1]  # epsilon grows along it

    def refused(i: int) -> bool:
        curve = _pair(float(noises[i]), noise.rate, noise.steps, delta)[1]
        return test(counts, curve, confidence, independent=independent).refuted

    low, high = -1, len(noises)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if refused(middle) else (low, middle)
    epsilon = _pair(float(noises[low]), noise.rate, noise.steps, delta)[0] if low >= 0 else 0.0
    unit = unit_of(counts.n, counts.runs, independent)
    return Bound(name, epsilon, confidence, "claimed-pld", unit, counts.n, delta, threshold_how)


def two_worlds(claim: Claim, poisson: bool) -> dict[str, TwoWorlds]:
    """The bounds that mean something for this mechanism, by name."""
    found: dict[str, TwoWorlds] = {"clopper-pearson": clopper_pearson, "joint-beta": joint_beta}
    if not claim.known:
        return found
    if claim.noise.rate == 1:
        return found | {"gdp": gdp, "gdp-accuracy": gdp_accuracy}
    if poisson:
        tests = {"claimed-pld": refutes, "claimed-pld-accuracy": refutes_by_accuracy}
        found |= {n: partial(claimed_family_bound, noise=claim.noise, test=t, name=n) for n, t in tests.items()}
    return found


def simulated(noise: Noise, iterates: bool, seed: int, count: int = SIMULATED) -> Trials:
    """Scores as the claimed mechanism would give them, `count` with the canary and as many without."""
    rng = stream(seed, "dp", "plan")
    member = np.arange(2 * count) < count
    if not iterates or noise.rate == 1:
        joined = rng.binomial(noise.steps, noise.rate, size=2 * count) * member
        return Trials(joined + noise.multiplier * noise.steps**0.5 * rng.standard_normal(2 * count), member)
    total = np.zeros(2 * count)
    for _ in range(noise.steps):
        seen = ((rng.random(2 * count) < noise.rate) & member) + noise.multiplier * rng.standard_normal(2 * count)
        joined = np.log(noise.rate) + (2 * seen - 1) / (2 * noise.multiplier**2)
        total += np.logaddexp(joined, np.log1p(-noise.rate))
    return Trials(total, member)


def best_threshold(expected: Trials, runs: int, bound: TwoWorlds, delta: float, confidence: float) -> float:
    """The threshold at which `bound` would be largest if `runs` runs of each world did exactly as expected."""
    inside, outside = np.sort(expected.scores[expected.member]), np.sort(expected.scores[~expected.member])
    levels = np.unique(np.quantile(expected.scores, np.concatenate([np.linspace(0.01, 0.99, 60), _tails(runs)])))
    found = []
    for level in levels:
        tpr, fpr = 1 - np.searchsorted(inside, level) / inside.size, 1 - np.searchsorted(outside, level) / outside.size
        tp, fp = round(runs * tpr), round(runs * fpr)
        found.append(bound(Counts(tp, runs - tp, fp, runs - fp), delta, confidence).epsilon)
    epsilons = np.asarray(found)
    return float(np.median(levels[epsilons >= epsilons.max() * (1 - 1e-9)]))


def _tails(runs: int) -> Array:
    """Quantiles where one world has a handful of its runs."""
    few = np.array([0.1, 0.5, 1, 2, 4, 8, 16]) / runs
    both: Array = np.clip(np.concatenate([few, 1 - few]), 0.0, 1.0)
    return both


def best_guesses(
    expected: Trials, canaries: int, delta: float, confidence: float, gaussian: bool, seed: int, games: int = 5
) -> tuple[int, int]:
    """Numbers (plus, minus) of guesses whose one-run bound is largest on average over simulated games."""
    rng, bound = stream(seed, "dp", "plan guesses"), one_run_gdp if gaussian else one_run
    inside, outside = expected.scores[expected.member], expected.scores[~expected.member]
    grid = guess_grid(canaries)
    worth = np.zeros(len(grid))
    for _ in range(games):
        member = rng.random(canaries) < 0.5
        scores = np.where(member, rng.choice(inside, canaries), rng.choice(outside, canaries))
        trials = Trials(scores, member, np.zeros(canaries))
        worth += [bound(guess_by_rank(trials, *pair), delta, confidence).epsilon for pair in grid]
    return grid[int(np.argmax(worth))]


def fair_threshold(expected: Trials) -> float:
    """The threshold with most right guesses on these scores: where a claim is put to the test."""
    inside, outside = np.sort(expected.scores[expected.member]), np.sort(expected.scores[~expected.member])
    levels = np.quantile(expected.scores, np.linspace(0.01, 0.99, 197))
    right = 1 - np.searchsorted(inside, levels) / inside.size + np.searchsorted(outside, levels) / outside.size
    return float(levels[int(np.argmax(right))])
