"""Bounds from one training run with many canaries, each in the run by the toss of a fair coin.

The unit is a canary (Steinke, Nasr and Jagielski 2023). Nothing is assumed of how canaries influence each other. The
coins must be fair, independent, and redrawn in every run where there are several: R runs are then one mechanism whose
every coin touches one run, so their canaries may be pooled.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.special import betainc, expit, gammaln, ndtr, ndtri

from undertow.metrics.epsilon.bound import Bound, Trials, check
from undertow.metrics.epsilon.trade_off import Curve, gdp_mu
from undertow.rng import stream
from undertow.types import Array, BadInput

FIXED = "number of guesses fixed before the run"
_HIGHEST = 64.0  # epsilon beyond which nobody asks
_POINTS = 48  # candidates tried at once
_MANY = 32  # coins that do not agree by chance
_FEWEST = 4  # guesses: fewer cannot show anything


@dataclass(frozen=True)
class Guesses:
    """What an adversary guessed about the coins after seeing the run."""

    canaries: int  # m: coins tossed
    made: int  # r: guesses, the others are abstentions; fixed before the run (f-DP), or by the outputs alone
    correct: int  # v

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries or self.canaries < 1:
            raise BadInput(
                f"{self.correct} correct of {self.made} guesses about {self.canaries} canaries: "
                "0 <= correct <= guesses <= canaries is needed"
            )


def one_run(guesses: Guesses, delta: float, confidence: float = 0.95, *, threshold_how: str = FIXED) -> Bound:
    """Assumption-free bound from one run: the largest epsilon at which so many correct guesses are too unlikely.

    Steinke, Nasr and Jagielski 2023 (arXiv:2305.08846); see `one_run_p_value`. Even r right guesses of r show no more
    than about log(r / log(1 / error)): a large epsilon needs many canaries.

    >>> round(one_run(Guesses(132, 132, 86), 0.0).epsilon, 4)
    0.3122
    """
    check(confidence, delta)
    epsilon = _plain_epsilon(guesses, delta, confidence)
    return Bound("one-run", epsilon, confidence, "none", "canaries", guesses.canaries, delta, threshold_how)


@lru_cache(maxsize=4096)
def _plain_epsilon(guesses: Guesses, delta: float, confidence: float) -> float:
    return _largest(lambda e: one_run_p_value(guesses, e, delta) <= 1 - confidence, 1e-9)


def one_run_p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Largest probability of so many correct guesses under (epsilon, delta)-DP; 1 at most.

    At delta = 0: given the output and the earlier coins, a coin is as guessed with probability at most
    q = e^epsilon / (1 + e^epsilon), so the correct ones are at most Binomial(r, q). The term of delta is that of the
    authors' published code: 2 m delta max_i P(v - i <= Binomial(r, q) < v) / i.
    """
    m, r, v = guesses.canaries, guesses.made, guesses.correct
    if v == 0:
        return 1.0
    tail = float(betainc(v, r - v + 1, expit(epsilon)))  # P(Binomial(r, q) >= v)
    if delta == 0:
        return tail
    below = np.cumsum(_binomial(np.arange(v - 1, -1, -1), r, epsilon))  # P(v - i <= Binomial(r, q) < v), i = 1..v
    return min(tail + 2 * m * delta * float((below / np.arange(1, v + 1)).max()), 1.0)


def _binomial(hits: Array, trials: int, epsilon: float) -> Array:
    """P(Binomial(trials, q) = hits) at the odds e^epsilon."""
    ways = gammaln(trials + 1) - gammaln(hits + 1) - gammaln(trials - hits + 1)
    return np.asarray(np.exp(ways + hits * epsilon - trials * np.logaddexp(0, epsilon)))


def one_run_gdp(guesses: Guesses, delta: float, confidence: float = 0.95, *, threshold_how: str = FIXED) -> Bound:
    """Bound from one run of a mechanism that is mu-GDP in every canary: the largest mu refused, as epsilon at `delta`.

    Mahloujifar, Melis and Chaudhuri 2024 (arXiv:2410.22235); see `one_run_refuses`. The number of guesses must be
    fixed before the run. Grows with the sample where `one_run` stops, and means nothing for other curves.
    """
    check(confidence, delta, positive=True)
    epsilon = _gdp_epsilon(guesses, delta, confidence)
    return Bound("one-run-gdp", epsilon, confidence, "gdp", "canaries", guesses.canaries, delta, threshold_how)


