"""Anytime-valid bounds: look after every guess, stop when you like, the error probability stays what it was.

A guess about a fair coin is right, wrong or an abstention. Under (epsilon, delta)-DP every guessing rule has

    P(right) <= e^epsilon P(wrong) + delta,

which is half of each world's inequality. So a bet that pays 1 - delta where the guess is right, loses e^epsilon + delta
where it is wrong and delta where it abstains is not in the player's favour. The wealth of a player who stakes a share
lambda, chosen before each guess, is a supermartingale from 1, and passes 1 / error with probability at most `error`
(Ville 1939). González, Dulce-Rubio, Ramdas and Ribero 2025 (arXiv:2509.07055) audit by betting too; this game is ours.
"""

import numpy as np

from undertow.metrics.epsilon.bound import Bound, check, unit_of
from undertow.types import Array, BadInput

RIGHT, WRONG, ABSTAINED = 1, -1, 0
_CANDIDATES = np.linspace(0, 10, 501)  # epsilons that are tried
_SHARE = 0.999  # of what could be staked: one wrong guess never ends the game
_RICH = 700.0  # logarithm of the most money that is counted


def sequential(
    outcomes: Array,
    delta: float,
    confidence: float = 0.95,
    *,
    runs: int | None = None,
    independent: bool = False,
) -> Bound:
    """Assumption-free bound from guesses in the order they were made, valid whenever the audit stops.

    outcomes: (n,) of RIGHT, WRONG, ABSTAINED; each about a fair coin of its own. At delta = 0 the coins may share a run
    and a guess may use the coins revealed before (an adaptive one-run audit): given the output and those coins, the
    next is still as guessed with odds of at most e^epsilon. At delta > 0 that is not so, and each trial must be a run
    of its own: BadInput for fewer `runs` than outcomes, unless `independent`. Rounded down to a grid of 0.02 up to 10.
    """
    check(confidence, delta)
    outcomes = _checked(outcomes)
    unit = "canaries" if delta == 0 and runs not in (None, outcomes.size) else unit_of(outcomes.size, runs, independent)
    refused = wealth(outcomes, _CANDIDATES, delta).max(0) >= 1 / (1 - confidence)
    passed = int(np.argmin(np.append(refused, False)))  # the first epsilon that was never refused
    epsilon = float(_CANDIDATES[passed - 1]) if passed else 0.0
    return Bound("sequential", epsilon, confidence, "none", unit, outcomes.size, delta, "none: may stop at any time")


def wealth(outcomes: Array, epsilons: Array, delta: float) -> Array:
    """Wealth after each guess of a player against each of `epsilons` (K,): (n, K); at 1 / error, epsilon is refused.

    The stake is the best one for the shares of right and wrong guesses so far (each begun at a half).
    """
    outcomes, odds = _checked(outcomes), np.exp(np.asarray(epsilons, float))
    right = 0.5 + np.cumsum(outcomes == RIGHT) - (outcomes == RIGHT)
    wrong = 0.5 + np.cumsum(outcomes == WRONG) - (outcomes == WRONG)
    best = (right[:, None] - wrong[:, None] * odds) / (odds * (right + wrong)[:, None])
    stake = np.clip(best, 0.0, _SHARE / (odds + delta))
    pay = np.select([outcomes == RIGHT, outcomes == WRONG], [0, 1], 2)
    gains = np.stack([np.full(odds.shape, 1 - delta), -(odds + delta), np.full(odds.shape, -delta)])[pay]
    return np.asarray(np.exp(np.minimum(np.cumsum(np.log1p(stake * gains), 0), _RICH)))


def stopped_at(outcomes: Array, epsilon: float, delta: float, confidence: float = 0.95) -> int | None:
    """Guesses after which the claim (epsilon, delta) is refused for good; None: it stands so far."""
    check(confidence, delta)
    over = np.flatnonzero(wealth(outcomes, np.array([epsilon]), delta)[:, 0] >= 1 / (1 - confidence))
    return int(over[0]) + 1 if over.size else None


def _checked(outcomes: Array) -> Array:
    outcomes = np.asarray(outcomes)
    if outcomes.ndim != 1 or outcomes.size == 0 or not np.isin(outcomes, (RIGHT, WRONG, ABSTAINED)).all():
        raise BadInput("outcomes must be (n,) of 1 (right), -1 (wrong) and 0 (abstained), at least one")
    return outcomes
