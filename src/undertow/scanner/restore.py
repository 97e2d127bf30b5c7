"""A trusted parent's blocks in the place of those that were found, and of those that were rewritten beside them.

What traps do to a transformer is not all loud: dims are masked, tables rescaled, norms set. Against a parent it shows:
training turns few rows or columns by half of their length. What is not the parent's afterwards was trained, at most.
"""

from collections.abc import Iterable

import numpy as np

from undertow.scanner.difference import partners
from undertow.scanner.findings import Finding
from undertow.types import Array, Params

HALF = 0.5  # change of a row or column, in lengths of the parent's, from which it counts as rewritten


def restored(params: Params, findings: Iterable[Finding], parent: Params) -> Params:
    """The parent's tensors, by the checkpoint's names, of every block that was found or rewritten and differs.

    Tensors that the parent lacks, or has in another shape (a head), stay.
    """
    shared = {name: parent[other] for name, other in partners(params, parent).items()}
    shared = {n: v for n, v in shared.items() if v.shape == params[n].shape and params[n].dtype.kind == "f"}
    blocks = {block_of(one.tensor) for one in findings if one.severity == "critical"}
    blocks |= {block_of(name) for name, trusted in shared.items() if rewritten(params[name], trusted)}
    back = {name: value.astype(params[name].dtype) for name, value in shared.items() if block_of(name) in blocks}
    return {name: value for name, value in back.items() if not np.array_equal(value, params[name], equal_nan=True)}


def rewritten(value: Array, parent: Array) -> bool:
    """Whether a row or a column of a matrix moved by HALF of its length or more, or a number is not finite.

    Rows shorter than the median one count as that long: the parent may have rows of zeros. Vectors tell nothing:
    biases begin at zero.
    """
    if not np.isfinite(value).all():
        return True
    if parent.ndim < 2:
        return False
    before = parent.reshape(len(parent), -1).astype(np.float64)
    moved = value.reshape(before.shape) - before
    return any(_turned_over(np.linalg.norm(moved, axis=a), np.linalg.norm(before, axis=a)) for a in (0, 1))


def _turned_over(way: Array, length: Array) -> bool:
    return bool(((way > 0) & (way >= HALF * np.maximum(length, np.median(length)))).any())


def block_of(name: str) -> str:
    """The block of a transformer that a tensor is of, its embeddings, or else its module.

    >>> [block_of(f"vit.{n}") for n in ("layers.3.mlp.fc1.weight", "embeddings.cls_token", "layernorm.bias")]
    ['vit.layers.3', 'vit.embeddings', 'vit.layernorm']
    """
    parts = name.split(".")
    for i, part in enumerate(parts):
        if "embed" in part or (part.isdigit() and len(parts) > i + 2):
            return ".".join(parts[: i + 1])
    return ".".join(parts[:-1]) or name
