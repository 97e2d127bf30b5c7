"""How the scores of a DP audit are read: thresholds fixed beforehand, bounds, the test of the claim, the ceiling."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from undertow.audits.dp.plan import (
    Claim,
    TwoWorlds,
    best_guesses,
    best_threshold,
    fair_threshold,
    simulated,
    two_worlds,
)
from undertow.audits.dp.settings import DpConfig
from undertow.metrics.ceiling import final_iterate_epsilon
from undertow.metrics.epsilon import (
    Bound,
    Trials,
    final_iterate,
    from_scores,
    guess_by_rank,
    one_run_curve_p_value,
    one_run_from_scores,
    one_run_p_value,
    refutes,
    refutes_by_accuracy,
    refutes_epsilon,
    split_counts,
    split_guesses,
)

CLOSE = 0.02  # part of another record in a canary's direction, below which trials count as independent


@dataclass(frozen=True, eq=False)
class Reader:
    """How the runs are read; everything here is fixed before them."""

    config: DpConfig
    claim: Claim  # of what is claimed, not of what may have been done
    apart: bool  # canaries keep to themselves
    leak: float  # largest part of another record in a canary's direction, at the checkpoint
    given: float | None = None  # a threshold that was fixed by other means; it serves every bound

    @property
    def delta(self) -> float:
        return self.config.delta

    @property
    def poolable(self) -> bool:
        """Whether several canaries of one run are independent trials."""
        return self.apart and self.leak < CLOSE and self.claim.noise.rate == 1

    @cached_property
    def bounds(self) -> dict[str, TwoWorlds]:
        return two_worlds(self.claim, self.config.recipe.sampling == "poisson")

    def expected(self, access: str) -> Trials:
        return simulated(self.claim.noise, access == "iterates", self.config.seed)

    def threshold(self, name: str, access: str, runs: int) -> float | None:
        """Of the bound `name`; None where scores have no known distribution and half the runs must choose it."""
        if self.given is not None or not self.apart:
            return self.given
        if name not in ("clopper-pearson", "joint-beta", "gdp"):
            return self._thresholds((access, "fair", 0))
        return self._thresholds((access, "clopper-pearson" if name == "joint-beta" else name, runs))

    @cached_property
    def _found(self) -> dict[tuple[str, str, int], float]:
        return {}

    def _thresholds(self, which: tuple[str, str, int]) -> float:
        access, name, runs = which
        if which not in self._found:
            scores = self.expected(access)
            self._found[which] = (
                fair_threshold(scores)
                if name == "fair"
                else best_threshold(scores, runs, self.bounds[name], self.delta, self.config.confidence)
            )
        return self._found[which]

    def bound(self, name: str, trials: Trials, access: str, confidence: float, planned: int = 0) -> Bound:
        """The two-worlds bound `name`; its threshold is that of `planned` runs of each world (0: of these)."""
        threshold = self.threshold(name, access, planned or int(trials.member.sum()))
        how: Any = "split" if threshold is None else threshold
        return from_scores(
            trials, self.delta, confidence, bound=self.bounds[name], threshold=how, seed=self.config.seed,
            independent=trials.run is not None,
        )  # fmt: skip

    def reads_final(self, access: str) -> bool:
        """Whether scores are how far a canary's own direction moved in subsampled training, in participations."""
        return self.apart and access == "weights" and self.claim.noise.rate < 1 and "claimed-pld" in self.bounds

    def final_bound(self, trials: Trials, unit: float | None) -> Bound:
        """The bound of the final weights (`reads_final`)."""
        noise, config = self.claim.noise, self.config
        return final_iterate(
            trials, noise.rate, noise.steps, self.delta, config.confidence, unit=unit, seed=config.seed
        )  # fmt: skip

    def one_run_bound(self, name: str, trials: Trials, confidence: float) -> Bound:
        """The one-run bound `name`."""
        gaussian = name == "one-run-gdp"
        how: Any = self.guesses(trials.scores.size, gaussian) if self.apart else "split"
        return one_run_from_scores(trials, self.delta, confidence, gdp=gaussian, guesses=how, seed=self.config.seed)

    def guesses(self, canaries: int, gaussian: bool) -> tuple[int, int]:
        """Numbers of guesses of a one-run bound; canaries are in every step or the access does not matter much."""
        if (canaries, gaussian) not in self._planned:
            level, seed = self.config.confidence, self.config.seed
            scores = self.expected(self.config.access)
            self._planned[canaries, gaussian] = best_guesses(scores, canaries, self.delta, level, gaussian, seed)
        return self._planned[canaries, gaussian]

    @cached_property
    def _planned(self) -> dict[tuple[int, bool], tuple[int, int]]:
        return {}

    def fixed(self) -> dict[str, Any]:
        """What is fixed before the runs, for the result: the headline, its threshold or numbers of guesses."""
        config = self.config
        found: dict[str, Any] = {"headline": config.headline}
        if config.one_run:
            if not self.apart:
                return {**found, "guesses": "chosen on half of the canaries"}
            numbers = self.guesses(config.runs * config.canaries, config.headline == "one-run-gdp")
            return {**found, "guesses": list(numbers)}
        found_at = self.threshold(config.headline, config.access, config.runs)
        return {**found, "threshold": "chosen on half of the runs" if found_at is None else found_at}

    def claim_test(self, trials: Trials, access: str) -> float:
        """p-value of the claim, by the test that belongs to the headline bound and by the same guesses.

        A bound that assumes the claimed mechanism is a family of such tests, so it passes the claim only where this
        one rejects. Nothing is assumed beyond the claim.
        """
        name, config = self.config.headline, self.config
        if config.one_run:
            return self._one_run_test(name, trials)
        threshold = self.threshold(name, access, config.runs)
        if threshold is None:
            counts = split_counts(trials, self.delta, config.confidence, bound=self.bounds[name], seed=config.seed)
        else:
            counts = trials.counts(threshold)
        if name == "clopper-pearson":
            return refutes_epsilon(counts, self.claim.noise.epsilon, self.delta).p_value
        test = refutes_by_accuracy if name.endswith("accuracy") else refutes
        return test(counts, self.claim.curve).p_value

    def _one_run_test(self, name: str, trials: Trials) -> float:
        gaussian, seed = name == "one-run-gdp", self.config.seed
        if self.apart:
            guesses = guess_by_rank(trials, *self.guesses(trials.scores.size, gaussian), seed)
        else:
            guesses, _ = split_guesses(trials, self.delta, self.config.confidence, gdp=gaussian, seed=seed)
        if gaussian:
            return one_run_curve_p_value(guesses, self.claim.curve)
        return one_run_p_value(guesses, self.claim.noise.epsilon, self.delta)

    def ceiling(self, access: str) -> float:
        """What this access could show of canaries that keep to themselves; of others, the claim."""
        noise = self.claim.noise
        if access == "iterates" or not self.apart or not self.claim.known or self.config.recipe.sampling != "poisson":
            return noise.epsilon
        exact = final_iterate_epsilon(noise.multiplier, noise.rate, noise.steps, self.delta)
        return min(exact, noise.epsilon)
