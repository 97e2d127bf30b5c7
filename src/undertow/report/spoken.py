"""Numbers as sentences say them: an interval in words, rates in people, names in a row."""

from collections.abc import Sequence

from undertow.report.words import digits
from undertow.types import Measurement


def stated(m: Measurement, also: str = "") -> str:
    """Value and 95 % interval, as read aloud; `also` qualifies the interval.

    >>> stated(Measurement("lira", "auc", 0.7, 0.68, 0.72, 16, "models"))
    '0.700 (95% interval 0.680 to 0.720)'
    """
    if m.value is None:
        return "not resolved"
    return f"{digits(m, m.value)} ({_range(m, '{}', also)})"


def _range(m: Measurement, shown: str, also: str = "") -> str:
    if m.low is None or m.high is None:
        return "no interval"
    low, high = (shown.format(digits(m, x)) for x in (m.low, m.high))
    return f"95% interval {low} to {high}" + (f", {also}" if also else "")


def difference(m: Measurement) -> str:
    """The size of a paired difference of two AUCs, without its sign.

    >>> difference(Measurement("a - b", "auc_difference", 0.032, 0.025, 0.039, 16, "models"))
    '0.032 (95% interval 0.025 to 0.039)'
    """
    if m.value is None or m.low is None or m.high is None:
        return stated(m)
    low, high = (m.low, m.high) if m.value >= 0 else (-m.high, -m.low)
    return f"{abs(m.value):.3f} (95% interval {low:.3f} to {high:.3f})"


def crowd(m: Measurement) -> int:
    """How many members to speak of, so that both rates come out as whole people."""
    per, value, fpr = 100, m.value or 0.0, m.fpr or 1.0
    while per * fpr < 1 - 1e-9 or (0 < value * per < 5 and per < 1e6):
        per *= 10
    return per


def heads(x: float, per: int) -> str:
    """A rate as a number of people out of `per`.

    >>> heads(0.081, 1000), heads(0.0, 100)
    ('81', 'none')
    """
    return f"{x * per:,.0f}" if x > 0 else "none"


def found(m: Measurement, per: int, also: str = "") -> str:
    """How many of `per` members are found, with the interval.

    >>> found(Measurement("lira", "tpr", 0.081, 0.06, 0.1, 16, "models", fpr=0.01), 1000)
    'about 81 (95% interval 60 to 100)'
    """
    value = m.value or 0.0
    about = f"about {heads(value, per)}" if 0 < value < 1 else ("none" if value == 0 else f"all {per:,}")
    if m.low is None or m.high is None:
        return f"{about} (no interval)"
    low, high = (f"{x * per:,.0f}" for x in (m.low, m.high))
    return f"{about} (95% interval {low} to {high}{f', {also}' if also else ''})"


def accused(m: Measurement, per: int) -> str:
    """The price, in people.

    >>> accused(Measurement("lira", "tpr", 0.081, 0.06, 0.1, 16, "models", fpr=0.01), 100)
    '1 of 100 non-members is wrongly accused'
    """
    number = f"{(m.fpr or 0.0) * per:,.4g}"
    return f"{number} of {per:,} non-members {'is' if number == '1' else 'are'} wrongly accused"


def listed(names: Sequence[str]) -> str:
    """Names in a row.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""
