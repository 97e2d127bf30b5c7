"""What traps hold beside the records they come from, for the page: made only where records may be shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from undertow.report.datatrap.pictures import Picture, picture
from undertow.report.words import quantity
from undertow.traps.capture import Captures
from undertow.traps.recorder import Candidates
from undertow.types import Array, BadInput

State = Literal["exact", "rounded", "wrong", "missed", "rejected", "nothing"]
LACKING = "\N{WHITE SQUARE}"  # in the place of a token that was not read


@dataclass(frozen=True)
class Words:
    """A text, token by token, and which tokens are wrong."""

    tokens: tuple[tuple[str, bool], ...]  # (token, wrong)

    @property
    def wrong(self) -> int:
        """How many tokens are wrong."""
        return sum(wrong for _, wrong in self.tokens)


@dataclass(frozen=True)
class Shown:
    """One trap: what it holds, and the record nearest to that."""

    trap: int
    state: State
    note: str  # the error, or why the reading was rejected
    record: str = ""  # the record's name; "" where nothing was written
    read: Picture | Words | None = None
    true: Picture | Words | None = None

    def __post_init__(self) -> None:
        if self.state not in get_args(State):
            raise BadInput(f"trap {self.trap}: {self.state!r} is none of {', '.join(get_args(State))}")


@dataclass(frozen=True)
class Gallery:
    """The traps of one experiment, in their order."""

    seed: int
    shown: tuple[Shown, ...]

    @property
    def of_texts(self) -> bool:
        """Whether the records are texts."""
        return any(isinstance(one.read, Words) for one in self.shown)


def image_gallery(
    seed: int, candidates: Candidates, found: Captures, records: Array, ids: Sequence[str], shape: tuple[int, ...]
) -> Gallery:
    """Readings (K, 1, d) beside the finetuning records (N, ...) named `ids`; values in 0..1, cut to it.

    `shape` is an image's, (H, W), (1, H, W) or (3, H, W). BadInput where d is not its size.
    """
    values, flat = candidates.values[:, 0], np.asarray(records, np.float64).reshape(len(records), -1)
    if values.shape[1] != np.prod(shape) or flat.shape[1] != np.prod(shape):
        raise BadInput(f"readings of width {values.shape[1]} are no images of shape {shape}")

    def drawn(value: Array, caption: str) -> Picture:
        return Picture(caption, picture(_pixels(value, shape)))

    def one(k: int) -> Shown:
        state, note = _judged(candidates, found, k)
        if state == "nothing":
            return Shown(k, state, note)
        name, near = ids[found.nearest[k]], flat[found.nearest[k]]
        return Shown(k, state, note, name, drawn(values[k], f"trap {k}, as read"), drawn(near, name))

    return Gallery(seed, tuple(one(k) for k in range(len(values))))


def text_gallery(
    seed: int,
    candidates: Candidates,
    found: Captures,
    read: Sequence[Sequence[str | None]],
    records: Sequence[Sequence[str]],
    ids: Sequence[str],
) -> Gallery:
    """The tokens read by K traps (None: nothing at that place) beside those of the records named `ids`."""

    def one(k: int) -> Shown:
        state, note = _judged(candidates, found, k)
        if state == "nothing":
            return Shown(k, state, note)
        near = found.nearest[k]
        words = _compared(read[k], records[near])
        wrong = f"{words.wrong} of {len(words.tokens)} tokens wrong"
        return Shown(
            k,
            state,
            ", ".join((wrong, *_reasons(candidates, k))),
            ids[near],
            words,
            Words(tuple((token, False) for token in records[near])),
        )

    return Gallery(seed, tuple(one(k) for k in range(len(read))))


def _judged(candidates: Candidates, found: Captures, k: int) -> tuple[State, str]:
    """What trap k's reading is, and a note: its error or, where it was rejected, why."""
    error = f"error {quantity(float(f'{found.error[k]:.2g}'))}" if np.isfinite(found.error[k]) else ""
    if not error:
        return "nothing", ""
    if found.accepted[k]:
        return ("exact" if found.exact[k] else "rounded" if found.right[k] else "wrong"), error
    if found.right[k]:
        return "missed", ", ".join((error, *_reasons(candidates, k)))
    return "rejected", ", ".join(_reasons(candidates, k))


def _reasons(candidates: Candidates, k: int) -> tuple[str, ...]:
    """Why trap k's reading was rejected, each reason once."""
    return tuple(dict.fromkeys(str(reason) for reason in np.ravel(candidates.reasons[k]) if reason))


def _compared(read: Sequence[str | None], true: Sequence[str]) -> Words:
    """Place by place; a token too many is wrong, and so is one that is lacking."""
    places = range(max(len(read), len(true)))
    pairs = [(read[i] if i < len(read) else None, true[i] if i < len(true) else None) for i in places]
    return Words(tuple((LACKING if token is None else token, token != right) for token, right in pairs))


def _pixels(value: Array, shape: tuple[int, ...]) -> Array:
    """Bytes (H, W) or (H, W, 3)."""
    cut = np.round(255 * np.clip(value, 0, 1)).astype(np.uint8).reshape(shape)
    return cut[0] if cut.ndim == 3 and len(cut) == 1 else np.moveaxis(cut, 0, -1) if cut.ndim == 3 else cut
