"""Rows that are louder or longer than training makes them (Feng & Tramer 2024, section 2 of our specification).

A trap must saturate the softmax of a head it does not know: the product of the length of its weights and of its
outgoing ones is large (`path`; no rescaling through a ReLU changes it, and copies of a unit add up). One step on a
record must shut it: the outgoing ones are large by themselves (`gain`).
"""

from collections.abc import Iterable, Iterator

import numpy as np

from undertow.scanner.evidence import FEWEST, Measured
from undertow.scanner.layers import SILENT, Hidden, Layer
from undertow.scanner.repeats import groups
from undertow.types import Array

SHORT = 0.1  # length of a layer's rows below which biases are large beside them in benign layers too


def loud(hidden: Iterable[Hidden]) -> Iterator[Measured]:
    """`path` and `gain` of hidden units, in the rows of the layer that holds them."""
    for one in hidden:
        layer, gain = one.layer, one.gain
        if layer.units >= FEWEST:
            name, path, sparse = layer.weight.name, together(layer, layer.norm * gain), layer.adapter
            yield Measured(named("path", layer, one.guessed), name, layer.kind, path, sparse)
            yield Measured(named("gain", layer, one.guessed), name, layer.kind, gain, sparse)


def long(layers: Iterable[Layer]) -> Iterator[Measured]:
    """`norm`: how long the rows are; `behind`: how long with the gains of the norm in front of them.

    `threshold`: biases beside the layer's rows (not of queries and keys). `column`: how long the columns are, where
    units may be on either axis, or are too few. Rows of one number are no directions: stored in whole numbers most of
    them round to 0 or 1, and an ordinary one is a hundred times the rest.
    """
    for one in layers:
        if (one.units < FEWEST or not one.sided) and len(one.across) >= FEWEST:
            yield Measured("column", one.weight.name, one.kind, one.across)
        if one.units < FEWEST or len(one.across) == 1:
            continue
        yield Measured(named("norm", one), one.weight.name, one.kind, one.norm, one.adapter)
        if one.behind is not None:
            yield Measured("behind", one.weight.name, one.kind, one.behind)
        if one.bias is not None and not SILENT.search(one.name):
            length = one.weight.column_norm if one.transposed else one.weight.norm
            middle = float(np.median(length[length > 0])) if (length > 0).any() else 1.0
            size = np.where(length > 0, np.abs(one.bias), 0.0)  # a silenced unit is no trap
            yield Measured(named("threshold", one), one.weight.name, one.kind, size / max(middle, SHORT))


def named(test: str, layer: Layer, guessed: bool = False) -> str:
    """The test, or its twin for adapters, for what shapes alone say, and for convolutions; each has its own limit."""
    if layer.adapter:
        return f"adapter {test}"
    if guessed or (layer.guessed and len(layer.weight.shape) == 2):
        return f"chain {test}"
    return test if len(layer.weight.shape) == 2 else f"conv {test}"


def together(layer: Layer, path: Array) -> Array:
    """Each unit's path, or that of all units that read the same."""
    if layer.transposed:
        return path
    total = path.copy()
    for group in groups(layer.weight):
        total[group] = path[group].sum()
    return total
