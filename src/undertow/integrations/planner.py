"""How many canaries, copies and epochs a lower bound on epsilon needs, before anything is trained. No randomness.

Model: a canary's fall of loss is normal, of equal deviation in the data and outside; the means lie `separation`
deviations apart (d'). The auditor guesses the highest and the lowest eighth of the scores, a number fixed before the
run, so the right guesses are Binomial(guesses, accuracy), and the bound follows from them (Steinke et al. 2023).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtr, ndtr

from undertow.metrics.epsilon import Guesses, check_number, check_whole, one_run, one_run_p_value
from undertow.types import ConfigError

# d' of one pass over a canary, linear in passes (copies x epochs): measured after three epochs of LoRA (r = 8, Adam at
# 1e-3, one copy) on a decoder of 135 million parameters: 1.19, .86 and .36. Later epochs add more than the first, so
# that at one pass this is too high.
PER_PASS = {"sampled": 0.40, "random": 0.29, "new-token": 0.12}
MOST_CANARIES = 100_000
_FEWEST = 5  # guesses on each side: fewer cannot show anything
_CANARIES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
_COPIES = (1, 2, 4, 8, 16, 32)
_EPOCHS = (1, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True)
class CanaryPlan:
    """A design of canaries and what it is expected to show."""

    epsilon: float  # to be shown
    canaries: int
    copies: int  # `repeats` of with_canaries
    epochs: int
    separation: float  # d' expected after training
    expected: float  # the median of the bound, if epsilon really is that large
    power: float  # chance that the bound reaches `epsilon`
    ceiling: float  # the bound if every guess is right

    def text(self) -> str:
        """The plan in one line."""
        unit = "one record" if self.copies == 1 else f"{self.copies} copies of a record"
        return (
            f"{self.canaries} canaries, {self.copies} {'copy' if self.copies == 1 else 'copies'} of each, "
            f"{self.epochs} epoch{'s' * (self.epochs != 1)}: "
            f"expected separation {self.separation:.2f}, bound {self.expected:.2f} for {unit}, at least "
            f"{self.epsilon:.2f} with probability {self.power:.0%}; at most {self.ceiling:.2f} can be shown."
        )


def guess_counts(canaries: int) -> tuple[int, int]:
    """Guesses (member, not) for so many canaries, fixed before any run: an eighth on each side, at least five.

    >>> guess_counts(128), guess_counts(16)
    ((16, 16), (5, 5))
    """
    side = max(_FEWEST, canaries // 8)
    return side, side


def largest_bound(canaries: int, delta: float, confidence: float) -> float:
    """The bound if every guess is right: what this many canaries could show at the very most."""
    made = sum(guess_counts(canaries))
    return one_run(Guesses(canaries, made, made), delta, confidence).epsilon


def accuracy(canaries: int, separation: float) -> float:
    """Expected share of right guesses at a separation d'.

    >>> round(accuracy(128, 0.0), 3)
    0.5
    """
    share = guess_counts(canaries)[0] / canaries
    cut = brentq(lambda c: (ndtr(separation - c) + ndtr(-c)) / 2 - share, -10, separation + 10)
    return min(float(ndtr(separation - cut) / (2 * share)), 1.0)


def chance_to_show(epsilon: float, canaries: int, separation: float, delta: float, confidence: float) -> float:
    """Probability that the bound is at least `epsilon`, (for epsilon = 0: above 0)."""
    made = sum(guess_counts(canaries))
    least = _least_right(epsilon, canaries, delta, confidence)
    return 0.0 if least > made else 1 - float(bdtr(least - 1, made, accuracy(canaries, separation)))


def expected_bound(canaries: int, separation: float, delta: float, confidence: float) -> float:
    """Median of the bound at a separation d'."""
    made, share = sum(guess_counts(canaries)), accuracy(canaries, separation)
    middle = int(np.argmax(bdtr(np.arange(made + 1), made, share) >= 0.5))
    return one_run(Guesses(canaries, made, middle), delta, confidence).epsilon


