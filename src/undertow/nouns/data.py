"""What an audit works on: records, outputs, evidence, scores.

Axes are always in this order: M models, T targets, N examples, Q challenge points, A views, C classes.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undertow.nouns.errors import BadInput

Array = NDArray[Any]
Params = dict[str, Array]
IGNORED = -100  # a label that is none: nothing is to be predicted there (cross_entropy's ignore_index in torch)


def setting(default: Any, about: str) -> Any:
    """A dataclass field that explains itself: `undertow init-config` prints `about` beside it."""
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, eq=False)
class Examples:
    """Records and their labels: one for each record, or (texts, next-token prediction) one for each token."""

    x: Array  # (N, ...) numbers; texts: (N, L) int token ids
    y: Array  # (N,) int, 0..classes-1; or (N, L) int, the next token, IGNORED where there is none
    name: str

    def __post_init__(self) -> None:
        if len(self.x) == 0:
            raise BadInput(f"{self.name}: no examples")
        shapes = [self.x.shape[:1]] + [self.x.shape] * self.of_tokens
        if self.y.shape not in shapes or self.y.dtype.kind not in "iu":
            found = f"{self.y.dtype} {self.y.shape}"
            raise BadInput(f"{self.name}: labels must be integers of shape ({len(self.x)},), got {found}")
        wrong = (self.y < 0) & ((self.y != IGNORED) | (not self.of_tokens))
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            raise BadInput(f"{self.name}: label {int(self.y[wrong][0])} at row {row} is negative")

    @property
    def of_tokens(self) -> bool:
        """Whether each token has a label of its own (next-token prediction)."""
        return self.y.ndim == 2 and self.x.ndim == 2 and self.x.dtype.kind in "iu"

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Array) -> "Examples":
        """The examples at `rows`, in that order."""
        return Examples(self.x[rows], self.y[rows], self.name)


@dataclass(frozen=True, eq=False)
class Signals:
    """What the adversary saw of the models it may learn from, and the truth about them."""

    values: Array  # (M, Q, ...)
    member: Array  # (M, Q) bool, True where the point was trained on
    labels: Array | None = None  # (Q,) int, the points' pretraining labels, where known

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.shape != self.member.shape[1:]:
            raise BadInput(f"labels must be (Q,) = {self.member.shape[1:]}, got {self.labels.shape}")
        if self.member.dtype != bool or self.values.shape[:2] != self.member.shape:
            raise BadInput(
                f"member must be bool (M, Q) = {self.values.shape[:2]}, got {self.member.dtype} {self.member.shape}"
            )


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything an adversary may be given in one audit; what is absent is None.

    The optional fields are the keys of a signals file (`undertow score`).
    """

    member: Array  # (M, Q) bool
    values: Array | None = None  # (M, Q) one signal, higher = member, used as it is
    logits: Array | None = None  # (M, Q, A, C) outputs of the audited models, per view
    labels: Array | None = None  # (Q,) int, class of each point among the C of `logits`
    pretrained_logits: Array | None = None  # (M, Q, A, K) outputs of the pretrained models (not realistic access)
    pretrained_labels: Array | None = None  # (Q,) int, class among those K
    pretrained_values: Array | None = None  # (M, Q) one signal of the pretrained models instead, higher = member
    features: Array | None = None  # (Q, D) the records themselves, for the blind baseline
    groups: Array | None = None  # (Q,) int, records of one number belong together (one person)

    def __post_init__(self) -> None:
        if self.member.dtype != bool or self.member.ndim != 2:
            raise BadInput(f"member must be bool (M, N), got {self.member.dtype} {self.member.shape}")


@dataclass(frozen=True, eq=False)
class Scores:
    """One attack's guess for every (target model, challenge point), and the truth; higher = member."""

    attack: str
    values: Array  # (T, Q) float, finite; 0 where there is no score
    member: Array  # (T, Q) bool
    group: str | None = None  # e.g. "no-pretraining" for a control; poisoning: the arm
    points: str | None = None  # poisoning: "targets" | "others", where only those were scored
    recipe: str | None = None  # poisoning: as in Measurement
    view: str | None = None
    ids: tuple[str, ...] | None = None  # names of these Q points; None: those of the result
    in_turn: bool = False  # every model is a target and, for the others, a shadow: its peculiarity enters twice
    groups: Array | None = None  # (Q,) int, points of one number belong together (one person); None: each is its own
    scored: Array | None = None  # (T, Q) bool, the pairs that have a score; None: all

    @property
    def inside(self) -> Array:
        """The scored pairs that are members, (T, Q) bool."""
        return self.member if self.scored is None else self.member & self.scored

    @property
    def outside(self) -> Array:
        """The scored pairs that are not, (T, Q) bool."""
        return ~self.member if self.scored is None else ~self.member & self.scored

    def pairs(self) -> tuple[Array, Array]:
        """Scores and membership of all scored pairs, pooled, (n,) each."""
        kept = slice(None) if self.scored is None else self.scored.ravel()
        return self.values.ravel()[kept], self.member.ravel()[kept]

    def __post_init__(self) -> None:
        if self.scored is not None and (self.scored.shape != self.values.shape or self.scored.dtype != bool):
            raise BadInput(f"{self.attack}: scored must be bool {self.values.shape}, got {self.scored.shape}")
        if self.groups is not None and self.groups.shape != self.values.shape[-1:]:
            raise BadInput(f"{self.attack}: groups {self.groups.shape} for scores of shape {self.values.shape}")
        if self.ids is not None and len(self.ids) != self.values.shape[-1]:
            raise BadInput(f"{self.attack}: {len(self.ids)} ids for scores of shape {self.values.shape}")
        if self.values.shape != self.member.shape or self.values.ndim != 2 or self.member.dtype != bool:
            raise BadInput(f"{self.attack}: scores {self.values.shape} and membership {self.member.shape} differ")
        bad = np.argwhere(~np.isfinite(self.values))
        if len(bad):
            t, q = bad[0]
            raise BadInput(f"{self.attack}: score of target {t}, point {q} is {self.values[t, q]}")
