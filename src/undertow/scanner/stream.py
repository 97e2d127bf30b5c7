"""The residual stream of a transformer: which of its dims traps took with constants, and how to give them back empty.

A trap that lives in a transformer writes large constants on dims of its own, which later layers take away again
(Feng & Tramer 2024, section 3.2). Emptied in every block, they leave what all other dims compute as it was, up to the
norms that the constants made linear.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from undertow.scanner.affine import GAIN
from undertow.scanner.findings import Finding
from undertow.scanner.layers import TABLE, TRANSPOSED, WRITERS
from undertow.types import Array, Params

TOKEN = re.compile(r"(cls|class|dist|mask|register)_tokens?$")  # looked up too, whatever the module is called
NORM = re.compile(r"norm|(^|[._])ln", re.IGNORECASE)
FEWEST = 2  # norms of one length: below it there is no stream


def taken(findings: Iterable[Finding], params: Params) -> Array:
    """(n,) int: dims of the residual stream on which a layer was found to write a constant; empty where none was."""
    width = stream_width(params)
    dims: set[int] = set()
    for found in findings:
        stem, _, kind = found.tensor.rpartition(".")
        if found.severity == "critical" and kind == "bias" and WRITERS.search(stem):
            dims |= set(found.rows) if params[found.tensor].shape == (width,) else set()
    return np.array(sorted(dims) if len(dims) < width else [], int)


def stream_width(params: Params) -> int:
    """How wide the stream is: the commonest length of the norms' gains; 0 where too few norms say."""
    gains = Counter(len(v) for n, v in params.items() if v.ndim == 1 and GAIN.search(n) and _bias_of(n) in params)
    width, count = gains.most_common(1)[0] if gains else (0, 0)
    return width if count >= FEWEST else 0


def emptied(params: Params, dims: Array) -> Mapping[str, Array]:
    """The tensors that write to or pass on `dims` of the stream, with nothing there: tables, writers, norms."""
    width, draft = stream_width(params), dict[str, Array]()
    for name, value in params.items():
        if value.dtype.kind != "f" or not value.ndim:
            continue
        axis = _axis(name, value, width)
        if axis is None or not value.any():
            continue
        after = value.copy()
        np.moveaxis(after, axis, 0)[dims] = 0
        if not np.array_equal(after, value, equal_nan=True):
            draft[name] = after
    return draft


def _axis(name: str, value: Array, width: int) -> int | None:
    """Along which axis a tensor that writes to the stream has the stream's dims; None for one that does not."""
    stem, _, kind = name.rpartition(".")
    if value.ndim == 1:
        passes = WRITERS.search(stem) or "embed" in stem or NORM.search(stem)
        return 0 if passes and len(value) == width else None
    if WRITERS.search(stem) and kind in ("weight", "kernel"):
        axis = 1 if TRANSPOSED.search(name) and value.ndim == 2 else 0
        return axis if value.shape[axis] == width else None
    if "embed" in name and "proj" in name:
        return 0 if value.shape[0] == width else None
    looked_up = TABLE.search(name) or TOKEN.search(name)
    return value.ndim - 1 if looked_up and value.shape[-1] == width else None


def _bias_of(gain: str) -> str:
    return f"{gain.rpartition('.')[0]}.bias"
