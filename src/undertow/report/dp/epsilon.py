"""Epsilon from scores as text for a terminal: the bounds, the headline in words, the claim."""

from undertow.report.lines import WIDTH, aligned, warned
from undertow.report.words import wrapped
from undertow.types import AuditResult, Measurement

ASSUMES = {"none": "nothing", "gdp": "a Gaussian curve", "claimed-pld": "the claimed curve"}
BAYESIAN = "joint-beta"


def summary(result: AuditResult) -> str:
    """The result as plain text without colour, ready for a pipe; ends without a newline."""
    rows = [m for m in result.measurements if m.metric == "epsilon_lower"]
    first = next(m for m in rows if m.headline)
    says = [f"READING\n{wrapped(_in_words(first), WIDTH, '', '')}", *_claim(result, first)]
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
        lines.append([f"{mark}{m.attack}", f"{m.value:.3f}", assumes, f"{m.n:,}", m.unit])
    how = result.config["how"]
    notes = [f"> the headline, a bound fixed before looking; {how[next(m.attack for m in rows if m.headline)]}"]
    return "\n".join([aligned(lines), *(wrapped(note, WIDTH, "", "  ") for note in notes)])


def _in_words(first: Measurement) -> str:
    sure = f"With {100 * (first.confidence or 0):g} % confidence"
    if not first.value:
        return (
            f"These scores show no leak: {sure.lower()} nothing above epsilon 0 can be said at delta {first.delta:g}. "
            "That is no proof of privacy; more trials or a better attack may show one."
        )
    text = f"{sure}, epsilon is at least {first.value:.3f} at delta {first.delta:g}"
    if first.bound == BAYESIAN:
        return f"{text}, in the sense of a Bayesian posterior: its coverage is not guaranteed."
    if first.assumes == "none":
        return f"{text}, whatever the mechanism is."
    return f"{text}, if its trade-off curve is Gaussian. Of another mechanism this number means nothing."


def _claim(result: AuditResult, first: Measurement) -> list[str]:
    claimed = next((m for m in result.measurements if m.metric == "epsilon_claimed"), None)
    if claimed is None:
        return []
    said = f"The claim of epsilon {claimed.value:g} at delta {claimed.delta:g}"
    if first.assumes != "none" or first.bound == BAYESIAN:
        text = f"{said} is not tested: {first.attack} rests on more than the scores. Quote an assumption-free bound."
    elif (first.value or 0) > (claimed.value or 0):
        text = f"{said} is REFUTED: the scores show at least {first.value:.3f}, assuming nothing of the mechanism."
    else:
        text = f"{said} is not refuted: the scores show at least {first.value:.3f}. That does not confirm it."
    return [f"CLAIM\n{wrapped(text, WIDTH, '', '')}"]
