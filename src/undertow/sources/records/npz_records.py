"""A user's own labelled records in one .npz, as every audit but those of a folder reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.sources.records.arrays import measured, read_arrays
from undertow.sources.records.labels import Classes, classes_of, plain_labels
from undertow.types import Array, BadInput, Examples


@dataclass(frozen=True, eq=False)
class Own:
    """A user's labelled records, and what was done to read them so."""

    records: Examples
    classes: Classes
    notes: tuple[str, ...] = ()
    of_bytes: bool = False  # the file holds uint8

    @property
    def mapping(self) -> Mapping[str, int]:
        """Label as written -> class number; empty where they are the same."""
        return self.classes.mapping() if self.classes.mapped else {}


def npz_records(path: Path, like: Path | None = None, *, scale: bool = True, images: bool = False) -> tuple[Own, ...]:
    """The records of an .npz with x (N, ...) and y (N,), and of a second one with the same classes, where it is given.

    `scale`: bytes are brought to 0..1. `images`: (N, H, W) are images of one channel.
    BadInput in one line naming the file and what is wrong with it.
    """
    files = [path] if like is None else [path, like]
    arrays = [_labelled(file) for file in files]
    found, labels = classes_of([plain_labels(a["y"], file) for a, file in zip(arrays, files)], path.name)
    own = []
    for file, a, y in zip(files, arrays, labels):
        x, notes = measured(a["x"], file, scale=scale, images=images)
        if len(x) != len(y):
            raise BadInput(f"{file}: y has {len(y)} labels, x has {len(x)} records; one for each is needed")
        own.append(Own(Examples(x, y, file.stem), found, (*notes, *found.note(file.name)), a["x"].dtype == np.uint8))
    return tuple(own)


def npz_examples(path: Path) -> Examples:
    """The records of an .npz with x (N, ...) and y (N,), bytes brought to 0..1."""
    return npz_records(path)[0].records


def _labelled(path: Path) -> dict[str, Array]:
    if path.is_dir():
        raise BadInput(f"--data {path} is a folder; images come as one .npz with x (N, ...) and y (N,)")
    if not path.is_file():
        raise BadInput(f"--data {path}: no such file; images come as an .npz with x (N, ...) and y (N,)")
    arrays = read_arrays(path)
    if "y" not in arrays:
        raise BadInput(f"--data {path}: it holds {', '.join(arrays)}; x (N, ...) and y (N,) are needed")
    return arrays
