"""Constants that no training leaves: gains of norms, biases and tables far above all others (section 3.2).

A trap in a transformer makes LayerNorms act linearly: a large constant on some dimensions, a gain that undoes it.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from undertow.scanner.evidence import FEWEST, Measured
from undertow.scanner.layers import SILENT, STATE, TABLE
from undertow.scanner.statistics import Statistics

GAIN = re.compile(r"(^|\.)(weight|gamma|scale|g|lambda\d?|layer_scale\w*)$")  # of vectors: gains of norms
SHIFT = re.compile(r"(bias|beta)$|(^|\.)b(_\w+|\d)?$")


def constants(found: Mapping[str, Statistics]) -> Iterator[Measured]:
    """`affine`: gains of norms; `shift`: biases (not of queries and keys); `table`: rows of embeddings.

    Vectors that are neither by their name are buffers: nothing trains them, and they hold what they like.
    """
    for name, one in found.items():
        if STATE.search(name) or SILENT.search(name.rpartition(".")[0]):
            continue
        kind = re.sub(r"\d+", "*", name), one.shape
        if len(one.shape) == 1 and one.rows >= FEWEST:
            test = "affine" if GAIN.search(name) else "shift" if SHIFT.search(name) else ""
            if test:
                yield Measured(test, name, kind, np.abs(one.values))
        elif TABLE.search(name):
            yield Measured("table", name, kind, one.norm)
