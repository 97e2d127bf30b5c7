"""Labels as people write them, brought to class numbers 0..K-1; what was mapped to what is said, never guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.types import Array, BadInput

SHOWN = 8  # pairs of a mapping that a sentence holds
INSTEAD = "compute a score per record with your own model and give it to `undertow score` as `values`"


@dataclass(frozen=True)
class Classes:
    """The classes of one task, in the order of their numbers."""

    names: tuple[str, ...]
    mapped: bool  # whether the numbers differ from what the files say

    def mapping(self) -> Mapping[str, int]:
        """Label as the file writes it -> class number."""
        return {name: i for i, name in enumerate(self.names)}

    def note(self, what: str) -> tuple[str, ...]:
        """The mapping as a sentence, where there is one."""
        if not self.mapped:
            return ()
        pairs = [f"{name} = {i}" for i, name in enumerate(self.names)]
        more = f", and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        return (f"The labels of {what} were mapped to class numbers: {', '.join(pairs[:SHOWN])}{more}.",)


def plain_labels(y: Array, path: Path | str) -> Array:
    """Labels (N,) as whole numbers or texts; BadInput in one line for what is no class label.

    Floats that are whole and booleans are read as numbers.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "biuf" and np.isin(y, (0, 1)).all():
        one_hot = (y.sum(1) == 1).all()
        if one_hot:
            raise BadInput(f"{path}: y has shape {y.shape}, one-hot; store class numbers: y.argmax(1)")
        raise BadInput(f"{path}: y has shape {y.shape}: several labels per record are not trained here; {INSTEAD}")
    if y.ndim != 1:
        raise BadInput(f"{path}: y has shape {y.shape}; it must hold one class label for each record, shape (N,)")
    if y.dtype.kind == "f":
        return _whole(y, path)
    if y.dtype.kind == "b":
        return y.astype(np.int64)
    if y.dtype.kind not in "iuUS":
        raise BadInput(f"{path}: y holds {y.dtype}; it must hold class labels: whole numbers or texts")
    if y.dtype.kind in "iu" and len(y) and int(y.min()) < 0 and set(np.unique(y)) != {-1, 1}:
        row = int(np.argmax(y < 0))
        raise BadInput(f"{path}: label {int(y[row])} at row {row} is negative; leave out records without a label")
    return y if y.dtype.kind in "iu" else y.astype(str)


def _whole(y: Array, path: Path | str) -> Array:
    bad = np.flatnonzero(~np.isfinite(y))
    if len(bad):
        raise BadInput(f"{path}: y holds {y[bad[0]]} at record {bad[0]}; leave out records without a label")
    odd = np.flatnonzero(y != np.round(y))
    if len(odd):
        raise BadInput(
            f"{path}: y holds {y[odd[0]]:g} at record {odd[0]}, no class; class labels are whole numbers or texts. "
            f"Regression is not trained here: {INSTEAD}"
        )
    return plain_labels(y.astype(np.int64), path)


def classes_of(parts: Sequence[Array], what: str) -> tuple[Classes, list[Array]]:
    """The classes of one task from the labels of its parts together, and each part in class numbers, int64.

    Whole numbers that are exactly 0..K-1 stay as they are. BadInput where the parts hold numbers and texts, or one
    class only.
    """
    if len({part.dtype.kind in "US" for part in parts}) > 1:
        raise BadInput(f"{what}: one file labels its records by numbers, another by texts; use one of the two")
    every = np.unique(np.concatenate(list(parts)))
    if len(every) < 2:
        raise BadInput(f"{what}: only one class is there ({every[0]}); a classifier needs at least two")
    mapped = every.dtype.kind in "US" or not np.array_equal(every, np.arange(len(every)))
    names = tuple(str(name) for name in every)
    return Classes(names, mapped), [np.searchsorted(every, part).astype(np.int64) for part in parts]
