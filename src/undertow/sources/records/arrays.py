"""The numbers of a user's records, x (N, ...), as the models read them; what cannot be meant is refused in one line."""

from pathlib import Path
from typing import Literal

import numpy as np

from undertow.storage.files import read_npz
from undertow.texts import PAD
from undertow.types import Array, BadInput

Layout = Literal["auto", "NCHW", "NHWC"]
CHANNELS = (1, 3)


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file of records, `x` among them; BadInput naming the file and the key."""
    arrays = read_npz(path)
    if "x" not in arrays:
        raise BadInput(f"{path}: key 'x' is missing; found: {', '.join(arrays) or 'nothing'}")
    if arrays["x"].dtype.kind in "US":
        raise BadInput(f"{path}: x holds texts; it must be numbers. Texts come as .jsonl, .csv, .parquet or .txt")
    if arrays["x"].dtype.kind not in "fiub":
        raise BadInput(f"{path}: x holds {arrays['x'].dtype}; it must be numbers")
    if arrays["x"].ndim < 2:
        raise BadInput(f"{path}: x has shape {arrays['x'].shape}; one row for each record is needed: x[:, None]")
    return arrays


def measured(
    x: Array, path: Path, layout: Layout | None = None, *, images: bool = False, scale: bool = True
) -> tuple[Array, tuple[str, ...]]:
    """Records as float32, images as (N, C, H, W), and sentences on what was changed.

    `images`: the model reads images, so that (N, H, W) are images of one channel. `scale`: bytes are brought to 0..1.
    `layout` is the setting data.layout, None where the audit has none.
    """
    values = x.astype(np.float32) / (255 if scale and x.dtype == np.uint8 else 1)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise BadInput(f"{path}: x holds {values[tuple(bad[0])]} at record {bad[0][0]}; remove or repair it")
    if values.ndim == 3 and images:
        return values[:, None], (f"{path.name}: records of shape {x.shape[1:]} were read as images of one channel.",)
    if values.ndim == 4 and _channels_last(x.shape, path, layout):
        said = f"{path.name}: images of shape {x.shape[1:]} were read as (height, width, channels)."
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2)), (said,)
    return values, ()


def _channels_last(shape: tuple[int, ...], path: Path, layout: Layout | None) -> bool:
    """Whether images of this shape are (N, H, W, C); BadInput where that cannot be known."""
    if layout not in ("auto", None):
        return layout == "NHWC"
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first and last and shape[1:] != (shape[1],) * 3:
        raise BadInput(
            f"{path}: images of shape {shape[1:]} may be (channels, height, width) or (height, width, channels); "
            + ("store them as (N, C, H, W)" if layout is None else "say which: data.layout = 'NCHW' or 'NHWC'")
        )
    return not first and (last or (shape[3] == 4 and shape[1] == shape[2]))


def token_ids(x: Array, path: Path, vocabulary: int) -> Array:
    """Token ids (N, L) int64 as they are; BadInput where they cannot be ids that end before their first pad, 0."""
    if x.dtype.kind not in "iu" or x.ndim != 2:
        raise BadInput(
            f"{path}: the model reads token ids, x (N, tokens) of whole numbers; found {x.dtype} of shape {x.shape}"
        )
    ids = x.astype(np.int64)
    if ids.min() < 0 or ids.max() >= vocabulary:
        wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
        raise BadInput(
            f"{path}: x holds token {wrong}, but the model knows 0..{vocabulary - 1}; set data.vocabulary to at least "
            f"{int(ids.max()) + 1}" + (", and no token may be negative" if wrong < 0 else "")
        )
    inside = (ids == PAD) & (np.cumsum(ids[:, ::-1] != PAD, 1)[:, ::-1] > 0)
    if inside.any():
        row = int(np.flatnonzero(inside.any(1))[0])
        raise BadInput(
            f"{path}: token {PAD} stands inside record {row}, but {PAD} is the pad, with which a text ends; "
            "use another number for that token"
        )
    return ids
