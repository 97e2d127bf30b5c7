"""Structure that hands leave and training seldom does. It supports a finding; alone it also comes from honest work:
pruning leaves zero rows, conversions of grouped attention repeat rows, some initialisations are identities.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from undertow.scanner.evidence import FEWEST, ZERO
from undertow.scanner.findings import Finding
from undertow.scanner.layers import Layer
from undertow.scanner.repeats import groups, mirrored
from undertow.types import Array

ONE = 1e-3  # of the length of a row, that may lie on other inputs than the one it copies
SHORT = -3.0  # decades beside the usual length of a row, below which it is next to nothing
MOST = 1000  # rows that are named


def structure(layers: Iterable[Layer]) -> Iterator[Finding]:
    """Repeated and mirrored rows, rows that copy one input, zero rows beside others."""
    for one in layers:
        if one.transposed or one.units < FEWEST:
            continue
        for kind, rows, why in (
            ("repeated-rows", _joined(groups(one.weight)), "rows point in nearly the same direction as others"),
            ("mirrored-rows", np.unique(mirrored(one.weight)), "rows are nearly the negative of others"),
            ("copying-rows", copying(one), "rows copy a single input and do nothing else, as parts of circuits do"),
            ("zero-rows", zero(one), "rows are zero beside others that are not: pruned or overwritten"),
        ):
            if len(rows):
                why = f"{len(rows)} of {one.units} {why}"
                named = tuple(rows[:MOST].tolist())
                yield Finding(kind, "info", why, one.weight.file, one.weight.name, named)


def copying(one: Layer) -> Array:
    """Rows with all their weight on one input, where that is no rarity of the layer: at least FEWEST of them.

    Such a row lies in one segment of its sketch, or in all numbers of it alike, at its full length.
    """
    size, length = np.abs(one.weight.sketch), one.weight.norm
    full = np.abs(size - length[:, None]) < ONE * length[:, None]
    alone = (full.sum(1) == 1) & ((size > ONE * length[:, None]).sum(1) == 1)
    rows = np.flatnonzero((length > 0) & (alone | full.all(1)))
    return rows if len(rows) >= FEWEST and one.inputs >= 2 * FEWEST else rows[:0]


def zero(one: Layer) -> Array:
    """Rows that are exactly zero, where some are not."""
    rows = np.flatnonzero(one.weight.square == 0)
    return rows if 0 < len(rows) < one.units else rows[:0]


def quiet(excess: Array) -> Array:
    """(R,) bool: rows that are not zero but next to nothing, as units are that a step of Adam must shut."""
    return (excess > ZERO / 2) & (excess < SHORT)


def _joined(several: list[Array]) -> Array:
    return np.sort(np.concatenate(several)) if several else np.empty(0, int)
