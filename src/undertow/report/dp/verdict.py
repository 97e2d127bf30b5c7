"""What a DP audit says: whether the claim is refuted, and how hard it was tried."""

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
}
HALF = 0.5  # of the ceiling; a bound below it says little


def verdict(result: AuditResult) -> Verdict:
    """The reading of one DP audit: decided by the headline alone, which was fixed before the runs."""
    main = headline_of(result)
    checks = tuple(_checks(result, main))
    if main is None or main.value is None or main.epsilon is None:
        return Verdict("undecided", "Nothing can be said: there is no headline bound.", (), checks)
    ceiling = ceiling_of(result, main)
    if main.value > main.epsilon:
        state, said = "violated", f"Refuted: epsilon is at least {main.value:.2f}, not {main.epsilon:.2f}"
    elif main.value < HALF * ceiling:
        state, said = "loose", f"Not refuted, but hardly tested: epsilon is at least {main.value:.2f}"
    else:
        state, said = "within", f"Not refuted: epsilon is at least {main.value:.2f} of the {main.epsilon:.2f} claimed"
    sure = f"{100 * (main.confidence or 0):g}% confidence, {_unit(main)}"
    return Verdict(state, f"{said} ({sure}).", tuple(_findings(result, main, ceiling)), checks)


def headline_of(result: AuditResult) -> Measurement | None:
    """The bound that was fixed before the runs."""
    return next((m for m in result.measurements if m.headline), None)


def ceiling_of(result: AuditResult, main: Measurement) -> float:
    """What the headline's access could ever show; the claim where that is not known."""
    rows = (m.value for m in result.measurements if m.metric == "epsilon_ceiling" and m.view == main.view)
    return next((value for value in rows if value is not None), main.epsilon or 0.0)


def _unit(m: Measurement) -> str:
    return count(m.n, m.unit)


def _findings(result: AuditResult, main: Measurement, ceiling: float) -> Iterator[str]:
    claim = main.epsilon or 0.0
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
    point = next((m for m in result.measurements if m.metric == "epsilon_point" and m.view == main.view), None)
    if point is not None and point.value is not None:
        yield f"Point estimate {point.value:.2f}: as likely too low as too high. More runs bring the bound up to it."
    free = next((m for m in result.measurements if _free(m, main)), None)
    if free is not None and free is not main and free.value is not None:
        yield f"Without any assumption ({free.bound}) the runs show {free.value:.2f}: such a bound needs far more runs."
    test = next((m for m in result.measurements if m.metric == "claim_p_value" and m.view == main.view), None)
    if test is not None and test.value is not None and test.value <= 0.5:
        yield f"If the claim were true, so many right guesses would be seen with probability {_share(test.value)}."
    yield "A claim that stands is not proved: another canary, access or implementation detail may break it."


def _free(m: Measurement, main: Measurement) -> bool:
    return (m.metric, m.assumes, m.view, m.at) == ("epsilon_lower", "none", main.view, None) and m.warning is None


def _share(p: float) -> str:
    return f"at most {p:.2g}" if p >= 1e-4 else "below 0.0001"


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
    elif main is not None:
        text = "Every record joins every step by a coin of its own (at rate 1: always), as the accountants assume."
        yield Check("Does the sampling match the accountant?", True, text)
