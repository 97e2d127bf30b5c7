"""Epsilon from scores as text for a terminal: the bounds, the headline in words, the claim."""

from undertow.report.dp.verdict import ACCUSES, share
from undertow.report.lines import WIDTH, aligned, warned
from undertow.report.words import wrapped
from undertow.types import AuditResult, Measurement

ASSUMES = {
    "none": "nothing",
    "gdp": "a Gaussian curve",
    "claimed-pld": "the claimed curve",
    "gaussian-scores": "Gaussian scores",
}
BAYESIAN = "joint-beta"


def summary(result: AuditResult) -> str:
    """The result as plain text without colour, ready for a pipe; ends without a newline."""
    rows = [m for m in result.measurements if m.metric == "epsilon_lower" and m.group is None]
    first = next(m for m in rows if m.headline)
    says = [f"READING\n{wrapped(in_words(first), WIDTH, '', '')}", *_claim(result, first)]
    return "\n\n".join([_head(result, first), _table(rows, result), *says, *warned(result.warnings)])


def _head(result: AuditResult, first: Measurement) -> str:
    sizes, unit = result.data["sizes"], result.config["unit"]
    outside = sizes["trials"] - sizes["members"]
    if unit == "runs":
        what = "each a training run of its own" if sizes["runs"] == sizes["trials"] else f"of {sizes['runs']:,} runs"
    else:
        what = "canaries of one run" if sizes["runs"] == 1 else f"canaries of {sizes['runs']:,} runs"
    data = f"{result.data['name']}: {sizes['trials']:,} trials, {what}; {sizes['members']:,} with the record, "
    lines = [
        "Lower bounds of epsilon from given scores (epsilon)",
        wrapped(f"{data}{outside:,} without", WIDTH, "data    ", " " * 8),
        f"asked   delta {first.delta:g}, {100 * (first.confidence or 0):g} % confidence",
    ]
    return "\n".join(lines)


def _table(rows: list[Measurement], result: AuditResult) -> str:
    lines: list[list[str] | str] = [["  bound", "epsilon at least", "assumes", "n", "unit"]]
    for m in rows:
        mark = "> " if m.headline else "  "
        assumes = "a prior" if m.bound == BAYESIAN else ASSUMES[m.assumes or "none"]
        lines.append(
            [
                f"{mark}{m.attack}",
                "premise rejected" if m.value is None else f"{m.value:.3f}",
                assumes,
                f"{m.n:,}",
                m.unit,
            ]
        )
    how = result.config["how"]
    said = "the bound that assumes nothing" if any(m.value is None for m in rows) else "a bound fixed before looking"
    notes = [f"> the headline, {said}; {how[next(m.attack for m in rows if m.headline)]}"]
    return "\n".join([aligned(lines), *(wrapped(note, WIDTH, "", "  ") for note in notes)])


def in_words(first: Measurement) -> str:
    """The headline's bound as a sentence with its premise."""
    sure = f"With {100 * (first.confidence or 0):g} % confidence"
    if not first.value:
        return (
            f"Read as higher = member, these scores show no leak: {sure.lower()} nothing above epsilon 0 can be said "
            f"at delta {first.delta:g}. That is no proof of privacy; more trials or a better attack may show one."
        )
    text = f"{sure}, epsilon is at least {first.value:.3f} at delta {first.delta:g}"
    if first.bound == BAYESIAN:
        return f"{text}, in the sense of a Bayesian posterior: its coverage is not guaranteed."
    if first.assumes == "none":
        return f"{text}, whatever the mechanism is."
    if first.assumes == "gaussian-scores":
        return (
            f"{text}, if every canary moves its score by the same and the noise of the scores is Gaussian; canaries "
            "need not be independent. Of other scores this number means nothing."
        )
    return f"{text}, if its trade-off curve is Gaussian. Of another mechanism this number means nothing."


def state_of(result: AuditResult) -> str:
    """violated | repeat | within where there is a claim, by its p-value; else bounded."""
    test = next((m for m in result.measurements if m.metric == "claim_p_value"), None)
    if test is None or test.value is None:
        return "bounded"
    level = 1 - (test.confidence or 0.95)
    return "violated" if test.value <= min(ACCUSES, level) else "repeat" if test.value <= level else "within"


def _claim(result: AuditResult, first: Measurement) -> list[str]:
    test = next((m for m in result.measurements if m.metric == "claim_p_value"), None)
    claimed = next((m for m in result.measurements if m.metric == "epsilon_claimed"), None)
    if test is None or test.value is None or claimed is None:
        return []
    said = f"The claim of {result.config.get('claimed')}"
    p, level = test.value, 1 - (test.confidence or 0.95)
    free = f"assuming nothing, the scores show epsilon at least {first.value:.3f}" * (first.assumes == "none")
    if p <= min(ACCUSES, level):
        text = f"{said} is REFUTED (p = {share(p)}); a true claim is called so in at most 1 of 1,000 audits."
    elif p <= level:
        text = (
            f"{said} is NOT DECIDED: repeat with new trainings and coins. p = {share(p)}, and a true claim comes below "
            f"{level:g} in {100 * level:g} of 100 audits; refuted is p <= {ACCUSES:g}, or a second set of scores that "
            f"comes below {level:g} too (1 true claim in {round(1 / level**2):,})."
        )
    else:
        text = f"{said} is not refuted (p = {share(p)}). That does not confirm it."
    if free and first.bound != BAYESIAN:
        text += f" {free[0].upper()}{free[1:]} at delta {first.delta:g}."
    return [f"CLAIM\n{wrapped(text, WIDTH, '', '')}", *_at_points(result)]


def _at_points(result: AuditResult) -> list[str]:
    """A claimed curve, and what is shown at its deltas."""
    rows = [m for m in result.measurements if m.group == "curve"]
    if not rows:
        return []
    lines: list[list[str] | str] = [["  delta", "claimed epsilon", "shown at least"]]
    lines += [[f"  {m.delta:.3g}", f"{m.epsilon:.3f}", f"{m.value:.3f}"] for m in rows]
    return [f"THE CLAIMED CURVE\n{aligned(lines)}\n  (all of these hold at once, and assume nothing)"]
