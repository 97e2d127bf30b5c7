"""Is a private trainer what it says it is? A test of any DP-SGD pipeline that is only asked to train.

The trainer is given checkpoints and records made so that correct DP-SGD can do only one thing: where no record has a
gradient, parameters move by the declared noise; where records have very large ones, each moves them by at most
clip / divisor per participation, as often as its coins say, whoever else is in the batch. Every statement is a test;
together they accuse a correct trainer with probability at most 1 - confidence (Bonferroni).

`inspect_module` (dp_inspect) adds what can be read off a module. What is not found is not proved absent: every check
says the smallest violation it would have found, `not_tested` names what this check cannot see, and a bound on epsilon
is the work of `undertow audit dp`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from undertow.audits.dp.bench import FAMILIES, Bench, Check, fine
from undertow.audits.dp.checks import independence_checks, never_moved, noise_checks
from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.head import Train, find_head
from undertow.audits.dp.odd import check_given
from undertow.audits.dp.probe import Movements, Probe, amplified, make_probe, movements, tied
from undertow.audits.dp.record_checks import (
    EVEN,
    SPREAD_LOW,
    crowding_check,
    half,
    mixing_check,
    rates_check,
    sampling_check,
    sensitivity_check,
    spread_check,
    spread_variance,
)
from undertow.audits.dp.response import Response, response
from undertow.metrics.conformance import least_count, least_count_high
from undertow.metrics.epsilon import check_number, check_whole
from undertow.types import BadInput, ConfigError, Examples, MissingExtra, Params

BLIND = (
    "a random subset of records drawn more often than the rest: give the loader's batches to `participation`",
    "bugs that show only with real data, with another number of records, or late in a long training",
    "single tensors whose gradients are clipped as one for the whole batch: give the module to inspect_module",
    "what leaves the training beside the returned parameters: losses, early stopping, choice of hyperparameters",
)
HALVES = ("first", "last", "even", "odd")
FAINT = 5.0  # deviations of the noise that a few loud records move a model by, whose optimiser is not linear
MOST = 220  # trainings that look for records which count twice
VARIED = 2  # trainings that only show what moves


@dataclass(frozen=True)
class Conformance:
    """What the trainings showed. No findings is no proof: see `not_tested`, and `least` of each check."""

    checks: tuple[Check, ...]
    not_tested: tuple[str, ...]
    trainings: int
    confidence: float

    @property
    def findings(self) -> tuple[Check, ...]:
        """The tests that reject what was declared, where the privacy is weaker."""
        return tuple(check for check in self.checks if check.found and check.weaker)

    @property
    def differences(self) -> tuple[Check, ...]:
        """The tests that reject what was declared, where the privacy is not weaker."""
        return tuple(check for check in self.checks if check.found and not check.weaker)

    @property
    def verdict(self) -> str:
        """One line: what was found, else the largest violation that could be missed; and what was not tested."""
        parts = []
        if self.findings:
            parts.append(f"{len(self.findings)} finding{'s' * (len(self.findings) > 1)}")
        if self.differences:
            about = ", ".join(f"{c.test} {c.measured:.2g}" for c in self.differences)
            parts.append(f"it differs from the declaration ({about}); privacy not weakened as far as was measured")
        if not self.findings:
            sizes = "; ".join(f"{c.test}: {c.least}" for c in self.checks if c.least and not c.found)
            parts.append(f"nothing larger than this found ({sizes or 'no test was made'})")
        return ". ".join(parts) + f". NOT TESTED: {'; '.join(self.not_tested)}."

    def table(self) -> str:
        """One line per test, what each finding means and how to mend it, what was not tested, and the verdict."""
        rows = [f"{'test':<14} {'measured':>9} {'p-value':>9}  {'':<7} {'about':<40} would have found"]
        for c in sorted(self.checks, key=lambda c: (not c.found, not c.weaker, c.p_value)):
            word = ("FOUND" if c.weaker else "differs") if c.found else "-"
            rows.append(f"{c.test:<14} {c.measured:>9.3g} {c.p_value:>9.1e}  {word:<7} {c.about:<40} {c.least}")
        for c in (*self.findings, *self.differences):
            rows += ["", f"{c.test}, {c.about}: {c.means}.", f"  Fix: {c.fix}."]
        rows += ["", *(f"Not tested: {reason}." for reason in self.not_tested)]
        return "\n".join([*rows, f"{self.trainings} trainings, confidence {self.confidence:.1%}: {self.verdict}"])


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
    None: the matrix that answers to the labels); with LoRA, of the adapted model, adapters apart. `data` are a few real
    records, two at least, with a label each or one for each token: their values are used, their labels are not. The
    trainer is called 11 * `runs` times and 32 to 300 times more, always with `claim.records` records. A correct trainer
    is accused with probability at most 1 - `confidence`.

    Raises ConfigError for a head that cannot be used, BadInput for records or returns that cannot.
    """
    check_given(train, data, seed)
    if not isinstance(claim, DpClaim):
        raise ConfigError(f"claim is a {type(claim).__name__}: give a DpClaim")
    check_whole("runs", runs, 8)
    check_number("confidence", confidence, 0.5, 1, "()", "0.999")
    found = find_head(train, checkpoint, data, claim, head, seed)
    probe = make_probe(checkpoint, data, claim, found, seed)
    bench, pairs = _train_all(train, probe, claim, runs, 1 - confidence)
    done, missing = _judge(bench)
    account = _accounting(claim)
    reasons = [
        f"norms of tied weights ({one} = {two}) beyond these records: give the module to inspect_module"
        for one, two in pairs
    ]
    total = sum(len(m.values) for m in (*bench.sets, *([bench.tied] if bench.tied else [])))
    done, missing = [*done, *account[0]], [*missing, *reasons, *account[1]]
    return Conformance(tuple(done), (*missing, *BLIND), total, confidence)