@lru_cache(maxsize=4096)  # a grid of numbers of guesses asks the same again
def _gdp_epsilon(guesses: Guesses, delta: float, confidence: float) -> float:
    def refused(epsilons: Array) -> Array:
        mu = gdp_mu(epsilons, delta)
        return one_run_refuses(guesses, lambda tpr: ndtr(ndtri(tpr) - mu), confidence)

    return _largest_of_grid(refused)


def one_run_refuses(guesses: Guesses, least_fpr: Curve, confidence: float) -> Array:
    """Whether f-DP makes so many correct guesses rarer than 1 - confidence; the shape of what `least_fpr` returns.

    least_fpr(TPR): the least FPR at that TPR, a convex function g with g(0) = 0; of a symmetric curve f it is
    f(1 - TPR). May be a stack of curves (K,): scalar or (K,) in, (K,) out.

    Mahloujifar et al. 2024. Let p_j be the probability of j correct guesses of r about m canaries. For a random canary

        right_i = sum_{j >= i} p_j j / m        P(guessed, right, and at least i are right)
        wrong_i = sum_{j >= i} p_j (r - j) / m  P(guessed, wrong, and at least i are right)

    "At least i are right and this one is" and "at least i - 1 are right and this one is not" are the same event of the
    other guesses, so f-DP and convexity give wrong_{i-1} >= g(right_i). Suppose P(at least v right) = 1 - confidence,
    then right_v and wrong_v are smallest in effect with all of it at v; walking down, each wrong_i is at least
    the larger of wrong_{i+1} and g(right_{i+1}), and what it grew by is p_i (r - i) / m. Refused where right_0 +
    wrong_0, which is r / m, comes out larger.
    """
    return _refuses(guesses, least_fpr, 1 - confidence)


def one_run_curve_p_value(guesses: Guesses, curve: Curve) -> float:
    """Largest probability of so many correct guesses if every canary has a trade-off curve of at least `curve`.

    The smallest error at which `one_run_refuses`, from above, to 1 %; not below 1e-30. Nothing else is assumed.
    """
    low, high = math.log(1e-30), 0.0
    for _ in range(2):
        logs = np.linspace(low, high, 120)
        refused = _refuses(guesses, lambda tpr: np.asarray(curve(1 - np.asarray(tpr, float))), np.exp(logs))
        kept = np.flatnonzero(~refused)
        first = int(kept[-1]) + 1 if kept.size else 0  # every larger error refuses too
        if first == 0 or first == logs.size:
            return float(np.exp(logs[min(first, logs.size - 1)]))
        low, high = float(logs[first - 1]), float(logs[first])
    return float(np.exp(high))


def _refuses(guesses: Guesses, least_fpr: Curve, error: float | Array) -> Array:
    m, r, v = guesses.canaries, guesses.made, guesses.correct
    right = np.asarray(error * v / m + 0 * np.asarray(least_fpr(np.array(0.5))))
    wrong = np.asarray(error * (r - v) / m + 0 * right)
    for i in range(v - 1, -1, -1):
        grown = np.maximum(wrong, least_fpr(right))
        if (grown == wrong).all():
            break  # nothing changes from here on
        right = np.minimum(right + (grown - wrong) * (i / (r - i)), 1.0)
        wrong = grown
    return np.asarray(right + wrong > r / m * (1 + 1e-12))


def guess_by_rank(trials: Trials, plus: int, minus: int, seed: int = 0) -> Guesses:
    """Guess "member" for the `plus` largest scores, "not" for the `minus` smallest, abstain between.

    Ties are broken by a coin, never by the order of the trials, which may know the truth. BadInput where two runs
    have the same coins, or there are more guesses than canaries.
    """
    _check_coins(trials)
    return _guess(_sorted_truth(trials.scores, trials.member, seed), plus, minus)


def one_run_from_scores(
    trials: Trials,
    delta: float,
    confidence: float = 0.95,
    *,
    gdp: bool = False,
    guesses: tuple[int, int] | Literal["split", "bonferroni"] = "split",
    seed: int = 0,
) -> Bound:
    """`one_run` (or `one_run_gdp`) from scores.

    guesses: (plus, minus), see `guess_by_rank`, fixed before the run; "split": the numbers are chosen on a random half
    of the canaries, the bound is of the other half (given the coins of one half, the run is as private in the others);
    "bonferroni": the best of a fixed grid of numbers, the error divided by its size.
    """
    check(confidence, delta, positive=gdp)
    _check_coins(trials)
    if guesses == "split":
        return _split(trials, delta, confidence, gdp, seed)
    bound = one_run_gdp if gdp else one_run
    truth = _sorted_truth(trials.scores, trials.member, seed)
    if guesses == "bonferroni":
        grid = guess_grid(truth.size)
        error = (1 - confidence) / len(grid)
        said = f"best of {len(grid)} fixed numbers of guesses, each at error {error:.2g}"
        _, best = _best(truth, delta, 1 - error, gdp)
        return replace(best, confidence=confidence, threshold_how=said)
    said = f"{guesses[0]} + {guesses[1]} guesses, fixed before the run"
    return bound(_guess(truth, *guesses), delta, confidence, threshold_how=said)


