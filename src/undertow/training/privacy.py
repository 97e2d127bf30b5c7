"""What private finetuning promises, and the noise that keeps the promise. No torch here."""

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from undertow.metrics.epsilon import check_number, check_whole, subsampled_gaussian_epsilon
from undertow.training.schedule import Fit
from undertow.types import ConfigError, MissingExtra, setting

LEAST, MOST = 0.1, 1000.0  # noise multipliers that are tried
CLOSE, FINEST = 1.001, 1 + 1e-9  # factors to which the noise of a claim is found; the finer where epsilon is steep
MISSED = 0.01  # share of a claim that the epsilon of its noise may fall short by
ACCOUNTANTS = ("scipy", "dp-accounting", "opacus")  # whose code calibrates noise


@dataclass(frozen=True)
class Privacy:
    """The guarantee a finetuning run is trained to; the unit is one record, added or removed."""

    epsilon: float = setting(0.0, "target of (epsilon, delta)-DP finetuning; 0: not private")
    delta: float = setting(1e-5, "smaller than one over the finetuning records")
    clip: float = setting(1.0, "largest gradient norm of one record")
    trainer: Literal["closed-form", "opacus"] = setting(
        "closed-form", "closed-form: our engine, heads only | opacus: any strategy, with Opacus's own accountant"
    )

    def __post_init__(self) -> None:
        check_number("privacy.epsilon", self.epsilon, 0, math.inf, "[)", "8 (0: not private)")
        check_number("privacy.delta", self.delta, 0, 1, "()", "1e-5")
        check_number("privacy.clip", self.clip, 0, math.inf)


@dataclass(frozen=True)
class Noise:
    """What meets a guarantee: the accountant's answer, and what it was asked."""

    multiplier: float  # sigma: deviation of the noise over the clipping norm
    epsilon: float  # what is claimed at this sigma; at most the target
    delta: float
    clip: float
    rate: float  # Poisson sampling rate
    steps: int
    trainer: Literal["closed-form", "opacus"] = "closed-form"

    @property
    def accountant(self) -> str:
        """Who counted: privacy loss distributions of dp-accounting, or privacy random variables of Opacus."""
        return "PLD of dp-accounting" if self.trainer == "closed-form" else "PRV of Opacus"


def calibrate(privacy: Privacy, records: int, fit: Fit) -> Noise:
    """The smallest noise (to 1 %) whose epsilon by the trainer's accountant does not exceed the target.

    Both accountants return upper bounds: dp-accounting's discretised distribution is pessimistic, and Opacus adds
    its error. Raises MissingExtra without the accountant, ConfigError where no noise up to 1,000 suffices.
    """
    rate, steps = min(1.0, fit.batch / records), poisson_steps(fit, records)
    return least_noise(privacy, rate, steps)


def least_noise(privacy: Privacy, rate: float, steps: int, slack: float = 1.01) -> Noise:
    """The smallest noise, to a factor of `slack`, that meets `privacy` at this sampling rate in so many steps.

    Raises ConfigError where not even the multiplier MOST does.
    """
    epsilon_of = _accountant(privacy, rate, steps)
    reached = epsilon_of(MOST)
    if math.isinf(reached):
        raise ConfigError(f"delta = {privacy.delta:g} is smaller than the accountant resolves; take 1e-14 or more")
    if reached > privacy.epsilon:
        raise ConfigError(
            f"epsilon = {privacy.epsilon:g} at delta {privacy.delta:g} is out of reach in {steps:,} steps at sampling "
            f"rate {rate:g}: a noise multiplier of {MOST:,.0f} still gives {reached:.3g}. Take fewer steps, or "
            "claim a larger epsilon"
        )
    high = _meets(epsilon_of, privacy.epsilon, LEAST, MOST, slack)
    return Noise(high, epsilon_of(high), privacy.delta, privacy.clip, rate, steps, privacy.trainer)


