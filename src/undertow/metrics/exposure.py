"""Which records an attack gives away."""

from typing import Any

import numpy as np

from undertow.types import Array, Scores


def exposure(scores: Scores) -> np.ma.MaskedArray[Any, Any]:
    """How far each record stands out when it is a member, (Q,) in 0..1; higher = more exposed, .5 = hidden.

    Mean, over the targets trained on the record, of the share of that target's non-members that score lower
    (ties half): the record's contribution to the AUC of those targets. 1 is above every non-member, always.
    Masked where no target with non-members was trained on it: a masked array, not a pair, because a value
    that may be missing should not be readable without its mask.

    >>> member = np.array([[True, False, False], [True, True, False]])
    >>> exposure(Scores("loss", np.array([[9.0, 1.0, 2.0], [0.0, 5.0, 5.0]]), member))
    masked_array(data=[0.5, 0.5, --],
                 mask=[False, False,  True],
           fill_value=1e+20)
    """
    total = np.zeros(scores.member.shape[1])
    count = np.zeros(scores.member.shape[1], int)
    for values, inside, outside in zip(scores.values, scores.inside, scores.outside):
        if outside.any():
            total[inside] += _share_below(values[inside], np.sort(values[outside]))
            count += inside
    return np.ma.masked_array(total / np.maximum(count, 1), mask=count == 0)


def _share_below(values: Array, ascending: Array) -> Array:
    """Share of `ascending` (n,) lower than each value, ties half, shape of `values`."""
    ranks = np.searchsorted(ascending, values, "left") + np.searchsorted(ascending, values, "right")
    result: Array = ranks / (2 * len(ascending))
    return result