def guess_grid(canaries: int) -> list[tuple[int, int]]:
    """Numbers (plus, minus) to choose from: half, a quarter, ... of the canaries, above only and on both sides.

    >>> guess_grid(20)
    [(10, 0), (10, 10), (5, 0), (5, 5)]
    """
    sizes: list[int] = []
    k = canaries // 2
    while k >= _FEWEST or not sizes:
        sizes.append(k)
        k //= 2
    return [pair for k in sizes for pair in ((k, 0), (k, k))]


def split_guesses(
    trials: Trials, delta: float, confidence: float, *, gdp: bool, seed: int
) -> tuple[Guesses, tuple[int, int]]:
    """Guesses about a random half of the canaries; how many (plus, minus) is chosen on the other half."""
    order = stream(seed, "epsilon", "split").permutation(trials.scores.size)  # blind to the coins: not stratified
    if order.size < 2:
        raise BadInput("one canary cannot be split: give the number of guesses")
    truths = [_sorted_truth(trials.scores[rows], trials.member[rows], seed) for rows in np.array_split(order, 2)]
    chosen, _ = _best(truths[1], delta, confidence, gdp)
    return _guess(truths[0], *chosen), chosen


def _split(trials: Trials, delta: float, confidence: float, gdp: bool, seed: int) -> Bound:
    guesses, chosen = split_guesses(trials, delta, confidence, gdp=gdp, seed=seed)
    said = f"{chosen[0]} + {chosen[1]} guesses, chosen on the other half of the canaries (seed {seed})"
    bound = one_run_gdp if gdp else one_run
    return bound(guesses, delta, confidence, threshold_how=said)


def _best(truth: Array, delta: float, confidence: float, gdp: bool) -> tuple[tuple[int, int], Bound]:
    """The numbers of the grid whose bound is largest, and that bound."""
    grid = guess_grid(truth.size)
    bound = one_run_gdp if gdp else one_run
    found = [bound(_guess(truth, *pair), delta, confidence) for pair in grid]
    best = int(np.argmax([b.epsilon for b in found]))
    return grid[best], found[best]


def _guess(truth: Array, plus: int, minus: int) -> Guesses:
    """Guesses about coins (n,) sorted by score."""
    n = truth.size
    if plus < 0 or minus < 0 or plus + minus > n:
        raise BadInput(f"{plus} + {minus} guesses about {n} canaries: there cannot be more guesses than canaries")
    return Guesses(n, plus + minus, int(truth[n - plus :].sum() + (~truth[:minus]).sum()))


def _sorted_truth(scores: Array, member: Array, seed: int) -> Array:
    coin = stream(seed, "epsilon", "ties").random(scores.size)
    return member[np.lexsort((coin, scores))]


def _check_coins(trials: Trials) -> None:
    """BadInput where two runs of several canaries have the same coins: one coin must touch one run only."""
    if trials.run is None:
        return
    order = np.argsort(trials.run, kind="stable")
    names, first = np.unique(trials.run[order], return_index=True)
    seen: set[bytes] = set()
    for name, coins in zip(names, np.split(trials.member[order], first[1:]), strict=True):
        if coins.size >= _MANY and coins.tobytes() in seen:
            raise BadInput(f"run {name} has the same members as another run; toss the coins anew for every run")
        seen.add(coins.tobytes())


def _largest(refused: Callable[[float], bool], tolerance: float) -> float:
    """The largest epsilon that is refused, from below; 0 where 0 is not."""
    if not refused(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < _HIGHEST and refused(high):
        low, high = high, 2 * high
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if refused(middle) else (low, middle)
    return low


def _largest_of_grid(refused: Callable[[Array], Array]) -> float:
    """As `_largest`, many candidates at once; to a relative 1e-6, from below."""
    low, grid = 0.0, np.geomspace(0.01, _HIGHEST, _POINTS)
    for _ in range(4):
        passed = int(np.argmin(np.append(refused(grid), False)))  # the first that is not refused
        low, high = (grid[passed - 1] if passed else low), grid[min(passed, grid.size - 1)]
        grid = np.linspace(low, high, _POINTS + 1)[1:]
    return float(low)