def needed_separation(canaries: int, delta: float, confidence: float, power: float = 0.8) -> float:
    """The least d' at which a bound above 0 is found with probability `power`; infinite where none is."""
    if chance_to_show(0.0, canaries, 10.0, delta, confidence) < power:
        return float("inf")
    return float(brentq(lambda d: chance_to_show(0.0, canaries, d, delta, confidence) - power, 0, 10))


def _least_right(epsilon: float, canaries: int, delta: float, confidence: float) -> int:
    """The fewest right guesses that show `epsilon`; one more than all where none do."""
    made = sum(guess_counts(canaries))
    low, high = made // 2, made + 1  # more right guesses never have a larger p-value
    while low < high:
        right = (low + high) // 2
        if one_run_p_value(Guesses(canaries, made, right), epsilon, delta) <= 1 - confidence:
            high = right
        else:
            low = right + 1
    return low


def plan_canaries(
    epsilon: float, *, canaries: int | None = None, copies: int | None = None, epochs: int | None = None,
    kind: str = "sampled", per_pass: float | None = None, delta: float = 1e-5, confidence: float = 0.95,
    power: float = 0.8,
) -> CanaryPlan:  # fmt: skip
    """The cheapest design that shows at least `epsilon` with probability `power`, if training leaks that much.

    What is given (canaries, copies, epochs) is kept; fewer copies go before fewer canaries, since with more than one
    the bound is on so many copies of a record. per_pass: the separation d' that one pass over a canary adds in your
    training (`CanaryAudit.separation` of a pilot / (copies x epochs)); without it a measured value for `kind`, which
    another model, learning rate or noise moves.

    Raises ConfigError where no design reaches `epsilon`.
    """
    check_number("epsilon", epsilon, 0.0, 64.0)
    check_number("power", power, 0.0, 1.0, such="0.8")
    check_number("delta", delta, 0.0, 1.0, "[)", "1e-5")
    check_number("confidence", confidence, 0.5, 1.0, "[)", "0.95")
    for name, value, fewest in (("canaries", canaries, 16), ("copies", copies, 1), ("epochs", epochs, 1)):
        if value is not None:
            check_whole(name, value, fewest)
    if canaries is not None and canaries > MOST_CANARIES:
        raise ConfigError(f"canaries = {canaries:,}: the planner looks at {MOST_CANARIES:,} at most")
    if per_pass is not None:
        check_number("per_pass", per_pass, 0.0, float("inf"), such="0.3")
    if per_pass is None and kind not in PER_PASS:
        raise ConfigError(f"kind = {kind!r}: give one of {', '.join(PER_PASS)}, or per_pass from a pilot")
    gain = PER_PASS[kind] if per_pass is None else per_pass
    sizes = _CANARIES if canaries is None else (canaries,)
    for n_copies in _COPIES if copies is None else (copies,):
        found = [
            _design(epsilon, size, n_copies, n_epochs, gain, delta, confidence)
            for n_epochs in (_EPOCHS if epochs is None else (epochs,))
            for size in sizes
        ]
        enough = [plan for plan in found if plan.power >= power]
        if enough:
            return min(enough, key=lambda plan: (plan.canaries * plan.epochs, plan.canaries))
    best = max(found, key=lambda plan: (plan.power, plan.expected))
    raise ConfigError(
        f"no design of this size shows epsilon {epsilon:g} with probability {power:.0%}; the best: {best.text()}"
    )


def _design(
    epsilon: float, canaries: int, copies: int, epochs: int, gain: float, delta: float, confidence: float
) -> CanaryPlan:
    separation = min(gain * copies * epochs, 12.0)
    return CanaryPlan(
        epsilon, canaries, copies, epochs, separation,
        expected_bound(canaries, separation, delta, confidence),
        chance_to_show(epsilon, canaries, separation, delta, confidence),
        largest_bound(canaries, delta, confidence),
    )  # fmt: skip
