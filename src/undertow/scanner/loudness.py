"""Rows that are louder or longer than training makes them (Feng & Tramer 2024, section 2 of our specification).

A trap must saturate the softmax of a head it does not know: the product of the length of its weights and of its
outgoing ones is large (`path`; no rescaling through a ReLU changes it, and copies of a unit add up). One step on a
record must shut it: the outgoing ones are large by themselves (`gain`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from undertow.scanner.evidence import FEWEST, Evidence, decades, usual
from undertow.scanner.layers import SILENT, Hidden, Layer
from undertow.scanner.repeats import groups
from undertow.types import Array

LENGTHS = (0.2, 5.0)  # usual lengths of a unit's weights and of what reads it
PATHS = (0.2, 5.0)
T = TypeVar("T")


def loud(hidden: Iterable[Hidden]) -> list[Evidence]:
    """`path` and `gain` of hidden units, in the rows of the layer that holds them."""
    return [
        *_compared("path", hidden, lambda one: one.layer, lambda one: together(one.layer, one.layer.norm * one.gain), PATHS),
        *_compared("gain", hidden, lambda one: one.layer, lambda one: one.gain, LENGTHS),
    ]  # fmt: skip


def long(layers: Iterable[Layer]) -> list[Evidence]:
    """`norm`: rows that are long; `threshold`: biases that are large beside them (not of queries and keys)."""
    layers = list(layers)
    with_bias = [one for one in layers if one.bias is not None and not SILENT.search(one.name)]
    return [
        *_compared("norm", layers, lambda one: one, lambda one: one.norm, LENGTHS),
        *(
            Evidence("threshold", one.weight.name, decades(np.abs(one.bias), usual([one.norm], *LENGTHS)))
            for one in with_bias
            if one.bias is not None
        ),
    ]


def together(layer: Layer, path: Array) -> Array:
    """Each unit's path, or that of all units that read the same."""
    if layer.transposed:
        return path
    total = path.copy()
    for group in groups(layer.weight):
        total[group] = path[group].sum()
    return total


def _compared(
    test: str,
    items: Iterable[T],
    layer: Callable[[T], Layer],
    value: Callable[[T], Array],
    bounds: tuple[float, float],
) -> list[Evidence]:
    """A value of each unit, against what is usual in layers of its kind."""
    kinds: dict[tuple[str, int, int], list[tuple[Layer, Array]]] = defaultdict(list)
    for item in items:
        if layer(item).units >= FEWEST:
            kinds[layer(item).kind].append((layer(item), value(item)))
    found = []
    for members in kinds.values():
        over = usual([one for _, one in members], *bounds)
        found += [Evidence(test, one.weight.name, decades(values, over)) for one, values in members]
    return found
