"""Numbers as people write them: no NaN, no false precision, and never a percent sign left to guess."""

import math
import re
import textwrap
from typing import Any

from undertow.types import DIFFERENCE, Measurement, metric_of

HARNESS = "harness"  # the attack's place in rows of lm-evaluation-harness, whose metrics have names of their own


def value(m: Measurement) -> str:
    """The value alone: AUC and losses with three decimals, rates in percent without the sign; differences signed.

    >>> value(Measurement("lira", "tpr", 0.0812, 0.06, 0.1, 16, "models", fpr=0.01))
    '8.1'
    """
    return "not resolved" if m.value is None else digits(m, m.value)


def interval(m: Measurement) -> str:
    """The interval in brackets, or nothing where there is none.

    >>> interval(Measurement("lira", "auc", 0.7, 0.68, 0.72, 16, "models"))
    '[0.680, 0.720]'
    """
    if m.value is None or m.low is None or m.high is None:
        return ""
    return f"[{digits(m, m.low)}, {digits(m, m.high)}]"


def both(m: Measurement) -> str:
    """Value and interval.

    >>> both(Measurement("lira", "auc", 0.7, None, None, 1, "models"))
    '0.700 (no interval)'
    """
    if m.value is None:
        return value(m)
    return f"{value(m)} {interval(m) or '(no interval)'}"


def digits(m: Measurement, x: float) -> str:
    """`x` on the scale of `m`, with the decimals that `value` gives it."""
    metric = metric_of(m.metric)
    sign = "+" if m.metric.endswith(DIFFERENCE) else ""
    form = "plain" if m.attack == HARNESS else metric.form
    if form == "epsilon":
        return f"{x:.2f}"
    if form == "p-value":
        return f"{x:.2g}"
    if form == "count" and m.low is not None:
        return f"{x:,.1f}"
    if form in ("count", "quantity"):
        return quantity(x)
    if form == "plain":
        return f"{x:{sign}.3f}"
    places = max(1, math.ceil(-math.log10(m.fpr)) - 2) if m.fpr else 1
    return f"{100 * x:{sign}.{places}f}"


def suffix(m: Measurement) -> str:
    """The unit to put behind a value: percent, percentage points, nats, or none.

    >>> suffix(Measurement("lira", "tpr_difference", 0.3, 0.2, 0.4, 16, "models", fpr=0.01))
    ' pp'
    """
    return "" if m.value is None or m.attack == HARNESS else metric_of(m.metric).unit


def quantity(x: float) -> str:
    """A count, or a number of any size.

    >>> quantity(1797.0), quantity(53.5), quantity(0.9132), quantity(7e-06)
    ('1,797', '53.5', '0.913', '7.0e-06')
    """
    if abs(x) >= 10 or x == int(x):
        return f"{x:,.0f}" if x == int(x) else f"{x:,.1f}"
    return f"{x:.1e}" if abs(x) < 1e-3 else f"{x:.3g}"


def needs_interval(m: Measurement) -> bool:
    """Whether a reader may ask for an interval: a count, or the largest of some, is what it is.

    >>> needs_interval(Measurement("datatrap", "mixed", 3.0, None, None, 64, "traps", seed=0))
    False
    """
    return metric_of(m.metric).interval or m.low is not None


def sample(m: Measurement) -> str:
    """What was counted, once per table.

    >>> sample(Measurement("lira", "auc", 0.7, 0.6, 0.8, 16, "models", members=1600, non_members=1600))
    '16 models; 1,600 member and 1,600 non-member (model, record) pairs'
    """
    text = count(m.n, m.unit)
    if m.members is not None and m.non_members is not None:
        text += f"; {m.members:,} member and {m.non_members:,} non-member (model, record) pairs"
    return text


def count(n: int, plural: str) -> str:
    """A number of things.

    >>> count(1, "models"), count(2, "points")
    ('1 model', '2 records')
    """
    plural = {"points": "records"}.get(plural, plural)
    return f"{n:,} {plural.removesuffix('s') if n == 1 else plural}"


def plain(x: Any) -> str:
    """Any value of a configuration or of an environment, as text.

    >>> plain(None), plain(float("nan")), plain((1, 2.5)), plain(True), plain("")
    ('not set', 'not available', '1, 2.5', 'yes', '(empty)')
    """
    if x is None:
        return "not set"
    if isinstance(x, bool):
        return "yes" if x else "no"
    if isinstance(x, list | tuple):
        return ", ".join(plain(part) for part in x) or "(empty)"
    if isinstance(x, float):
        return f"{x:.6g}" if math.isfinite(x) else "not available"
    return str(x) or "(empty)"


def seconds(x: float) -> str:
    """A duration.

    >>> seconds(0.004), seconds(12.34), seconds(126), seconds(5025)
    ('under 0.1 s', '12.3 s', '2 min 6 s', '1 h 23 min')
    """
    if not math.isfinite(x):
        return plain(x)
    if x < 0.1:
        return "under 0.1 s"
    if x < 60:
        return f"{x:.1f} s"
    hours, minutes = divmod(round(x) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {round(x) % 60} s"


def unbroken(text: str, space: str = "\N{NO-BREAK SPACE}") -> str:
    """`text` with every number, its unit and its interval held together at line ends.

    >>> unbroken("0.7 [0.6, 0.8] there", "_")
    '0.7_[0.6,_0.8] there'
    """
    text = re.sub(r"(?<=\d) (pp|nats|dB)\b", rf"{space}\1", text)
    return re.sub(r"(?<=[\dpsB%]) (\[[-+\d.,e]+,) (?=[-+\d.,e]+\])", rf"{space}\1{space}", text)


def wrapped(text: str, width: int, first: str, rest: str) -> str:
    """`text` in lines of at most `width`; long words (paths) and intervals are kept whole."""
    lines = textwrap.fill(
        unbroken(one_line(text), "\0"),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace("\0", " ")


def one_line(text: str) -> str:
    """`text` without control characters: a name from a file must not drive the terminal.

    >>> one_line("lira" + chr(27) + "[31m")
    'lira?[31m'
    """
    return "".join(c if c.isprintable() else "?" for c in text)
