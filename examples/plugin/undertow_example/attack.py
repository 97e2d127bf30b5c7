"""An attack: the target's signal less the median signal of models that never saw the record."""

import numpy as np

from undertow.attacks.attack import ONE_SIGNAL, Attack, one_signal, plain
from undertow.types import Array, BadInput, Signals


def median_calibrated(shadow: Signals, target: Array) -> Array:
    """The target's value less the median of the OUT models' at the same point, (T, Q); higher = member.

    Calibration by difficulty (Watson et al. 2022, arXiv:2111.08440) with a median, which one odd model cannot move.
    BadInput where every model was trained on a point.
    """
    if shadow.member.all(0).any():
        raise BadInput(f"point {int(shadow.member.all(0).argmax())} is IN every model; one OUT model is needed")
    out = np.where(shadow.member, np.nan, shadow.values)
    result: Array = np.asarray(target - np.nanmedian(out, 0), float)
    return result


MEDIAN = Attack(
    "median-calibrated",
    "attack",
    "the signal less the median of OUT models",
    ONE_SIGNAL,
    one_signal,
    plain(median_calibrated),
    least_in=0,
    least_out=1,
)
