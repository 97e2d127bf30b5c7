"""DP audits of somebody's own private finetuning: any callable that trains from a checkpoint and records.

    train(checkpoint, data, seed) -> parameters after training

It is called with the canary and without it, each time with a seed of its own; Opacus, LoRA, another framework or
another machine may be behind it. What is seen of it is up to `score`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from undertow.audits.dp.odd import check_given, number_of, odd_notes
from undertow.audits.dp.plan import Claim, claim_of
from undertow.audits.dp.reader import Reader
from undertow.audits.dp.rows import bound_rows, claim_rows, control_rows, growth_rows, quoted
from undertow.audits.dp.settings import ACCESSES, DpConfig, DpData, DpRecipe
from undertow.audits.dp.source import calls
from undertow.audits.leakage import Stopwatch, plain
from undertow.engine.key import fingerprint
from undertow.metrics.epsilon import Trials, approximate_dp_curve, check_number, check_whole
from undertow.rng import seed_for
from undertow.training.privacy import Noise, Privacy, noise_of_claim
from undertow.types import Array, AuditResult, BadInput, ConfigError, Examples, Params, Progress, Scores

Train = Callable[[Params, Examples, int], Params]
Score = Callable[[Params, Params], float]


RECALIBRATES = (
    "train calls Opacus' make_private_with_epsilon: it computes the noise anew in each of the {:,} trainings, for the "
    "records of that training, so that the worlds with and without the canary get different noise. Compute the noise "
    "multiplier once and call make_private(noise_multiplier=...) in train"
)


@dataclass(frozen=True)
class Mechanism:
    """What the pipeline says it does: Poisson-subsampled Gaussian steps, with the noise that meets the claim."""

    rate: float  # share of the records in a step; 1: all of them
    steps: int

    def __post_init__(self) -> None:
        check_number("Mechanism: rate", self.rate, 0, 1, "(]", "0.05")
        check_whole("Mechanism: steps", self.steps)


def move_along(direction: Params) -> Score:
    """A score: how far the parameters went against `direction`, such as the gradient of the canary's loss."""

    def score(before: Params, after: Params) -> float:
        return float(sum(((before[n] - after[n]).astype(np.float64) * d).sum() for n, d in direction.items()))

    return score


