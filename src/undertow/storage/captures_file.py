"""What the traps of one experiment hold, beside the result: finetuning records, so for the owner's eyes alone."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.audits.datatrap.kit import Judged
from undertow.storage.files import read_npz, write_atomic
from undertow.traps import Candidates, Captures
from undertow.types import Array, StoreError

FILE = "captures.npz"
PRIVATE = 0o600


@dataclass(frozen=True, eq=False)
class Held:
    """The readings of K traps, and of each the victim's nearest record."""

    seed: int
    candidates: Candidates
    captures: Captures  # its `nearest` counts the rows of `truth`
    truth: Array  # (K, d)
    ids: tuple[str, ...]  # (K,) names of those records
    shape: tuple[int, ...] = ()  # of a record as a picture; empty: it is none
    read: tuple[tuple[str, ...], ...] = ()  # texts: (K,) the tokens as read, "" where nothing was; empty: no texts
    true: tuple[tuple[str, ...], ...] = ()  # (K,) and those of the nearest record


def save_captures(held: Held, out: Path) -> None:
    """Write captures.npz into `out`, readable for its owner alone."""
    read, found, buffer = held.candidates, held.captures, io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        seed=np.array(held.seed),
        values=read.values[:, 0].astype(np.float32),
        step=read.step[:, 0],
        accepted=read.accepted[:, 0],
        reason=read.reasons[:, 0].astype(str),
        truth=held.truth.astype(np.float32),
        id=np.array(held.ids),
        error=found.error,
        exact=found.exact,
        right=found.right,
        shape=np.array(held.shape, np.int64),
        read=np.array(held.read, np.str_),
        true=np.array(held.true, np.str_),
    )
    write_atomic(out / FILE, buffer.getvalue(), PRIVATE)


def load_captures(out: Path) -> Held | None:
    """What a run folder's captures.npz holds; None where there is none. StoreError where it is damaged."""
    if not (out / FILE).is_file():
        return None
    try:
        a = read_npz(out / FILE)
        read = Candidates(a["values"][:, None], a["step"][:, None], a["accepted"][:, None], a["reason"][:, None])
        found = Captures(np.arange(len(a["error"])), a["error"], a["exact"], a["right"], a["accepted"])
        shape = tuple(int(side) for side in a["shape"])
        words = (tuple(tuple(map(str, row)) for row in a[name]) for name in ("read", "true"))
        return Held(int(a["seed"]), read, found, a["truth"], tuple(map(str, a["id"])), shape, *words)
    except (KeyError, IndexError, ValueError) as error:
        raise StoreError(f"{out / FILE} is damaged ({error}): run the audit again") from error


def named(ids: Sequence[str], judged: Judged) -> tuple[str, ...]:
    """The name of the record that is nearest to what each trap holds, or in which that lies."""
    return tuple(ids[judged.of[row]] for row in judged.captures.nearest)
