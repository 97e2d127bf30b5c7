"""Is a private trainer what it says it is? A test of any DP-SGD pipeline that is only asked to train.

The trainer is given checkpoints and records made so that correct DP-SGD can do only one thing: where no record has a
gradient, parameters move by the declared noise; where records have very large ones, each moves them by at most
clip / batch per participation, as often as its coins say, whoever else is in the batch. Every statement is a test;
together they accuse a correct trainer with probability at most 1 - confidence (Bonferroni).

`inspect_module` (dp_inspect) adds what can be read off a module. What is not found is not proved absent: `not_tested`
names what this check cannot see, and a bound on epsilon is the work of `undertow audit dp`.
"""

from dataclasses import dataclass

from undertow.audits.dp.bench import FAMILIES, Bench, Check
from undertow.audits.dp.checks import (
    SPREAD_LOW,
    crowding_check,
    independence_checks,
    mixing_check,
    noise_checks,
    sampling_check,
    sensitivity_check,
)
from undertow.audits.dp.claim import DpClaim, response
from undertow.audits.dp.probe import Train, make_probe, movements
from undertow.metrics.conformance import least_count
from undertow.types import ConfigError, Examples, MissingExtra, Params

BLIND = (
    "bugs that show only with real data or late in a long training",
    "single tensors whose gradients are clipped as one for the whole batch: give the module to inspect_module",
    "what leaves the training beside the returned parameters: losses, early stopping, choice of hyperparameters",
)


@dataclass(frozen=True)
class Conformance:
    """What the trainings showed. No findings is no proof: see `not_tested`."""

    checks: tuple[Check, ...]
    not_tested: tuple[str, ...]
    trainings: int
    confidence: float

    @property
    def findings(self) -> tuple[Check, ...]:
        """The tests that reject what was declared."""
        return tuple(check for check in self.checks if check.found)

    def table(self) -> str:
        """One line per test, then what each finding means and how to mend it, then what was not tested."""
        rows = [f"{'test':<13} {'measured':>9} {'p-value':>9}  {'':<7} about"]
        for c in sorted(self.checks, key=lambda c: (not c.found, c.p_value)):
            rows.append(
                f"{c.test:<13} {c.measured:>9.3g} {c.p_value:>9.1e}  {'FOUND' if c.found else '-':<7} {c.about}"
            )
        for c in self.findings:
            rows += ["", f"{c.test}, {c.about}: {c.means}.", f"  Fix: {c.fix}."]
        rows += ["", *(f"Not tested: {reason}." for reason in self.not_tested)]
        count = len(self.findings)
        verdict = f"{count} finding{'s' * (count > 1)}" if count else "nothing found, which is not a proof"
        return "\n".join([*rows, f"{self.trainings} trainings, confidence {self.confidence:.1%}: {verdict}."])


def check_pipeline(
    train: Train,
    checkpoint: Params,
    data: Examples,
    claim: DpClaim,
    *,
    head: str | None = None,
    runs: int = 16,
    seed: int = 0,
    confidence: float = 0.999,
) -> Conformance:
    """Test `train(checkpoint, data, seed) -> checkpoint` against what `claim` declares.

    `checkpoint` is a state dict of the trained model as NumPy arrays, with a classification head (`head`: its name;
    None: the last layer with a bias); with LoRA, of the adapted model, adapters apart. `data` are a few real records,
    two at least: their values are used, their labels are not. The trainer is called 5 * `runs` times and 24 to 128
    times more, always with `claim.records` records. A correct trainer is accused with probability at most
    1 - `confidence`.

    Raises ConfigError for a head that cannot be used, BadInput for records or returns that cannot.
    """
    if runs < 8 or not 0.5 < confidence < 1:
        raise ConfigError(f"runs = {runs}, confidence = {confidence}: at least 8 runs, confidence in (0.5, 1)")
    bench = _train_all(train, checkpoint, data, claim, head, runs, seed, 1 - confidence)
    done, missing = _judge(bench)
    account = _accounting(claim)
    done, missing = [*done, *account[0]], [*missing, *account[1]]
    total = sum(len(m.values) for m in bench.sets)
    return Conformance(tuple(done), (*missing, *BLIND), total, confidence)


def _train_all(
    train: Train,
    checkpoint: Params,
    data: Examples,
    claim: DpClaim,
    head: str | None,
    runs: int,
    seed: int,
    level: float,
) -> Bench:
    probe, answer = make_probe(checkpoint, data, claim, head, seed), response(claim)
    some = max(1, claim.records // 4)
    ratio = 1 + 0.7 * claim.records * answer.reach**2 * (answer.counts or 0) / answer.noise**2  # records move it less
    full = max(24, least_count(ratio, level / FAMILIES / 2, SPREAD_LOW) or 24)

    def played(count: int, purpose: str, **records: int):  # type: ignore[no-untyped-def]
        return movements(train, probe, probe.records(**records), count, purpose)

    return Bench(
        probe,
        claim,
        answer,
        level,
        some,
        silent=played(runs, "silent"),
        full=played(full, "full", loud=claim.records),
        few=played(runs, "few", loud=some),
        wild=played(runs, "wild", loud=some, wild=some),
        crowd=played(runs, "crowd", loud=some, louder=some),
        louder=played(runs, "louder", louder=some),
    )


def _judge(b: Bench) -> tuple[list[Check], list[str]]:
    """All tests, and why those that were not made were not."""
    if not b.moved:
        raise ConfigError("the trainer returned every checkpoint as it was given: it does not train")
    done = noise_checks(b)
    missing = [] if set(b.ratios) == set(b.moved) else [f"noise of {_rest(b)}: rounding hides it"]
    if b.drift:
        done = [check for check in done if check.test != "excess noise"]
        why = (
            "records made to have no gradient move the model: turn off weight decay and label smoothing for this check"
        )
        return done, [*missing, f"all but missing noise: {why}"]
    if b.noisy:
        done += independence_checks(b)
    else:
        missing.append("independence of the noise: there is none")
    if b.one_noise:
        return done, [*missing, "sensitivity, sampling, mixing, crowding: all trainings have the same noise"]
    sensitivity = sensitivity_check(b)
    if sensitivity.measured < 0.6:
        missing.append(f"clipping beyond {sensitivity.measured:.2g} of its norm: no louder record could be made")
    for check in (sensitivity, sampling_check(b), mixing_check(b), crowding_check(b)):
        if isinstance(check, str):
            missing.append(check)
        else:
            done.append(check)
    return done, missing


def _rest(b: Bench) -> str:
    return ", ".join(name for name in b.moved if name not in b.ratios)


def _accounting(claim: DpClaim) -> tuple[list[Check], list[str]]:
    """The claimed epsilon against the accountant's, which is no statistical test: p is 0 or 1."""
    if claim.epsilon is None:
        return [], ["accounting: no epsilon is claimed"]
    try:
        proved = claim.proved_epsilon()
    except MissingExtra as error:
        return [], [f"accounting: {error}"]
    short = claim.epsilon < 0.99 * proved
    means = f"epsilon {claim.epsilon:.3g} is claimed; the declared mechanism has {proved:.3g} at delta {claim.delta:g}"
    checks = [
        Check(
            "accounting", "epsilon", claim.epsilon / proved, float(not short), short, means, "account by its real steps"
        )
    ]
    if claim.delta >= 1 / claim.records:
        means = f"delta {claim.delta:g} allows one of {claim.records} records to be published"
        checks.append(
            Check("accounting", "delta", claim.delta * claim.records, 0.0, True, means, "delta below 1/records")
        )
    return checks, []
