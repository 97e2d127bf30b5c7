"""The records of a data-trap audit: the attacker's, the victim's, and those that only test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from undertow.audits.supply import row_hashes
from undertow.engine.key import fingerprint
from undertow.types import BadInput, Examples


@dataclass(frozen=True, eq=False)
class TrapSupply:
    """Disjoint parts of one dataset. Captures are compared with the victim's records, by no one but the auditor."""

    name: str
    auxiliary: Examples  # (N, ...) the attacker's: pretraining and thresholds
    victim: Examples  # what is finetuned on, and may be captured
    test: Examples  # measures accuracy; no model is trained on it
    classes: int
    ids: tuple[str, ...]  # names of the victim's records
    embedded: bool = False
    picture: tuple[int, ...] = ()  # shape of a record as a picture, (H, W) or (3, H, W); empty: it is none
    attacker_classes: int = 0  # of the attacker's records, where they are of another task; 0: they are of the same
    words: tuple[str, ...] = ()  # texts: the tokens, by their ids
    notes: tuple[str, ...] = ()  # what was done to the records, for the report
    labels: Mapping[str, int] = field(default_factory=dict)  # label as written -> class number, where they differ

    def __post_init__(self) -> None:
        known = set(row_hashes(self.auxiliary.x))
        shared = [self.ids[i] for i, key in enumerate(row_hashes(self.victim.x)) if key in known]
        if shared:
            raise BadInput(
                f"{self.name}: {len(shared)} of the victim's records are also in the auxiliary data "
                f"({', '.join(shared[:3])}, ...): capturing those would prove nothing; remove them from one side"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return tuple(self.victim.x.shape[1:])

    def describe(self) -> Mapping[str, Any]:
        """Name, sizes, fingerprint: for the result."""
        parts = {"auxiliary": self.auxiliary, "victim": self.victim, "test": self.test}
        return {
            "name": self.name,
            "sizes": {name: len(part) for name, part in parts.items()},
            "sha256": fingerprint(*(part.x for part in parts.values())),
            "embedded": self.embedded,
            **({"labels": dict(self.labels)} if self.labels else {}),
        }
