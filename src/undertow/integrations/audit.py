"""What canaries showed about one training: the bound, what could have been shown, and whether they were learnt."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from undertow.integrations.canaries import CanaryKey
from undertow.integrations.planner import guess_counts, largest_bound, needed_separation
from undertow.metrics.epsilon import Bound, Trials, one_run_from_scores
from undertow.metrics.roc import auc
from undertow.types import Array, BadInput

_LEARNT = 0.05  # p-value below which members' loss fell more than that of the others


@dataclass(frozen=True)
class CanaryAudit:
    """What the canaries showed about one training run."""

    bound: Bound  # assumption-free
    gdp: Bound  # if the mechanism is Gaussian-DP in every canary, as DP-SGD nearly is; else it means nothing
    loss_members: float  # mean fall of the loss, nats per token
    loss_others: float
    repeats: int
    ceiling: float  # the bound if every guess had been right: the most that this design can show
    separation: float  # d': difference of the mean falls, in standard deviations
    p_value: float  # that the loss of members fell no more than that of the others (rank sum, one-sided)
    notes: tuple[str, ...] = ()  # what was seen, or could not be checked, while training; sentences

    @property
    def learnt(self) -> bool:
        """Whether training told the canaries in the data from those left out."""
        return self.p_value <= _LEARNT

    @property
    def verdict(self) -> str:
        """ "shown", "not shown" (canaries learnt, but too few for a bound), or "inconclusive" (not learnt)."""
        if self.bound.epsilon > 0:
            return "shown"
        return "not shown" if self.learnt else "inconclusive"

    def text(self) -> str:
        """One line for the end of a training."""
        unit = "one record" if self.repeats == 1 else f"{self.repeats} copies of a record"
        claim = (
            f"epsilon >= {self.bound.epsilon:.2f} for {unit} at delta {self.bound.delta:g}, "
            f"{self.bound.confidence:.0%} confidence ({self.bound.name}, {self.bound.n} canaries, assumes nothing; "
            f"{self.gdp.epsilon:.2f} if Gaussian); this design could have shown at most {self.ceiling:.2f}."
        )
        fell = (
            f" Loss of canaries fell by {self.loss_members:.3g} in the data, {self.loss_others:.3g} outside "
            f"(separation {self.separation:.2f})."
        )
        return f"undertow: {self._why()}{claim}{fell}" + "".join(f" {note}" for note in self.notes)

    def _why(self) -> str:
        if self.verdict == "shown":
            return ""
        if self.verdict == "inconclusive":
            return "inconclusive: the canaries were not learnt, so privacy was not tested. "
        needed = needed_separation(self.bound.n, self.bound.delta, self.bound.confidence)
        return (
            f"nothing shown: the canaries were learnt, but {self.bound.n} of them give a bound above 0 only from a "
            f"separation of about {needed:.2f} (undertow.integrations.plan_canaries says what a bound needs). "
        )


def audit_canaries(
    before: Array,
    after: Array,
    key: CanaryKey,
    delta: float = 1e-5,
    confidence: float = 0.95,
    notes: tuple[str, ...] = (),
) -> CanaryAudit:
    """The bound from every canary's loss before and after training, (m,) each; the score is how far it fell.

    Guessed are the highest and the lowest eighth of the scores, a number fixed before the run. BadInput where the
    coins fell all alike, a loss is not finite, or there is not one for each canary.
    """
    first, last = np.asarray(before, float), np.asarray(after, float)
    if first.shape != key.member.shape or last.shape != key.member.shape:
        raise BadInput(
            f"the key holds {len(key.member)} canaries, and there are {first.shape} losses before and {last.shape} "
            "after: give one loss for each canary, in the order of key.tokens"
        )
    if not (np.isfinite(first) & np.isfinite(last)).all():
        raise BadInput(
            "a loss of a canary is not finite; the model has diverged, or a canary has no token that is scored"
        )
    fell = first - last
    member = key.member
    trials = Trials(fell, member, np.zeros(len(fell), int))
    guesses = guess_counts(len(fell))
    plain, gdp = (
        one_run_from_scores(trials, delta, confidence, gdp=g, guesses=guesses, seed=key.seed) for g in (False, True)
    )
    return CanaryAudit(
        plain, gdp, float(fell[member].mean()), float(fell[~member].mean()), key.repeats,
        largest_bound(len(fell), delta, confidence), _separation(fell, member), _p_value(fell, member), notes,
    )  # fmt: skip


def _separation(fell: Array, member: Array) -> float:
    spread = float(np.sqrt((fell[member].var() + fell[~member].var()) / 2))
    return float(fell[member].mean() - fell[~member].mean()) / spread if spread > 0 else 0.0


def _p_value(fell: Array, member: Array) -> float:
    """Mann-Whitney, one-sided, normal approximation; ties count half, which makes the test cautious."""
    n, k = member.size, int(member.sum())
    deviation = np.sqrt((n + 1) / (12 * k * (n - k)))
    return float(ndtr((0.5 - auc(fell, member)) / deviation))
