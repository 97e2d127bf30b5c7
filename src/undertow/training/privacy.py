"""What private finetuning promises, and the noise that keeps the promise. No torch here."""

import logging
import math
import warnings
from dataclasses import dataclass
from typing import Literal

from undertow.metrics.epsilon import subsampled_gaussian_epsilon
from undertow.training.schedule import Fit
from undertow.types import ConfigError, MissingExtra, setting

LEAST, MOST = 0.1, 1000.0  # noise multipliers between which the one that meets a target is looked for
ACCOUNTANTS = ("scipy", "dp-accounting", "opacus")  # whose code calibrates noise


@dataclass(frozen=True)
class Privacy:
    """The guarantee a finetuning run is trained to; the unit is one record, added or removed."""

    epsilon: float = setting(
        0.0, "Epsilon of the (epsilon, delta)-DP that finetuning is trained to; 0 trains without privacy."
    )
    delta: float = setting(1e-5, "Delta of that guarantee; choose it below one over the number of finetuning records.")
    clip: float = setting(1.0, "Largest L2 norm of one record's gradient; longer gradients are clipped to it.")
    trainer: Literal["closed-form", "opacus"] = setting(
        "closed-form",
        "DP-SGD by 'closed-form' (our engine, linear heads only) or 'opacus' (any strategy, its own accountant).",
    )

    def __post_init__(self) -> None:
        fits = 0 <= self.epsilon < math.inf and 0 < self.delta < 1 and 0 < self.clip < math.inf  # no nan either
        if not fits:
            raise ConfigError(
                f"privacy.epsilon = {self.epsilon}, delta = {self.delta}, clip = {self.clip}: epsilon is 0 or more, "
                "delta between 0 and 1, clip above 0, and all are finite"
            )


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
    """The smallest noise, to a factor of `slack`, that meets `privacy` at this sampling rate in so many steps."""
    epsilon_of = _by_pld if privacy.trainer == "closed-form" else _by_prv
    low, high = LEAST, MOST
    reached = epsilon_of(high, rate, steps, privacy.delta)
    if math.isinf(reached):
        raise ConfigError(f"delta = {privacy.delta:g} is smaller than the accountant resolves; take 1e-14 or more")
    if reached > privacy.epsilon:
        raise ConfigError(
            f"epsilon = {privacy.epsilon:g} at delta {privacy.delta:g} is out of reach in {steps:,} steps at sampling "
            f"rate {rate:g}: a noise multiplier of {MOST:,.0f} still gives {reached:.3g}. Take fewer steps, or "
            "claim a larger epsilon"
        )
    while high / low > slack:
        middle = math.sqrt(low * high)
        if epsilon_of(middle, rate, steps, privacy.delta) <= privacy.epsilon:
            high = middle
        else:
            low = middle
    claimed = epsilon_of(high, rate, steps, privacy.delta)
    return Noise(high, claimed, privacy.delta, privacy.clip, rate, steps, privacy.trainer)


def noise_of_claim(privacy: Privacy, rate: float, steps: int) -> Noise:
    """The noise whose epsilon is the claimed one, to 1 %: what a claim's trade-off curve is made of.

    ConfigError where it cannot be met, and where even the least noise gives less: another claim would be audited.
    """
    noise = least_noise(privacy, rate, steps, 1.001)
    if noise.epsilon < 0.99 * privacy.epsilon:
        raise ConfigError(
            f"epsilon = {privacy.epsilon:g}: with the least noise that is counted (multiplier {noise.multiplier:.3g}) "
            f"{steps:,} steps at sampling rate {rate:g} have epsilon {noise.epsilon:.5g}; claim at most that. A larger "
            "one promises nothing that an audit could refute"
        )
    return noise


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
