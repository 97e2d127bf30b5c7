"""What a DP audit says: whether the claim is refuted, and how hard it was tried.

Three rules. A number comes only from a bound whose premise stands. The claim is called refuted at 99.9 %; between the
confidence of the bounds and that, nothing is decided. The point estimate is no bound and is not above the ceiling.
"""

from collections.abc import Iterator

from undertow.report.checks import Check
from undertow.report.verdict import Verdict
from undertow.report.words import count
from undertow.types import AuditResult, Measurement

ACCOUNTANTS = {
    "stated": "as stated",
    "pld": "privacy loss distribution",
    "prv": "PRV accountant",
    "rdp": "Renyi accountant",
}
ASSUMES = {
    "none": "nothing",
    "gdp": "a Gaussian trade-off curve",
    "claimed-pld": "the claimed training, with noise unknown",
    "gaussian-scores": "Gaussian scores of any covariance",
    "final-iterate": "final weights of the claimed training, with noise unknown",
}
HALF = 0.5  # of the ceiling; a bound below it says little
ACCUSES = 0.001  # p-value up to which a claim is called refuted
OF_EPSILON = ("clopper-pearson", "one-run")  # tests of (epsilon, delta) alone; the others are of the whole curve


def verdict(result: AuditResult) -> Verdict:
    """The reading of one DP audit: by the test of the claim, and the one bound that may be quoted beside it."""
    main, p = headline_of(result), p_value_of(result)
    checks = tuple(_checks(result, main))
    if main is None or main.value is None or main.epsilon is None:
        return Verdict("undecided", "Nothing can be said: there is no headline bound.", (), checks)
    level, ceiling = 1 - (main.confidence or 0.95), ceiling_of(result, main)
    sure = f"{100 * (main.confidence or 0):g}% confidence, {count(main.n, main.unit)}"
    least = f"assuming nothing, epsilon is at least {main.value:.2f} ({sure})"
    if p <= min(ACCUSES, level):
        state, said = "violated", f"Refuted: {_rejected(result, main, p)}; {least}."
    elif p <= level:
        state, said = "repeat", f"Not decided: repeat with another seed. {_doubt(main, p)}; {least}."
    elif main.value < HALF * ceiling:
        state, said = "loose", f"Not refuted, but hardly tested: epsilon is at least {main.value:.2f} ({sure})."
    else:
        state = "within"
        said = f"Not refuted: epsilon is at least {main.value:.2f} of the {main.epsilon:.2f} claimed ({sure})."
    return Verdict(state, said, tuple(_findings(result, main, ceiling, p, state)), checks)


def headline_of(result: AuditResult) -> Measurement | None:
    """The bound that may be quoted: the one fixed before the runs, or where its premise is rejected, a free one."""
    main = next((m for m in result.measurements if m.headline), None)
    if main is None or main.assumes == "none" or p_value_of(result) > 1 - (main.confidence or 0.95):
        return main
    return next((m for m in result.measurements if _free(m, main)), None)


def p_value_of(result: AuditResult) -> float:
    """Of the claim, at the access of the headline; 1 where it was not tested."""
    main = next((m for m in result.measurements if m.headline), None)
    test = _test(result, main)
    return 1.0 if test is None or test.value is None else test.value


def ceiling_of(result: AuditResult, main: Measurement) -> float:
    """What the headline's access could ever show; the claim where that is not known."""
    rows = (m.value for m in result.measurements if m.metric == "epsilon_ceiling" and m.view == main.view)
    return next((value for value in rows if value is not None), main.epsilon or 0.0)


def point_of(result: AuditResult, main: Measurement) -> Measurement | None:
    """The point estimate that goes with the headline; none where the claim is rejected or it is above the ceiling."""
    if p_value_of(result) <= 1 - (main.confidence or 0.95):
        return None
    rows = [m for m in result.measurements if m.metric == "epsilon_point" and m.view == main.view]
    return next((m for m in rows if m.value is not None and m.value <= ceiling_of(result, main) + 1e-9), None)


def rejected(p: float) -> str:
    """The p-value in words: rejected, in doubt, or not rejected."""
    return "rejected" if p <= ACCUSES else "in doubt"


def share(p: float) -> str:
    """A p-value as people write it.

    >>> share(0.0123), share(3e-41)
    ('0.012', '3e-41')
    """
    return f"{p:.2g}"


def _test(result: AuditResult, main: Measurement | None) -> Measurement | None:
    view = main.view if main else None
    return next((m for m in result.measurements if m.metric == "claim_p_value" and m.view == view), None)


def _whole_curve(result: AuditResult, main: Measurement) -> bool:
    test = _test(result, main)
    return test is not None and test.bound not in OF_EPSILON


def _rejected(result: AuditResult, main: Measurement, p: float) -> str:
    if _whole_curve(result, main):
        return f"the claimed trade-off curve is rejected (p = {share(p)})"
    return f"the claim of epsilon {main.epsilon:.2f} is rejected (p = {share(p)})"