def audit_dp_pipeline(
    train: Train,
    checkpoint: Params,
    data: Examples,
    canary: Examples,
    score: Score,
    *,
    epsilon: float,
    delta: float = 1e-5,
    mechanism: Mechanism | None = None,
    runs: int = 100,
    seed: int = 0,
    threshold: float | None = None,
    confidence: float = 0.95,
    access: str = "weights",
    progress: Progress | None = None,
) -> AuditResult:
    """Bound the epsilon of `train` from `runs` trainings with the canary and as many without.

    canary: one record like those of `data`; it comes last. score(checkpoint, after) is higher where it was there; it
    is what the adversary sees, named by `access`. threshold: fixed before the runs; None: chosen on half of them.
    With a `mechanism` the claimed trade-off curve is tested and the headline is tighter; without one nothing is
    assumed and the headline is Clopper and Pearson's, which needs many runs (metrics.epsilon.least_trials). The two
    worlds differ by one record: a pipeline that divides by the number of records tells them apart by that, too.
    `train` must use the same noise multiplier in every call: computed once, outside of it. Opacus'
    `make_private_with_epsilon` inside of `train` computes it anew in each of the 2 `runs` trainings, for the records of
    that training, so that the two worlds differ by more than the record (a warning says so where it is seen).
    Raises ConfigError for an access that is none, BadInput for a canary that is not one record or a score that is no
    number.
    """
    check_given(train, data, seed, score=score)
    if not isinstance(canary, Examples):
        raise ConfigError(f"canary is a {type(canary).__name__}: give Examples(x, y, name) with one record")
    if mechanism is not None and not isinstance(mechanism, Mechanism):
        raise ConfigError(f"mechanism = {mechanism!r}: give Mechanism(rate, steps), or None")
    if access not in ACCESSES:
        raise ConfigError(f"access = {access!r}; allowed: {', '.join(ACCESSES)}")
    if len(canary) != 1:
        raise BadInput(f"{len(canary)} canaries: give one record")
    if canary.x.shape[1:] != data.x.shape[1:]:
        raise BadInput(f"the canary is {canary.x.shape[1:]}, the records are {data.x.shape[1:]}: give one like them")
    if threshold is not None and (not isinstance(threshold, Real) or not np.isfinite(threshold)):
        raise ConfigError(f"threshold = {threshold}: give a number, or None to choose it on half of the runs")
    tests = _tests(epsilon, delta, mechanism, runs, seed, threshold, confidence, access, len(data))
    clock = Stopwatch()
    with clock.stage("runs"):
        scores = _play(train, checkpoint, data, canary, score, runs, seed, progress)
    member = np.arange(2 * runs)[:, None] < runs
    reads = {access: scores[:, None], "member": member}
    with clock.stage("bounds"):
        quote = quoted(tests, reads)
        rows = [
            *claim_rows(tests, {}, True),
            *bound_rows(tests, reads, quote),
            *growth_rows(tests, reads, quote),
        ]
        controls = control_rows(tests, reads, quote)
    return AuditResult(
        audit="dp",
        config=plain(tests.config),
        seed=seed,
        environment={"fixed": tests.fixed()},
        data={"name": data.name, "sizes": {"victim": len(data)}, "sha256": fingerprint(data.x), "embedded": False},
        measurements=tuple(replace(m, attack="own") for m in rows),
        controls=tuple(replace(m, attack="own") for m in controls),
        timing=clock.seconds,
        warnings=(
            *((RECALIBRATES.format(2 * runs),) if calls(train, "make_private_with_epsilon") else ()),
            *odd_notes(Trials(scores, member[:, 0]), delta),
        ),
        scores=(Scores("own", scores[:, None], member, view=access),),
        ids=("canary-0",),
    )


def _play(
    train: Train,
    checkpoint: Params,
    data: Examples,
    canary: Examples,
    score: Score,
    runs: int,
    seed: int,
    progress: Progress | None,
) -> Array:
    """Scores (2 runs,): with the canary, then without."""
    both = Examples(np.concatenate([data.x, canary.x]), np.concatenate([data.y, canary.y]), data.name)
    found = []
    for i in range(2 * runs):
        if progress:
            progress("runs", i, 2 * runs)
        world, records = ("with", both) if i < runs else ("without", data)
        start = {name: value.copy() for name, value in checkpoint.items()}
        after = train(start, records, seed_for(seed, "dp pipeline", world, i % runs))
        if after is None:
            raise BadInput(f"run {i}: train returned None; it must return the parameters after training")
        found.append(number_of(score(checkpoint, after), i))
    return np.array(found)


def _tests(
    epsilon: float,
    delta: float,
    mechanism: Mechanism | None,
    runs: int,
    seed: int,
    threshold: float | None,
    confidence: float,
    access: str,
    records: int,
) -> Reader:
    asked = mechanism or Mechanism(0.5, 1)
    config = DpConfig(
        seed=seed, epsilon=epsilon, delta=delta, access=access, canary="random", runs=runs, confidence=confidence,  # type: ignore[arg-type]
        bound="auto" if mechanism else "clopper-pearson", data=DpData("own", records=records),
        recipe=DpRecipe(steps=asked.steps, rate=asked.rate),
    )  # fmt: skip
    if mechanism:
        claim = claim_of(noise_of_claim(Privacy(epsilon, delta), asked.rate, asked.steps))
    else:
        claim = Claim(Noise(0.0, epsilon, delta, 1.0, 0.5, 1), approximate_dp_curve(epsilon, delta), known=False)
    return Reader(config, claim, False, float("nan"), threshold)
