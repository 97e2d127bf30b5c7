"""Scores of the runs of a DP audit -> measurements: bounds, point estimate, ceiling, the test of the claim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from undertow.audits.dp.plan import (
    Claim,
    TwoWorlds,
    best_guesses,
    best_threshold,
    fair_threshold,
    simulated,
    two_worlds,
)
from undertow.audits.dp.settings import ACCESSES, DpConfig
from undertow.metrics.ceiling import final_iterate_epsilon
from undertow.metrics.epsilon import (
    Bound,
    Refutation,
    Trials,
    from_scores,
    halves,
    one_run_from_scores,
)
from undertow.metrics.epsilon.accuracy import refutes_by_accuracy
from undertow.types import Array, Measurement

CLOSE = 0.02  # part of another record in a canary's direction, below which trials count as independent
BAYESIAN = "a credible bound: its coverage is measured, not proved"
POOLED = "pooled: disjoint directions (measured), isotropic noise, independent coins"


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
        runs = planned or int(trials.member.sum())
        threshold = self.threshold(name, access, runs)
        shown = trials.run is not None
        how: Any = "split" if threshold is None else threshold
        return from_scores(
            trials, self.delta, confidence, bound=self.bounds[name], threshold=how, seed=self.config.seed,
            independent=shown,
        )  # fmt: skip

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

    def claim_test(self, trials: Trials, access: str) -> Refutation:
        """Whether so many right guesses refute the claimed trade-off curve."""
        threshold = self.threshold("accuracy", access, 0)
        if threshold is None:
            chosen, trials = halves(trials, self.config.seed)
            threshold = fair_threshold(chosen)
        return refutes_by_accuracy(
            trials.counts(threshold), self.claim.curve, self.config.confidence, independent=trials.run is not None
        )

    def ceiling(self, access: str) -> float:
        """What this access could show of canaries that keep to themselves; of others, the claim."""
        noise = self.claim.noise
        if access == "iterates" or not self.apart or not self.claim.known or self.config.recipe.sampling != "poisson":
            return noise.epsilon
        exact = final_iterate_epsilon(noise.multiplier, noise.rate, noise.steps, self.delta)
        return min(exact, noise.epsilon)


def trials_of(reads: Mapping[str, Array], access: str, one_run: bool) -> Trials:
    """One trial for each run and canary; run names are kept where a run has several."""
    scores, member = reads[access], reads["member"]
    runs = np.repeat(np.arange(len(scores)), scores.shape[1]) if one_run else None
    return Trials(scores.ravel().astype(float), member.ravel().astype(bool), runs)


def bound_rows(tests: Reader, reads: Mapping[str, Array]) -> list[Measurement]:
    """Every bound of every access, one of them the headline; point estimates, ceilings, tests of the claim."""
    rows = []
    for access in (a for a in ACCESSES if a in reads):
        trials = trials_of(reads, access, tests.config.one_run)
        rows += [_ceiling_row(tests, access)]
        rows += _one_run_rows(tests, trials, access) if tests.config.one_run else _world_rows(tests, trials, access)
    return rows


def _world_rows(tests: Reader, trials: Trials, access: str) -> list[Measurement]:
    level, main = tests.config.confidence, tests.config.headline
    asked = access == tests.config.access
    names = [n for n in tests.bounds if asked or n in ("clopper-pearson", main)]
    rows = [_row(tests, access, tests.bound(name, trials, access, level)) for name in names]
    rows += [_point_row(tests, access, tests.bound(main, trials, access, 0.5))] * asked
    return [*rows, _test_row(tests, trials, access)]


def _one_run_rows(tests: Reader, trials: Trials, access: str) -> list[Measurement]:
    level, found = tests.config.confidence, []
    for name in ("one-run", *(["one-run-gdp"] if tests.claim.noise.rate == 1 else [])):
        found.append(_one_run_bound(tests, name, trials, level))
    rows = [_row(tests, access, bound) for bound in found]
    if tests.poolable:
        pooled = [tests.bound(name, trials, access, level) for name in ("clopper-pearson", "gdp", "gdp-accuracy")]
        rows += [replace(_row(tests, access, b), warning=POOLED, headline=None) for b in pooled]
        rows += [_point_row(tests, access, tests.bound("gdp-accuracy", trials, access, 0.5))]
        return [*rows, _test_row(tests, trials, access)]
    point = _one_run_bound(tests, tests.config.headline, trials, 0.5)
    return [*rows, _point_row(tests, access, point)]


def _one_run_bound(tests: Reader, name: str, trials: Trials, confidence: float) -> Bound:
    gaussian, count = name == "one-run-gdp", trials.scores.size
    guesses: Any = "split"
    if tests.apart:
        guesses = tests.guesses(count, gaussian)
    return one_run_from_scores(
        trials, tests.delta, confidence, gdp=gaussian, guesses=guesses, seed=tests.config.seed
    )  # fmt: skip


def control_rows(tests: Reader, reads: Mapping[str, Array]) -> list[Measurement]:
    """The headline bound where there is no canary at all: one half of the runs without it against the other."""
    config = tests.config
    if config.one_run or config.runs < 4:
        return []
    without = reads[config.access][~reads["member"]]
    trials = Trials(without.astype(float), np.arange(len(without)) % 2 == 0)
    bound = tests.bound(config.headline, trials, config.access, config.confidence, planned=config.runs)
    return [replace(_row(tests, config.access, bound), headline=None, group="no canary")]


def growth_rows(tests: Reader, reads: Mapping[str, Array]) -> list[Measurement]:
    """The headline bound after fewer runs, `at` so many in all."""
    config = tests.config
    total = len(reads["member"])
    rows = []
    for n in _fewer(config.runs):
        if config.one_run:
            part = {name: values[:n] for name, values in reads.items()}
            trials = trials_of(part, config.access, True)
            bound = _one_run_bound(tests, config.headline, trials, config.confidence)
        else:
            keep = np.concatenate([np.arange(n), np.arange(total // 2, total // 2 + n)])
            part = {name: values[keep] for name, values in reads.items()}
            trials = trials_of(part, config.access, False)
            bound = tests.bound(config.headline, trials, config.access, config.confidence, planned=config.runs)
        at = float(n if config.one_run else 2 * n)
        rows.append(replace(_row(tests, config.access, bound), headline=None, at=at))
    return rows


def claim_rows(tests: Reader, claims: Mapping[str, float], stated: bool) -> list[Measurement]:
    """What is claimed, by each accountant; `stated`: the epsilon that was typed, which the noise may not meet."""
    rows = [_plain(tests, "epsilon_claimed", value, bound=name) for name, value in claims.items()]
    if stated:
        rows.insert(0, _plain(tests, "epsilon_claimed", tests.config.epsilon, bound="stated"))
    return rows


def _fewer(most: int) -> Sequence[int]:
    """2, 5, 10, 20, 50, ... below `most`, the last five of them."""
    return [k * 10**p for p in range(6) for k in (1, 2, 5) if 1 < k * 10**p < most][-5:]


def _row(tests: Reader, access: str, bound: Bound) -> Measurement:
    config = tests.config
    head = bound.name == config.headline and access == config.access
    return replace(
        _plain(tests, "epsilon_lower", bound.epsilon, bound=bound.name),
        view=access, n=bound.n, unit=bound.unit, assumes=bound.assumes, confidence=bound.confidence,
        headline=True if head else None, warning=BAYESIAN if bound.bayesian else None,
    )  # fmt: skip


def _point_row(tests: Reader, access: str, bound: Bound) -> Measurement:
    row = replace(_row(tests, access, bound), metric="epsilon_point", headline=None)
    return replace(row, warning="the headline bound at confidence 0.5")


def _ceiling_row(tests: Reader, access: str) -> Measurement:
    return replace(_plain(tests, "epsilon_ceiling", tests.ceiling(access)), view=access)


def _test_row(tests: Reader, trials: Trials, access: str) -> Measurement:
    found = tests.claim_test(trials, access)
    row = _plain(tests, "claim_p_value", found.p_value, bound="accuracy")
    return replace(row, view=access, n=found.n, unit=found.unit, assumes="none", confidence=found.confidence)


def _plain(tests: Reader, metric: str, value: float, bound: str | None = None) -> Measurement:
    return Measurement(
        tests.config.canary, metric, float(value), None, None, 0, "runs", epsilon=tests.claim.noise.epsilon,
        delta=tests.delta, bound=bound,
    )  # fmt: skip
