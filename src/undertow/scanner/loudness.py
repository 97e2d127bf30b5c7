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
            yield Measured(named("path", layer), layer.weight.name, layer.kind, together(layer, layer.norm * gain))
            yield Measured(named("gain", layer), layer.weight.name, layer.kind, gain)


def long(layers: Iterable[Layer]) -> Iterator[Measured]:
    """`norm`: how long the rows are; `behind`: how long with the gains of the norm in front of them.

    `threshold`: biases beside the layer's rows (not of queries and keys).
    """
    for one in layers:
        if one.units < FEWEST:
            continue
        yield Measured(named("norm", one), one.weight.name, one.kind, one.norm)
        if one.behind is not None:
            yield Measured("behind", one.weight.name, one.kind, one.behind)
        if one.bias is not None and not SILENT.search(one.name):
            length = one.weight.column_norm if one.transposed else one.weight.norm
            middle = float(np.median(length[length > 0])) if (length > 0).any() else 1.0
            size = np.where(length > 0, np.abs(one.bias), 0.0)  # a silenced unit is no trap
            yield Measured(named("threshold", one), one.weight.name, one.kind, size / max(middle, SHORT))


def named(test: str, layer: Layer) -> str:
    """The test, or its twin for convolutions."""
    return test if len(layer.weight.shape) == 2 else f"conv {test}"


def together(layer: Layer, path: Array) -> Array:
    """Each unit's path, or that of all units that read the same."""
    if layer.transposed:
        return path
    total = path.copy()
    for group in groups(layer.weight):
        total[group] = path[group].sum()
    return total