def noise_of_claim(privacy: Privacy, rate: float, steps: int) -> Noise:
    """The noise whose epsilon is the claimed one, to MISSED: what a claim's trade-off curve is made of.

    ConfigError where it cannot be met, and where no noise has that epsilon: another claim would be audited.
    """
    noise = least_noise(privacy, rate, steps, CLOSE)
    enough = (1 - MISSED) * privacy.epsilon
    if noise.epsilon < enough and noise.multiplier > LEAST * CLOSE:  # a steep curve: no step of the search met it
        epsilon_of = _accountant(privacy, rate, steps)
        high = _meets(epsilon_of, privacy.epsilon, noise.multiplier / CLOSE, noise.multiplier, FINEST)
        noise = replace(noise, multiplier=high, epsilon=epsilon_of(high))
    if noise.epsilon < enough:
        raise ConfigError(
            f"epsilon = {privacy.epsilon:g} at delta {privacy.delta:g} is no epsilon that {steps:,} steps at sampling "
            f"rate {rate:g} have with a noise multiplier of {LEAST:g} or more: the nearest below it is "
            f"{noise.epsilon:.5g}; claim that"
        )
    return noise


def _accountant(privacy: Privacy, rate: float, steps: int) -> Callable[[float], float]:
    """Epsilon by noise multiplier."""
    check_number("the sampling rate", rate, 0, 1, "(]", "0.05")
    check_whole("steps", steps)
    accountant = _by_pld if privacy.trainer == "closed-form" else _by_prv
    return partial(accountant, rate=rate, steps=steps, delta=privacy.delta)


def _meets(epsilon_of: Callable[[float], float], target: float, low: float, high: float, slack: float) -> float:
    """The least noise between `low` and `high`, to a factor of `slack`, whose epsilon is at most `target`."""
    while high / low > slack:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if epsilon_of(middle) <= target else (middle, high)
    return high


def claims(sigma: float, rate: float, steps: int, delta: float) -> dict[str, float]:
    """What three accountants say of such training: PLD and RDP of dp-accounting, PRV of Opacus; upper bounds all.

    An accountant that is not installed is left out, as is a PRV epsilon that is not finite. MissingExtra where
    dp-accounting is absent.
    """
    found = {"pld": _by_pld(sigma, rate, steps, delta), "rdp": _by_rdp(sigma, rate, steps, delta)}
    try:
        found["prv"] = _by_prv(sigma, rate, steps, delta)
    except MissingExtra:
        return found
    return {name: value for name, value in found.items() if math.isfinite(value)}


def poisson_steps(fit: Fit, records: int) -> int:
    """Steps of as many expected passes over the records as there are epochs."""
    return fit.epochs * math.ceil(records / min(fit.batch, records))


def _by_pld(sigma: float, rate: float, steps: int, delta: float) -> float:
    return subsampled_gaussian_epsilon(sigma, rate, steps, delta)


def _by_rdp(sigma: float, rate: float, steps: int, delta: float) -> float:
    try:
        import dp_accounting
        from dp_accounting import rdp
    except ImportError as error:
        raise MissingExtra("dp-accounting", "dp") from error
    accountant = rdp.RdpAccountant()
    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma))
    logger = logging.getLogger("absl")  # says of each fractional order that did not converge; it is then left out
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        accountant.compose(dp_accounting.SelfComposedDpEvent(step, steps))
        return float(accountant.get_epsilon(delta))
    finally:
        logger.setLevel(before)


def _by_prv(sigma: float, rate: float, steps: int, delta: float) -> float:
    """Infinite where the noise is too small for its grid."""
    try:
        from opacus.accountants import PRVAccountant
    except ImportError as error:
        raise MissingExtra("opacus", "dp") from error
    accountant = PRVAccountant()
    accountant.history = [(sigma, rate, steps)]
    with warnings.catch_warnings():  # of the coarse bound it starts from, and of log(0) at rate 1
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))
