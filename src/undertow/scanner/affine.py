"""Constants that no training leaves: gains of norms, biases and tables far above all others (section 3.2).

A trap in a transformer makes LayerNorms act linearly: a large constant on some dimensions, a gain that undoes it.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from undertow.scanner.evidence import FEWEST, Evidence, decades, usual
from undertow.scanner.layers import SILENT, TABLE
from undertow.scanner.statistics import Statistics

NORM = re.compile(r"(norm|ln|layernorm|bn)[^.]*(\.\d+)?\.(weight|gamma|scale|g)$|(norm|ln)[^.]*$", re.IGNORECASE)
STATE = re.compile(r"running_(mean|var)$|num_batches|inv_freq|rotary|position_ids|\.masked_bias$|logit_scale")
GAINS = (0.1, 3.0)  # usual gains of norms
SHIFTS = (0.02, 1.0)  # usual biases


def constants(found: Mapping[str, Statistics]) -> Iterator[Evidence]:
    """`affine`: gains of norms; `shift`: biases of anything; `table`: largest numbers of embeddings."""
    for name, one in found.items():
        if STATE.search(name):
            continue
        if len(one.shape) == 1 and one.rows >= FEWEST:
            size, gain = np.abs(one.values), NORM.search(name) is not None
            if not SILENT.search(name.rpartition(".")[0]):
                test, bounds = ("affine", GAINS) if gain else ("shift", SHIFTS)
                yield Evidence(test, name, decades(size, usual([size], *bounds)))
        elif TABLE.search(name):
            yield Evidence("table", name, decades(one.peak, usual([one.peak], 0.05, 1.0)))
