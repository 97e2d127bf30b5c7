"""What an encoding lost: values at the end of its scale, and ties from rounding, named with their share."""

import numpy as np

from undertow.types import Array

AT_END = 0.001  # share of (model, record) pairs at one end of the scale from which it is said
TIED = 0.1  # share of pairs that share their value with another record of the same model
FIX = "save logits in float32, not probabilities, where the model has logits"
FIX_VALUE = "make the values from float32 logits, without a clip"


def lost_order(key: str, signal: Array, given: Array, ends: Array | None = None) -> tuple[str, ...]:
    """Sentences about pairs (M, N) of `signal` whose order was lost, out of the array `given` of the file.

    `ends` marks pairs known to lie at an end of the scale: probabilities that are 0, or the smallest there is.
    """
    derived = not key.endswith("values")
    fix = FIX if derived else FIX_VALUE
    scale = float(np.abs(signal).max()) or 1.0
    rounded = np.round(signal / scale, 11) if derived else signal  # sums in another order differ in the last digits
    if rounded.max() == rounded.min():
        return (f"`{key}`: every (model, record) pair has the same value, so they say nothing about membership",)
    end = np.zeros(signal.shape, bool) if ends is None else ends.copy()
    for value in (rounded.max(), rounded.min()):
        at = rounded == value
        if at.sum() > 1 and at.mean() >= AT_END:
            end |= at
    said = []
    if end.sum() > 1 and end.mean() >= AT_END:
        cause = _cause(given, ends is not None) if derived else "the same extreme value"
        said.append(
            f"`{key}`: {_percent(end)} of the (model, record) pairs lie at the end of the scale ({cause}); their order "
            f"is lost, so detection at few false alarms understates the leak; {fix}"
        )
    tied = _tied(rounded) & ~end
    if tied.mean() >= TIED:
        said.append(
            f"`{key}`: {_percent(tied)} of the (model, record) pairs have exactly the value of another record "
            f"({_coarseness(given)}); their order is lost, so detection at few false alarms is uncertain; {fix}"
        )
    return tuple(said)


def _tied(values: Array) -> Array:
    """True where the same model has the same value for another record, (M, N)."""
    result = np.zeros(values.shape, bool)
    for row, out in zip(values, result, strict=True):
        _, place, count = np.unique(row, return_inverse=True, return_counts=True)
        out[:] = count[place] > 1
    return result


def _cause(given: Array, probabilities: bool) -> str:
    """Why pairs lie at the end: zeros, or a value that many entries of the file share."""
    if probabilities and given.min() in (0, -np.inf):
        return "probabilities of exactly 0 or 1"
    for value in (given.min(), given.max()):
        if (given == value).mean() >= AT_END:
            return f"clipped: many entries are exactly {float(value):.8g}"
    return "many pairs have the same extreme confidence"


def _coarseness(given: Array) -> str:
    """How the numbers of the file are rounded."""
    if given.dtype.kind == "f":
        values = given.astype(float)
        for places in (1, 2, 3, 4):
            step = 10.0**places
            if np.abs(values * step - np.rint(values * step)).max() <= 1e-3:
                return f"rounded to {places} decimal{'s' * (places > 1)}"
        with np.errstate(over="ignore"):
            if np.array_equal(given.astype(np.float16).astype(given.dtype), given):
                return "float16"
    return "few different values, as votes of trees have"


def _percent(mask: Array) -> str:
    return f"{100 * float(mask.mean()):.3g}%"
