"""A user's own labelled images for a CLIP: an npz with pixels, labels and the names of the classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.sources.checkpoints.clip import Preprocessor
from undertow.storage.files import read_npz
from undertow.types import Array, BadInput, Examples

NEEDED = ("x", "y", "class_names")
FORMS = "x is uint8 pixels (N, H, W, 3), or floats (N, 3, S, S) as the model reads them"


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Images as the file holds them, and what their classes are called."""

    path: Path
    x: Array  # (N, H, W, 3) uint8, or (N, 3, S, S) float
    y: Array  # (N,) int64, places in class_names
    class_names: tuple[str, ...]  # (K,) of which captions are made

    def prepared(self, look: Preprocessor) -> Examples:
        """As the model reads them, (N, 3, S, S) float32; BadInput where prepared images have another size.

        Pixels of any size are resized and cut as the checkpoint's preprocessor says.
        """
        if self.x.dtype == np.uint8:
            return Examples(look(self.x), self.y, self.path.stem)
        if self.x.shape[1:] != look.shape:
            raise BadInput(
                f"--data {self.path}: images have shape {self.x.shape[1:]}, this CLIP reads {look.shape}; give images "
                "of that size, or uint8 pixels (N, H, W, 3), which are resized"
            )
        return Examples(self.x.astype(np.float32), self.y, self.path.stem)


def named_images(path: Path) -> NamedImages:
    """The arrays x, y (N,) and class_names (K,) of an npz; BadInput in one line naming what is missing or wrong."""
    if path.suffix != ".npz" or not path.is_file():
        raise BadInput(
            f"--data {path}: no such .npz; a CLIP is judged on images with x, y and class_names, "
            "or on cifar10 (--preset clip-small --data FOLDER)"
        )
    arrays = read_npz(path)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        why = ": the name of each class, for the captions of a CLIP" if missing == ["class_names"] else ""
        raise BadInput(f"--data {path}: {', '.join(missing)} is missing{why}; {FORMS}, y (N,), class_names (K,)")
    x, y, names = (arrays[name] for name in NEEDED)
    if x.ndim != 4 or not (x.shape[3] == 3 if x.dtype == np.uint8 else x.dtype.kind == "f"):
        raise BadInput(f"--data {path}: x is {x.dtype} {x.shape}; {FORMS}")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise BadInput(f"--data {path}: class_names is {names.dtype} {names.shape}; texts (K,) are needed")
    if y.shape != (len(x),) or y.dtype.kind not in "iu" or not len(y) or y.min() < 0 or y.max() >= len(names):
        raise BadInput(
            f"--data {path}: y must hold an integer from 0 to {len(names) - 1} (a place in class_names) for each "
            f"of {len(x)} images"
        )
    return NamedImages(path, x, y.astype(np.int64), tuple(str(name) for name in names))
