"""The records of a poisoning audit: whose membership is secret, what the attacker and the public bring."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from undertow.audits.supply import row_hashes
from undertow.engine.key import fingerprint
from undertow.types import Array, BadInput, Examples


@dataclass(frozen=True, eq=False)
class PoisonSupply:
    """Disjoint parts of one kind of data. The first `targets` candidates are those the attacker poisons."""

    name: str
    candidates: Examples  # (N, ...) each victim is finetuned on half of these
    targets: int
    auxiliary: Examples  # ordinary data: the attacker's stealth term, and the benign control
    held_out: Examples  # measures utility; no model is trained on it
    classes: int  # classes, or tokens of the vocabulary
    pretrain: Examples | None = None  # what a checkpoint made here is trained on; None: the checkpoint is given
    public: Examples | None = None  # in every victim's finetuning set
    lookalikes: Examples | None = None  # like the candidates, and surely unknown to the attacker
    ids: tuple[str, ...] = ()  # names of the candidates
    texts: tuple[str, ...] = ()  # the candidates as they were written; empty for images
    embedded: bool = False
    pictures: Array | None = None
    notes: tuple[str, ...] = field(default=())
    labels: Mapping[str, int] = field(default_factory=dict)  # label as written -> class number, where they differ

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.candidates):
            raise BadInput(f"{self.name}: {len(self.ids)} ids for {len(self.candidates)} candidates")
        self._refuse_shared("auxiliary", self.auxiliary)
        if self.public is not None:
            self._refuse_shared("public", self.public)
        self._refuse_shared("held-out", self.held_out)

    def _refuse_shared(self, what: str, part: Examples) -> None:
        known = set(row_hashes(part.x))
        both = [self.ids[i] for i, key in enumerate(row_hashes(self.candidates.x)) if key in known]
        if both:
            names = ", ".join(both[:5]) + (", ..." if len(both) > 5 else "")
            raise BadInput(
                f"{self.name}: {len(both)} candidates are also in the {what} data ({names}); every model would be "
                "trained or measured on them whatever their membership: remove them from one side"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return tuple(self.candidates.x.shape[1:])

    @property
    def warm_up(self) -> Examples | None:
        """Public records a careful victim may train on first; where images have none, the auxiliary ones are."""
        return self.auxiliary if self.public is None else self.public

    @property
    def targeted(self) -> Array:
        """(N,) bool, the candidates the attacker poisons."""
        mask: Array = np.arange(len(self.candidates)) < self.targets
        return mask

    def with_lookalikes(self) -> "PoisonSupply":
        """The auditor's view: all candidates are "mine" (the targets of the rows), look-alikes are the others.

        Both become candidates of the membership game; one record is left out where their number is odd.
        """
        given = 0 if self.lookalikes is None else len(self.lookalikes)
        count = given - (len(self) + given) % 2
        if self.lookalikes is None or count < 1:
            return replace(self, targets=len(self), lookalikes=None)
        likes = self.lookalikes.take(np.arange(count))
        x, y = (np.concatenate([getattr(part, n) for part in (self.candidates, likes)]) for n in ("x", "y"))
        ids = (*self.ids, *(f"look-alike-{i}" for i in range(len(likes))))
        both = Examples(x, y, self.candidates.name)
        return replace(self, candidates=both, targets=len(self), ids=ids, lookalikes=None, pictures=None, texts=())

    def __len__(self) -> int:
        return len(self.candidates)

    def describe(self) -> dict[str, object]:
        """Name, sizes and content hashes, for the result."""
        parts = {"candidates": self.candidates, "auxiliary": self.auxiliary, "held out": self.held_out,
                 "public": self.public, "pretraining": self.pretrain, "look-alikes": self.lookalikes}  # fmt: skip
        present = {k: v for k, v in parts.items() if v is not None}
        return {
            "name": self.name,
            "sizes": {**{k: len(v) for k, v in present.items()}, "targets": self.targets},
            "sha256": {k: fingerprint(v.x, v.y) for k, v in present.items()},
            "embedded": self.embedded,
            **({"labels": dict(self.labels)} if self.labels else {}),
        }
