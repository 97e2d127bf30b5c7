"""Scores of the runs of a DP audit -> measurements: bounds, point estimate, ceiling, the test of the claim.

A number comes only from a bound whose premise stands. Where the claim is rejected, no bound that assumes the claimed
mechanism has a value, and the headline is the bound that assumes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from undertow.audits.dp.reader import Reader
from undertow.audits.dp.settings import ACCESSES
from undertow.metrics.epsilon import Bound, Trials, gaussian_pairs
from undertow.types import Array, Measurement

BAYESIAN = "a credible bound: its coverage is measured, not proved"
POOLED = "pooled: disjoint directions (measured), isotropic noise, independent coins"
CAPPED = "not above the claim, which was not rejected"
FREE = ("clopper-pearson", "one-run", "joint-beta")  # bounds that assume nothing of the mechanism


@dataclass(frozen=True)
class Quoted:
    """What the claim's test leaves to be quoted."""

    headline: str  # the bound that was planned, or the one that assumes nothing where its premise is rejected
    p_value: float  # of the claim
    rejected: bool  # at the confidence of the bounds


def quoted(tests: Reader, reads: Mapping[str, Array]) -> Quoted:
    """The headline after the claim was put to the test, at the access that was asked for."""
    config = tests.config
    p = tests.claim_test(trials_of(reads, config.access, config.one_run), config.access)
    rejected = p <= 1 - config.confidence
    free = "one-run" if config.one_run else "clopper-pearson"
    return Quoted(free if rejected else config.headline, p, rejected)


def trials_of(reads: Mapping[str, Array], access: str, one_run: bool) -> Trials:
    """One trial for each run and canary; run names are kept where a run has several."""
    scores, member = reads[access], reads["member"]
    runs = np.repeat(np.arange(len(scores)), scores.shape[1]) if one_run else None
    return Trials(scores.ravel().astype(float), member.ravel().astype(bool), runs)


def bound_rows(tests: Reader, reads: Mapping[str, Array], quote: Quoted) -> list[Measurement]:
    """Every bound of every access, one of them the headline; point estimates, ceilings, tests of the claim."""
    rows = []
    for access in (a for a in ACCESSES if a in reads):
        trials = trials_of(reads, access, tests.config.one_run)
        p = quote.p_value if access == tests.config.access else tests.claim_test(trials, access)
        bounds = _one_run_bounds(tests, trials) if tests.config.one_run else _world_bounds(tests, trials, access)
        found = [_row(tests, access, bound, quote) for bound in bounds]
        if quote.rejected or p <= 1 - tests.config.confidence:
            found = [_void(m, quote.p_value if quote.rejected else p) for m in found]
        rows += [_ceiling_row(tests, access), *found]
        if access == tests.config.access and not quote.rejected:
            rows += _point_rows(tests, access, trials, quote)
        rows.append(_test_row(tests, access, trials, p))
    return rows


def _world_bounds(tests: Reader, trials: Trials, access: str) -> list[Bound]:
    asked, main = access == tests.config.access, tests.config.headline
    names = [n for n in tests.bounds if asked or n in ("clopper-pearson", main)]
    found = [tests.bound(name, trials, access, tests.config.confidence) for name in names]
    return found + [tests.final_bound(trials, unit) for unit in (None, 1.0) if tests.reads_final(access)]


def _one_run_bounds(tests: Reader, trials: Trials) -> list[Bound]:
    level, access = tests.config.confidence, tests.config.access
    names = ("one-run", *(["one-run-gdp"] if tests.claim.noise.rate == 1 else []))
    found = [tests.one_run_bound(name, trials, level) for name in names]
    if tests.apart and tests.claim.noise.rate == 1:
        found.append(gaussian_pairs(trials, tests.delta, level, seed=tests.config.seed))
    if tests.poolable:
        found += [tests.bound(name, trials, access, level) for name in ("clopper-pearson", "gdp", "gdp-accuracy")]
    return found