def _train_all(
    train: Train, probe: Probe, claim: DpClaim, runs: int, level: float
) -> tuple[Bench, list[tuple[str, str]]]:
    """All crafted trainings, and the pairs of names that are one tensor."""
    some, more = max(1, claim.records // 4), 3 * runs // 2
    silent = movements(train, probe, [probe.records(run=r) for r in range(runs)], "silent")
    pairs = tied(silent, probe)
    silent = silent.only([name for name in silent.parts if name not in {two for _, two in pairs}])
    answer = response(claim, sum(silent.of(name).shape[1] for name in silent.parts if silent.of(name).any()))
    clean = _cleaner(silent, probe, answer)

    def played(count: int, purpose: str, **records: object) -> Movements:
        sets = [probe.records(run=r, **records) for r in range(count)]  # type: ignore[arg-type]
        return clean(movements(train, probe, sets, purpose))

    ratio = 1 + 0.7 * claim.records * answer.reach**2 * (answer.counts or 0) / answer.noise**2  # records move it less
    full = max(24, least_count(ratio, level / FAMILIES / 2, SPREAD_LOW) or 24)
    shout, mixed = probe.can_shout, not probe.one_input
    varied = movements(train, probe, [probe.varied(r) for r in range(VARIED)], "varied")
    bench = Bench(
        probe,
        claim,
        answer,
        level,
        some,
        silent=clean(silent),
        full=played(full, "full", loud=claim.records),
        few=played(more, "few", loud=some),
        wild=played(runs, "wild", loud=some, wild=some) if mixed else None,
        crowd=played(more, "crowd", loud=some, louder=some) if shout else None,
        louder=played(more, "louder", louder=some) if shout else None,
        halves={about: played(3 * runs // 4, about, among=half(about, claim.records)) for about in HALVES},
        varied=clean(varied),
    )
    if pairs and not claim.weight_decay:
        bench = replace(bench, tied=_both_uses(train, bench, more))
    if answer.coins is None:
        copies = min(some, math.ceil(FAINT / answer.ratio))
        return replace(bench, faint=(played(more, "faint", loud=copies), copies)), pairs
    count = _spread_count(bench, runs)
    return replace(bench, spread=played(count, "spread", loud=some) if count else None), pairs


def _both_uses(train: Train, b: Bench, count: int) -> Movements | None:
    """Trainings in which every record is loud in both uses of tied weights; None: the values do not stay finite."""
    probe = amplified(b.probe)
    sets = [probe.records(run=r, loud=b.claim.records) for r in range(count)]
    try:
        return movements(train, probe, sets, "tied").only(list(b.silent.parts))
    except BadInput:
        return None


def _spread_count(b: Bench, runs: int) -> int:
    """How many trainings with a few loud records, in new places, show records that count 0 or 2 by chance."""
    if not b.answer.coins or not b.alike:
        return 0
    signal, more = spread_variance(b)
    noise = b.answer.noise**2
    ratio = 0.95 * (more + noise) / (signal + noise)  # drift takes a little of it away
    if ratio < 1.5:
        return 0
    return max(runs, least_count_high(ratio, b.single(), EVEN, MOST) or MOST)


def _cleaner(silent: Movements, probe: Probe, answer: Response) -> Callable[[Movements], Movements]:
    """What takes the declared decay out of movements, and puts 0 where rounding hides the noise."""
    rounds = probe.claim.steps if probe.claim.weight_decay else 1
    lost, hidden = {}, {}
    for name in silent.parts:
        use = fine(probe.checkpoint[name], answer.noise, rounds)
        decay = (answer.kept - 1) * probe.checkpoint[name].astype(float).ravel()
        mean = silent.of(name).mean(0)
        if np.square(mean - decay)[use].sum() < np.square(mean)[use].sum():  # biases are often spared
            lost[name] = decay
        if use.any():
            hidden[name] = ~use

    def clean(m: Movements) -> Movements:
        for name, decay in lost.items():
            m.of(name)[:] -= decay
        for name, where in hidden.items():
            m.of(name)[:, where] = 0.0
        return m.only(list(silent.parts))

    return clean


def _judge(b: Bench) -> tuple[list[Check], list[str]]:
    """All tests, and why those that were not made were not."""
    if not b.moved:
        raise ConfigError("the trainer returned every checkpoint as it was given: it does not train")
    done = noise_checks(b)
    hidden = _hidden(b)
    missing = [f"noise of {hidden}: rounding hides it"] if hidden else []
    missing += never_moved(b)
    if b.drift:
        done = [check for check in done if check.test not in ("excess noise", "noise in parts")]
        return done, [f"all but missing noise: {_why_drift(b)}", *missing]
    if b.noisy:
        done += independence_checks(b)
    else:
        missing.append("independence of the noise: there is none")
    if b.one_noise:
        return done, [*missing, "sensitivity, sampling, mixing, crowding: all trainings have the same noise"]
    if not b.alike:
        return done, [*missing, "sensitivity, sampling, mixing, crowding: no tensor has a noise to compare with"]
    sensitivity = sensitivity_check(b)
    if sensitivity.measured < 0.6:
        missing.append(f"clipping beyond {sensitivity.measured:.2g} of its norm: no louder record could be made")
    tests = (sensitivity, rates_check(b), spread_check(b), sampling_check(b), mixing_check(b), crowding_check(b))
    return _sorted(tests, done, missing)


def _sorted(tests: Sequence[Check | str], done: list[Check], missing: list[str]) -> tuple[list[Check], list[str]]:
    checks = [test for test in tests if isinstance(test, Check)]
    return [*done, *checks], [*missing, *(test for test in tests if isinstance(test, str))]


def _hidden(b: Bench) -> str:
    names = []
    for name in b.moved:
        lost = int((~b.shows(name)).sum())
        if lost:
            names.append(f"{lost} of {b.shows(name).size} numbers of {name}")
    return ", ".join(names)


def _why_drift(b: Bench) -> str:
    """A common share of the starting values that was lost is a decay; else the records were not silent."""
    before = np.concatenate([b.probe.checkpoint[n].astype(float).ravel() for n in b.moved])
    mean = np.concatenate([b.silent.of(n).mean(0) for n in b.moved])
    use = np.concatenate([b.fine(n) for n in b.moved])
    share = -float(mean[use] @ before[use]) / max(float(before[use] @ before[use]), 1e-300)
    rest = mean[use] + share * before[use]
    if float(rest @ rest) < 0.5 * float(mean[use] @ mean[use]):
        rate = -math.log1p(-min(share, 0.999)) / sum(b.claim.rates)
        return f"weights decay by {share:.3g} of their value: declare weight_decay={rate:.2g}, or turn off weight decay"
    return (
        "records made to have no gradient move the model: turn off weight decay, label smoothing and labels drawn anew "
        "(label DP: give scores of your trainings to undertow epsilon) for this check"
    )


def _accounting(claim: DpClaim) -> tuple[list[Check], list[str]]:
    """The claimed epsilon against the accountant's, which is no statistical test: p is 0 or 1."""
    if claim.epsilon is None:
        return [], ["accounting: no epsilon is claimed"]
    try:
        proved = claim.proved_epsilon()
    except (MissingExtra, ConfigError) as error:
        return [], [f"accounting: {error}"]
    short = claim.epsilon < 0.99 * proved
    means = f"epsilon {claim.epsilon:.3g} is claimed; the declared mechanism has {proved:.3g} at delta {claim.delta:g}"
    measured, least = claim.epsilon / proved, "0.99 of the accountant's epsilon"
    fix = "account by its real steps"
    checks = [Check("accounting", "epsilon", measured, float(not short), short, means, fix, least)]
    if claim.delta >= 1 / claim.records:
        means = f"delta {claim.delta:g} allows one of {claim.records} records to be published"
        checks.append(
            Check("accounting", "delta", claim.delta * claim.records, 0.0, True, means, "delta below 1/records")
        )
    return checks, []


__all__ = ["Conformance", "check_pipeline"]
