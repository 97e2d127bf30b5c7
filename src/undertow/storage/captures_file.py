"""What the traps of one experiment hold, beside the result: finetuning records, so for the owner's eyes alone."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from undertow.storage.files import read_npz, write_atomic
from undertow.types import Array

if TYPE_CHECKING:
    from undertow.audits.datatrap import Capture

FILE = "captures.npz"
PRIVATE = 0o600


def save_captures(run: "Capture", ids: Sequence[str], out: Path) -> None:
    """Write captures.npz, one row per trap.

    `values` (K, d) as read, `truth` (K, d) the victim's nearest record, its `id`, the `error`, and whether the reading
    is `exact`, `right` (as rounded), `accepted`, or for what `reason` it is not.
    """
    found, read = run.captures, run.candidates
    names = [ids[row] if np.isfinite(error) else "" for row, error in zip(found.nearest, found.error, strict=True)]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        seed=np.array(run.seed),
        values=read.values[:, 0].astype(np.float32),
        truth=run.truth[found.nearest].astype(np.float32),
        id=np.array(names),
        error=found.error,
        exact=found.exact,
        right=found.right,
        accepted=found.accepted,
        reason=read.reasons[:, 0].astype(str),
    )
    write_atomic(out / FILE, buffer.getvalue(), PRIVATE)


def load_captures(out: Path) -> dict[str, Array] | None:
    """The arrays of a run folder's captures.npz; None where there is none."""
    return read_npz(out / FILE) if (out / FILE).is_file() else None