def _doubt(main: Measurement, p: float) -> str:
    return (
        f"The claim is rejected at {100 * (main.confidence or 0):g}% (p = {share(p)}), and only p = {ACCUSES:g} or "
        "less is called refuted"
    )


def _findings(result: AuditResult, main: Measurement, ceiling: float, p: float, state: str) -> Iterator[str]:
    claim, level = main.epsilon or 0.0, 1 - (main.confidence or 0.95)
    if state in ("violated", "repeat"):
        yield from _accusation(result, main, level, state)
        return
    bound = f"The headline is the bound {main.bound}"
    if main.assumes and main.assumes != "none":
        yield f"{bound}; it rests on {ASSUMES.get(main.assumes, main.assumes)}, which is what the claim is made of."
    else:
        yield f"{bound}; it assumes nothing of the training."
    if ceiling < 0.98 * claim:
        yield (
            f"With access to {_seen(main.view)}, no test of such canaries could show more than {ceiling:.2f} of the "
            f"{claim:.2f} unassisted: the accountant also protects against somebody who sees every step. A bound that "
            "assumes the claimed training may conclude more."
        )
    point = point_of(result, main)
    if point is not None and point.value is not None:
        yield f"Point estimate {point.value:.2f}: {point.bound} at 50% confidence, cut at {ceiling:.2f}; no bound."
    free = next((m for m in result.measurements if _free(m, main)), None)
    if free is not None and free is not main and free.value is not None:
        yield f"Without any assumption ({free.bound}) the runs show {free.value:.2f}: such a bound needs far more runs."
    if p <= 0.5:
        yield f"If the claim were true, so many right guesses would be seen with probability at most {share(p)}."
    yield "A claim that stands is not proved: another canary, access or implementation detail may break it."


def _accusation(result: AuditResult, main: Measurement, level: float, state: str) -> Iterator[str]:
    claim, shown = main.epsilon or 0.0, main.value or 0.0
    if shown <= claim and _whole_curve(result, main):
        yield (
            f"Rejected is that this training is the claimed mechanism. That its epsilon is above {claim:.2f} is not "
            f"shown: {main.bound} assumes nothing and needs far more runs. Bounds that assume the claimed mechanism "
            "have no value here."
        )
    if shown > claim and _whole_curve(result, main):
        yield f"Epsilon is above the claimed {claim:.2f} whatever the mechanism is ({100 * (1 - level):g}% confidence)."
    if state == "repeat":
        yield (
            f"A correct trainer comes this far in at most {100 * level:g} of 100 audits. Two seeds that both do so "
            f"accuse a correct trainer in at most 1 of {round(1 / level**2):,} cases: that is enough to refute."
        )
    else:
        yield f"A correct trainer is called refuted in at most {1000 * min(ACCUSES, level):g} of 1,000 audits."
    yield (
        "The test assumes the declared sampling, steps and noise, one record added or removed, and a canary that "
        "obeys the clipping norm: a wrong declaration is rejected like a wrong trainer."
    )


def _free(m: Measurement, main: Measurement) -> bool:
    kind = (m.metric, m.assumes, m.view, m.at)
    return kind == ("epsilon_lower", "none", main.view, None) and m.bound in OF_EPSILON and m.warning is None


def _seen(view: str | None) -> str:
    words = {"black-box": "outputs of the final model", "weights": "the final weights", "iterates": "every step"}
    return words.get(view or "", view or "what was seen")


def _checks(result: AuditResult, main: Measurement | None) -> Iterator[Check]:
    name = "Does the bound stay at zero without a canary?"
    null = next((m for m in result.controls if m.metric == "epsilon_lower"), None)
    if null is None or null.value is None:
        yield Check(name, None, "The runs without a canary were not compared among themselves.")
    else:
        text = f"Between two halves of the runs without a canary the same bound gives {null.value:.2f}"
        again = "" if null.value == 0 else ": 1 audit in 20 does so by chance; another seed must not"
        yield Check(name, null.value == 0, f"{text}{again}.")
    leak = result.utility.get("largest part of another record in a canary's direction")
    name = "Do the canaries keep to themselves?"
    if leak is not None:
        text = f"At the checkpoint, another record moves a canary's direction by at most {leak:.2g} clipping norms"
        why = "" if leak < 0.02 else "; the bounds hold all the same, they are only looser"
        yield Check(name, leak < 0.02, f"{text}{why}.")
    if result.config.get("recipe", {}).get("sampling") == "shuffled":
        text = "Batches are shuffled; the accountants count Poisson sampling, so the claim is not theirs to make."
        yield Check("Does the sampling match the accountant?", False, text)
    elif main is not None and "privacy" not in result.environment and main.attack == "own":
        text = "The sampling is taken as declared; an own pipeline's is not tested here (check_pipeline tests it)."
        yield Check("Does the sampling match the accountant?", None, text)
    elif main is not None:
        text = "Every record joins every step by a coin of its own (at rate 1: always), as the accountants assume."
        yield Check("Does the sampling match the accountant?", True, text)
