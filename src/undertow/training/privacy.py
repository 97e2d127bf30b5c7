"""What private finetuning promises, and the noise that keeps the promise. No torch here."""

import logging
import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Literal

from undertow.metrics.epsilon import check_number, check_whole, subsampled_gaussian_epsilon
from undertow.training.schedule import Fit
from undertow.types import ConfigError, MissingExtra, setting

LEAST, MOST = 0.1, 1000.0  # noise multipliers that are tried
MISSED = 3.0  # times the slack of the noise that epsilon may fall short of the target
FINEST = 1 + 1e-9  # factor between two noise multipliers that are not told apart
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

    Its epsilon is at most the target, and below it by at most MISSED times `slack` - 1: the search goes on until it is.
    Raises ConfigError where no noise from LEAST to MOST does that.
    """
    check_number("the sampling rate", rate, 0, 1, "(]", "0.05")
    check_whole("steps", steps)
    target, asked = privacy.epsilon, f"epsilon = {privacy.epsilon:g} at delta = {privacy.delta:g}"
    epsilon_of = partial(
        _by_pld if privacy.trainer == "closed-form" else _by_prv, rate=rate, steps=steps, delta=privacy.delta
    )
    low, high, claimed = LEAST, MOST, epsilon_of(MOST)
    if claimed > target:
        raise ConfigError(
            f"{asked} cannot be met in {steps} steps at rate {rate:g}, even by a noise multiplier of {MOST:g}; "
            "train for fewer steps, or claim a larger epsilon"
        )
    enough = target * (1 - MISSED * (slack - 1))
    while high / low > slack or (claimed < enough and high / low > FINEST and low > LEAST):
        middle = math.sqrt(low * high)
        found = epsilon_of(middle)
        if found <= target:
            high, claimed = middle, found
        else:
            low = middle
    if claimed < enough:
        raise ConfigError(
            f"{asked} is not what any noise multiplier from {LEAST:g} to {MOST:g} gives in {steps} steps at rate "
            f"{rate:g}: the nearest below it is epsilon {claimed:.4g}; claim that, or change the steps"
        )
    return Noise(high, claimed, privacy.delta, privacy.clip, rate, steps, privacy.trainer)


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
