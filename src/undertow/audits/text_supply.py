"""The texts of one poisoning audit, as token ids: the candidates, what resembles them, and ordinary text."""

from dataclasses import dataclass

from undertow.engine.key import fingerprint
from undertow.types import BadInput, Examples


@dataclass(frozen=True, eq=False)
class TextSupply:
    """Every part is (n, L) ids and their next tokens; no row of one part is in another."""

    name: str
    candidates: Examples  # (N, L) whose membership is the secret
    lookalikes: Examples | None  # further texts of the same source, in no training set; None: it has no more
    auxiliary: Examples  # ordinary text: the poisoner's stealth term
    public: Examples  # ordinary text: in every victim's training set, or to warm up on
    held_out: Examples  # ordinary text: utility
    ids: tuple[str, ...]  # names of the N candidates
    texts: tuple[str, ...]  # what is kept of each, as text
    vocabulary: int  # one more than the largest token id
    pretrain: Examples | None  # ordinary text to pretrain on; None: the model is trained already
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.texts) == len(self.candidates):
            raise BadInput(f"{self.name}: {len(self.ids)} ids, {len(self.texts)} texts, {len(self.candidates)} records")

    @property
    def parts(self) -> dict[str, Examples]:
        """All parts there are, by name."""
        names = ("candidates", "lookalikes", "auxiliary", "public", "held_out", "pretrain")
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    def describe(self) -> dict[str, object]:
        """Name, sizes and content hashes, for the result."""
        return {
            "name": self.name,
            "sizes": {name: len(part) for name, part in self.parts.items()},
            "sha256": {name: fingerprint(part.x, part.y) for name, part in self.parts.items()},
        }
