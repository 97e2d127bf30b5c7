"""Constants that no training leaves: gains of norms, biases and tables far above all others (section 3.2).

A trap in a transformer makes LayerNorms act linearly: a large constant on some dimensions, a gain that undoes it.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from undertow.scanner.evidence import FEWEST, Measured
from undertow.scanner.layers import SILENT, TABLE
from undertow.scanner.statistics import Statistics

NORM = re.compile(r"(norm|ln|layernorm|bn)[^.]*(\.\d+)?\.(weight|gamma|scale|g)$|(norm|ln)[^.]*$", re.IGNORECASE)
STATE = re.compile(r"running_(mean|var)$|num_batches|inv_freq|rotary|position_ids|\.masked_bias$|logit_scale")


def constants(found: Mapping[str, Statistics]) -> Iterator[Measured]:
    """`affine`: gains of norms; `shift`: biases (not of queries and keys); `table`: largest numbers of embeddings."""
    for name, one in found.items():
        if STATE.search(name) or SILENT.search(name.rpartition(".")[0]):
            continue
        kind = re.sub(r"\d+", "*", name), one.shape
        if len(one.shape) == 1 and one.rows >= FEWEST:
            yield Measured("affine" if NORM.search(name) else "shift", name, kind, np.abs(one.values))
        elif TABLE.search(name):
            yield Measured("table", name, kind, one.peak)
