"""Pictures of records for the page: shown only when the caller hands them over, since members are private."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image  # always there: matplotlib depends on it

from undertow.types import Array, BadInput


@dataclass(frozen=True)
class Picture:
    """What one record looks like."""

    caption: str
    png: bytes

    def __post_init__(self) -> None:
        if not self.png.startswith(b"\x89PNG\r\n\x1a\n"):
            raise BadInput(f"picture {self.caption!r} is not a PNG; make it with report.datatrap.pictures.picture")

    @property
    def uri(self) -> str:
        """The picture inside its own address, so that the page needs no second file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def picture(array: Array) -> bytes:
    """PNG bytes of a uint8 image, (H, W) grey or (H, W, 3) RGB.

    >>> picture(np.zeros((2, 2), np.uint8))[1:4]
    b'PNG'
    """
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise BadInput(f"a picture must be uint8 (H, W) or (H, W, 3), got {array.dtype} {array.shape}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    return buffer.getvalue()
