"""Which column of a model's answers a label is: whole numbers as they are, words and numbers with gaps by a mapping."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from undertow.types import Array, BadInput


def columns(y: Array, classes: int, names: Sequence[Any] | None) -> tuple[Array, tuple[str, ...]]:
    """The column (n,) of each label among `classes`, and a sentence where labels had to be mapped.

    `names`: the label of each column, where the model says it. BadInput where labels cannot be placed.
    """
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise BadInput(f"labels: {int((~np.isfinite(y)).sum())} of {len(y)} are missing (NaN); fill or remove them")
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        some = float(y[y != np.floor(y)][0])
        raise BadInput(
            f"labels are not whole numbers ({some:g}), as of a regression; give score=, a function of (answers, y) "
            "that is higher for members, such as -(answers - y) ** 2"
        )
    y = y.astype(np.int64) if y.dtype.kind in "fb" else y
    found = np.unique(y)
    if names is not None and len(names) == classes:
        place = {key_of(name): i for i, name in enumerate(names)}
        if all(key_of(label) in place for label in found):
            mapped = np.array([place[key_of(label)] for label in y])
            same = y.dtype.kind in "iu" and (mapped == y).all()
            return mapped, () if same else (f"labels were placed by the classes of the model: {_mapping(names)}",)
    if y.dtype.kind in "iu" and found[0] >= 0 and found[-1] < classes:
        return y.astype(np.int64), ()
    if len(found) == classes:
        mapped = np.searchsorted(found, y)
        return mapped, (f"labels were numbered in sorted order as the columns of the answers: {_mapping(found)}",)
    if y.dtype.kind in "iu":
        raise BadInput(
            f"labels run from {found[0]} to {found[-1]}, the answers have {classes} classes (0..{classes - 1}), and "
            f"{len(found)} labels occur, so which is which is not known; number them as the columns of the answers"
        )
    raise BadInput(
        f"{len(found)} labels occur ({', '.join(map(str, found[:4]))}{', ...' if len(found) > 4 else ''}) and the "
        f"answers have {classes} classes, so which is which is not known; number them as the columns of the answers"
    )


def key_of(label: Any) -> str:
    """A label as text, the same for 3 and 3.0."""
    text = str(label)
    return text[:-2] if text.endswith(".0") else text


def _mapping(names: Any) -> str:
    return ", ".join(f"{name} = {i}" for i, name in enumerate(list(names)[:6])) + (", ..." if len(names) > 6 else "")
