"""Epsilon from scores made anywhere: the bounds that apply, one of them fixed beforehand as the headline."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from scipy.stats import binomtest

from undertow.audits.dp.claimed import Claimed, claimed_epsilon
from undertow.audits.dp.claimed_test import at_points, claim_p_value
from undertow.audits.dp.odd import odd_notes
from undertow.metrics.epsilon import (
    Bound,
    Trials,
    clopper_pearson,
    from_scores,
    gaussian_pairs,
    gdp,
    gdp_accuracy,
    joint_beta,
    one_run_from_scores,
    sequential,
)
from undertow.types import AuditResult, BadInput, ConfigError, Measurement

RUNS = (
    "clopper-pearson",
    "gdp",
    "gdp-accuracy",
    "joint-beta",
    "sequential",
)  # bounds of trials that are runs of their own
CANARIES = ("one-run", "one-run-gdp", "gaussian-pairs")  # bounds of canaries that share a run
NEED_DELTA = ("gdp", "gdp-accuracy", "one-run-gdp", "gaussian-pairs")
UNFAIR = 1e-6  # a coin is called unfair below this p-value
Made = Callable[[], Bound]


@dataclass(frozen=True, eq=False)
class ScoreSet:
    """A file of scores, and where it is from."""

    name: str
    sha256: str
    trials: Trials


@dataclass(frozen=True)
class EpsilonAsk:
    """What is asked of the scores; all of it fixed before they are looked at."""

    delta: float = 1e-5
    confidence: float = 0.95
    bound: str | None = None  # the headline; None: assumption-free, by unit
    threshold: float | Literal["split", "bonferroni"] = "split"
    guesses: tuple[int, int] | None = None  # of a one-run bound, fixed beforehand
    unit: Literal["runs", "canaries"] | None = None  # what a trial is; None: by the column `run`
    independent: bool = False  # trials that share runs are vouched for
    claim: float | None = None  # an epsilon to hold the headline against
    seed: int = 0


def audit_epsilon(
    scores: ScoreSet,
    ask: EpsilonAsk,
    environment: Mapping[str, object] | None = None,
    claim: Claimed | None = None,
) -> AuditResult:
    """Every bound that applies to the scores, the headline first; refuses, in one line, what it may not do.

    claim: to hold the scores against, where it is more than `ask.claim` can say (audits.dp.claimed). Its test assumes
    nothing but the claim; where it rejects, bounds that assume what was claimed have no value. Without a column `run`
    the trials are read as canaries of one run: that reading is right for runs of their own too.
    """
    trials, unit = scores.trials, unit_of_trials(scores.trials, ask)
    headline = headline_of(ask, unit)
    bounds = [(name, make()) for name, make in applicable(trials, ask, unit, headline).items()]
    claim = claim if claim is not None or ask.claim is None else claimed_epsilon(ask.claim, ask.delta)
    rows = [_row(name, bound, name == headline) for name, bound in bounds]
    if claim is not None:
        p = claim_p_value(trials, ask, unit, headline, claim)
        rows = _without_premise(rows, claim, p, ask, unit)
        headline = next(m.attack for m in rows if m.headline)
        rows += [*_claimed(ask, trials, claim, p), *_at_points(trials, ask, unit, claim)]
    config = {**asdict(ask), "bound": headline, "unit": unit, "how": {name: b.threshold_how for name, b in bounds}}
    config |= {"claimed": None if claim is None else claim.said}
    return AuditResult(
        audit="epsilon",
        config=config,
        seed=ask.seed,
        environment=dict(environment or {}),
        data={
            "name": scores.name,
            "sizes": {"trials": trials.scores.size, "members": int(trials.member.sum()), "runs": _runs(trials, unit)},
            "sha256": {"file": scores.sha256},
            "embedded": False,
        },
        measurements=tuple(rows),
        warnings=tuple(_notes(trials, ask, unit)),
    )


def unit_of_trials(trials: Trials, ask: EpsilonAsk) -> Literal["runs", "canaries"]:
    """What a trial is: asked for, or by the column `run`."""
    own = trials.run is not None and trials.runs == trials.scores.size
    if ask.unit == "runs" and trials.run is not None and not own and not ask.independent:
        raise BadInput(
            f"{trials.scores.size} trials of {trials.runs} training runs are not runs of their own; drop --unit runs"
        )
    if ask.unit is not None:
        return ask.unit
    return "runs" if own or ask.independent else "canaries"


def headline_of(ask: EpsilonAsk, unit: str) -> str:
    """The bound to quote; ConfigError where the one asked for does not exist or is not for such trials."""
    possible = RUNS if unit == "runs" else CANARIES
    if ask.bound is None:
        return possible[0]
    if ask.bound not in (*RUNS, *CANARIES):
        raise ConfigError(f"no bound {ask.bound!r}; there are: {', '.join((*RUNS, *CANARIES))}")
    if ask.bound in possible:
        return ask.bound
    if unit == "runs":
        raise ConfigError(
            f"{ask.bound} is for canaries of one run; these trials are runs of their own (--unit canaries?)"
        )
    raise BadInput(
        f"{ask.bound} needs independent trials, and these are canaries that share a run: use one-run, or --unit runs "
        "if each trial is a training run of its own, or --independent if you can show that they are"
    )


def applicable(trials: Trials, ask: EpsilonAsk, unit: str, headline: str) -> dict[str, Made]:
    """How to make each bound, by name, the headline first. `sequential` and `gaussian-pairs` only if asked for."""
    makers = _of_runs(trials, ask, headline) if unit == "runs" else _of_canaries(trials, ask, headline)
    if ask.delta == 0 and headline not in NEED_DELTA:
        makers = {name: make for name, make in makers.items() if name not in NEED_DELTA}
    return {headline: makers[headline], **makers}


def _of_runs(trials: Trials, ask: EpsilonAsk, headline: str) -> dict[str, Made]:
    if ask.guesses is not None:
        raise ConfigError("--guesses is for a one-run bound; give --threshold X")
    independent = ask.independent or trials.run is None or trials.runs == trials.scores.size
    given: dict[str, Any] = {"threshold": ask.threshold, "seed": ask.seed, "independent": independent}
    scored = partial(from_scores, trials, ask.delta, ask.confidence, **given)
    makers: dict[str, Made] = {
        "clopper-pearson": partial(scored, bound=clopper_pearson),
        "gdp": partial(scored, bound=gdp),
        "gdp-accuracy": partial(scored, bound=gdp_accuracy),
        "joint-beta": partial(scored, bound=joint_beta),
    }
    if headline == "sequential":
        makers["sequential"] = partial(_sequential, trials, ask)
    return makers


def _of_canaries(trials: Trials, ask: EpsilonAsk, headline: str) -> dict[str, Made]:
    _check_coins(trials, "a one-run bound")
    if isinstance(ask.threshold, float):
        raise ConfigError("a one-run bound fixes how many are guessed, not a threshold: give --guesses PLUS,MINUS")
    how = ask.guesses or ask.threshold
    make = partial(one_run_from_scores, trials, ask.delta, ask.confidence, guesses=how, seed=ask.seed)
    makers: dict[str, Made] = {"one-run": make, "one-run-gdp": partial(make, gdp=True)}
    if headline == "gaussian-pairs":
        makers[headline] = partial(gaussian_pairs, trials, ask.delta, ask.confidence, seed=ask.seed)
    return makers


def _sequential(trials: Trials, ask: EpsilonAsk) -> Bound:
    """Guesses in the order of the file; the coins must be coins, in that order too."""
    if not isinstance(ask.threshold, float):
        raise ConfigError("the sequential bound needs a threshold fixed beforehand: --threshold X")
    _check_coins(trials, "the sequential bound")
    changes = int((trials.member[1:] != trials.member[:-1]).sum())
    if binomtest(changes, trials.member.size - 1).pvalue < UNFAIR:
        raise BadInput(
            "members and non-members are not in random order: the sequential bound needs the order of the coins"
        )
    right = (trials.scores > ask.threshold) == trials.member
    outcomes = np.where(right, 1, -1)
    return sequential(outcomes, ask.delta, ask.confidence, runs=trials.runs, independent=ask.independent)


def _check_coins(trials: Trials, what: str) -> None:
    m, n = int(trials.member.sum()), trials.member.size
    if binomtest(m, n).pvalue < UNFAIR:
        raise BadInput(f"{m} of {n} trials are members: {what} needs every canary in or out by the toss of a fair coin")


def _runs(trials: Trials, unit: str) -> int:
    if trials.run is not None:
        return trials.runs
    return trials.scores.size if unit == "runs" else 1


def _row(name: str, bound: Bound, headline: bool) -> Measurement:
    return Measurement(
        attack=name,
        metric="epsilon_lower",
        value=bound.epsilon,
        low=None,
        high=None,
        n=bound.n,
        unit=bound.unit,
        delta=bound.delta,
        bound=bound.name,
        assumes=bound.assumes,
        confidence=bound.confidence,
        headline=True if headline else None,
        warning="Bayesian: above the truth more often than it says where both worlds are tight"
        if bound.bayesian
        else None,
    )


def _without_premise(
    rows: list[Measurement], claim: Claimed, p: float, ask: EpsilonAsk, unit: str
) -> list[Measurement]:
    """The rows; where the claim of a Gaussian curve is rejected, those that assume one lose their value."""
    if claim.kind != "gdp" or p > 1 - ask.confidence:
        return rows
    why = f"it assumes a Gaussian curve, and the claimed one is rejected (p = {p:.2g})"
    free = (RUNS if unit == "runs" else CANARIES)[0]
    quoted = next((m.attack for m in rows if m.headline and m.assumes == "none"), free)
    rows = [replace(m, value=None, reason=why) if m.assumes in ("gdp", "gaussian-scores") else m for m in rows]
    return [replace(m, headline=True if m.attack == quoted else None) for m in rows]


def _claimed(ask: EpsilonAsk, trials: Trials, claim: Claimed, p: float) -> list[Measurement]:
    n = trials.scores.size
    test = Measurement(
        "claim", "claim_p_value", p, None, None, n, "trials", delta=ask.delta, bound=claim.kind, assumes="none",
        confidence=ask.confidence,
    )  # fmt: skip
    known = np.isfinite(claim.epsilon)
    bound = "given" if claim.kind == "epsilon" else claim.kind
    row = Measurement(
        "claim", "epsilon_claimed", claim.epsilon if known else None, None, None, n, "trials", delta=ask.delta,
        bound=bound, reason=None if known else "the curve says nothing at this delta",
    )  # fmt: skip
    return [row, test]


def _at_points(trials: Trials, ask: EpsilonAsk, unit: str, claim: Claimed) -> list[Measurement]:
    """What is shown at the deltas of a claimed curve, by the bound that assumes nothing; all hold at once."""
    return [
        replace(_row(bound.name, bound, False), group="curve", epsilon=epsilon)
        for epsilon, bound in at_points(trials, ask, unit, claim)
    ]


def _notes(trials: Trials, ask: EpsilonAsk, unit: str) -> list[str]:
    notes = []
    if trials.run is None and ask.unit is None and unit == "canaries":
        notes.append(
            "no column 'run': the trials are read as canaries of one training run, each in it by the toss of a coin; "
            "if each trial is a training run of its own, say --unit runs"
        )
    if unit == "canaries" and trials.run is not None and trials.runs > 1:
        notes.append(
            f"canaries of {trials.runs} runs are pooled: right if every run tossed its coins anew (no two are the same)"
        )
    notes += odd_notes(trials, ask.delta)
    if ask.independent:
        notes.append("the trials share training runs and are counted as independent because --independent says so")
    if ask.delta == 0:
        notes.append("delta 0: bounds that assume a Gaussian curve are left out, it has no finite epsilon there")
    return notes