def _point_rows(tests: Reader, access: str, trials: Trials, quote: Quoted) -> list[Measurement]:
    """The headline bound at even odds, cut at the ceiling; none where the bound itself is above the ceiling."""
    main, ceiling = tests.config.headline, tests.ceiling(access)
    if tests.poolable and tests.config.one_run:
        main = "gdp-accuracy"  # the one-run bounds are too low at any confidence
    if tests.config.one_run and not tests.poolable:
        level = tests.one_run_bound(main, trials, tests.config.confidence).epsilon
        point = tests.one_run_bound(main, trials, 0.5)
    else:
        level = tests.bound(main, trials, access, tests.config.confidence).epsilon
        point = tests.bound(main, trials, access, 0.5)
    if level > ceiling:
        return []
    cut = point.epsilon > ceiling
    warning = f"{main} at confidence 0.5" + ", cut at what this access can show" * cut
    row = _row(tests, access, point, quote)
    return [replace(row, metric="epsilon_point", value=min(point.epsilon, ceiling), headline=None, warning=warning)]


def control_rows(tests: Reader, reads: Mapping[str, Array], quote: Quoted) -> list[Measurement]:
    """The headline bound where there is no canary at all: one half of the runs without it against the other."""
    config = tests.config
    if config.one_run or config.runs < 4:
        return []
    without = reads[config.access][~reads["member"]]
    trials = Trials(without.astype(float), np.arange(len(without)) % 2 == 0)
    bound = tests.bound(quote.headline, trials, config.access, config.confidence, planned=config.runs)
    return [replace(_row(tests, config.access, bound, quote), value=bound.epsilon, headline=None, group="no canary")]


def growth_rows(tests: Reader, reads: Mapping[str, Array], quote: Quoted) -> list[Measurement]:
    """The headline bound after fewer runs, `at` so many in all."""
    config = tests.config
    total = len(reads["member"])
    rows = []
    for n in _fewer(config.runs):
        if config.one_run:
            part = {name: values[:n] for name, values in reads.items()}
            bound = tests.one_run_bound(quote.headline, trials_of(part, config.access, True), config.confidence)
        else:
            keep = np.concatenate([np.arange(n), np.arange(total // 2, total // 2 + n)])
            part = {name: values[keep] for name, values in reads.items()}
            trials = trials_of(part, config.access, False)
            bound = tests.bound(quote.headline, trials, config.access, config.confidence, planned=config.runs)
        at = float(n if config.one_run else 2 * n)
        rows.append(replace(_row(tests, config.access, bound, quote), headline=None, at=at))
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


def _row(tests: Reader, access: str, bound: Bound, quote: Quoted) -> Measurement:
    """A lower bound; the headline is cut at the claim where that was not rejected (the test rounds up, by 1e-4)."""
    config = tests.config
    head = bound.name == quote.headline and access == config.access and bound.unit != "independent trials"
    over = head and not quote.rejected and bound.epsilon > tests.claim.noise.epsilon
    warning = BAYESIAN if bound.bayesian else POOLED if bound.unit == "independent trials" else None
    return replace(
        _plain(tests, "epsilon_lower", tests.claim.noise.epsilon if over else bound.epsilon, bound=bound.name),
        view=access, n=bound.n, unit=bound.unit, assumes=bound.assumes, confidence=bound.confidence,
        headline=True if head else None, warning=CAPPED if over else warning,
    )  # fmt: skip


def _void(m: Measurement, p: float) -> Measurement:
    """The row without its value where it assumes the claimed mechanism, which is rejected."""
    if m.bound in FREE:
        return m
    return replace(m, value=None, reason=f"it assumes the claimed mechanism, which is rejected (p = {p:.2g})")


def _ceiling_row(tests: Reader, access: str) -> Measurement:
    return replace(_plain(tests, "epsilon_ceiling", tests.ceiling(access)), view=access)


def _test_row(tests: Reader, access: str, trials: Trials, p: float) -> Measurement:
    row = _plain(tests, "claim_p_value", p, bound=tests.config.headline)
    confidence, n = tests.config.confidence, trials.scores.size
    unit = "canaries" if tests.config.one_run else "runs"
    return replace(row, view=access, n=n, unit=unit, assumes="none", confidence=confidence)


def _plain(tests: Reader, metric: str, value: float, bound: str | None = None) -> Measurement:
    return Measurement(
        tests.config.canary, metric, float(value), None, None, 0, "runs", epsilon=tests.claim.noise.epsilon,
        delta=tests.delta, bound=bound,
    )  # fmt: skip
