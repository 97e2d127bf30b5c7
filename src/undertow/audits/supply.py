"""The records of one audit: whose membership is secret, what else the chain is fed, and what tests it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from undertow.engine.key import fingerprint
from undertow.rng import stream
from undertow.types import Array, BadInput, ConfigError, Examples


@dataclass(frozen=True, eq=False)
class Supply:
    """What a membership audit of pretrain > finetune is played on."""

    name: str
    secret: Examples  # (N, ...) the audited pool: each model is trained on half of it
    other: Examples | None  # the stage that is not audited; None: there is none (mia without a base)
    test: Examples | None  # downstream records no model is trained on
    ids: tuple[str, ...]  # names of the audited records
    embedded: bool = False  # public data that may be shown in a report
    pictures: Array | None = None  # (N, H, W[, 3]) uint8, the audited records to look at
    notes: tuple[str, ...] = field(default=())
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # part -> label as written -> class number

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.secret):
            raise BadInput(f"{self.name}: {len(self.ids)} ids for {len(self.secret)} records")
        for part in (self.other, self.test):
            if part is not None and part.x.shape[1:] != self.secret.x.shape[1:]:
                raise BadInput(
                    f"{self.name}: records of {part.name} have shape {part.x.shape[1:]}, "
                    f"the audited ones {self.secret.x.shape[1:]}; they must agree"
                )

    def take(self, rows: Array) -> "Supply":
        """The same with only these audited records."""
        pictures = None if self.pictures is None else self.pictures[rows]
        ids = tuple(self.ids[int(i)] for i in rows)
        return replace(self, secret=self.secret.take(rows), ids=ids, pictures=pictures)

    def describe(self) -> dict[str, object]:
        """Name, sizes and content hashes, for the result."""
        parts = {"audited": self.secret, "other": self.other, "test": self.test}
        present = {k: v for k, v in parts.items() if v is not None}
        return {
            "name": self.name,
            "sizes": {k: len(v) for k, v in present.items()},
            "sha256": {k: fingerprint(v.x, v.y) for k, v in present.items()},
            "embedded": self.embedded,
            **({"labels": {part: dict(found) for part, found in self.labels.items()}} if self.labels else {}),
        }


def split(records: Examples, seed: int, pool: int, other: int) -> tuple[Array, Array, Array]:
    """Disjoint random rows (audited, other, rest) of one dataset."""
    if pool + other > len(records):
        raise ConfigError(f"data.pool + data.other = {pool + other}, but {records.name} has {len(records)} records")
    order = stream(seed, "split").permutation(len(records))
    return order[:pool], order[pool : pool + other], order[pool + other :]


def share_used(used: int, there: int, what: str, key: str) -> tuple[str, ...]:
    """A sentence where not all records are used.

    >>> share_used(400, 3000, "records of mine are candidates", "data.points")
    ('400 of 3,000 records of mine are candidates (data.points = 400); the others are not used.',)
    """
    return (f"{used:,} of {there:,} {what} ({key} = {used}); the others are not used.",) if used < there else ()


def with_label_noise(records: Examples, share: float, classes: int, seed: int) -> Examples:
    """`records` with a random `share` of labels drawn uniformly from all classes."""
    rng = stream(seed, "label noise")
    noisy = rng.random(len(records)) < share
    drawn = rng.integers(classes, size=len(records))
    return replace(records, y=np.where(noisy, drawn, records.y))


def row_hashes(x: Array) -> list[bytes]:
    """One content hash per record."""
    flat = np.ascontiguousarray(x).reshape(len(x), -1)
    return [row.tobytes() for row in flat] if flat[0].nbytes <= 32 else [fingerprint(row).encode() for row in flat]


def without_duplicates(supply: Supply, drop: bool) -> Supply:
    """Refuse (BadInput), or on request remove, audited records that would be on both sides of the boundary.

    A record that occurs twice in the pool may be a member and a non-member of the same model; one that also
    occurs in other stages' data is seen by every model. Found by content, before anything is trained.
    """
    seen: set[bytes] = set()
    for part in (supply.other, supply.test):
        seen.update(row_hashes(part.x) if part is not None else ())
    keep: list[int] = []
    bad: list[int] = []
    for row, key in enumerate(row_hashes(supply.secret.x)):
        (bad if key in seen else keep).append(row)
        seen.add(key)
    if not bad:
        return supply
    names = ", ".join(supply.ids[row] for row in bad[:5]) + (", ..." if len(bad) > 5 else "")
    if not drop:
        raise BadInput(
            f"{supply.name}: {len(bad)} audited records also occur elsewhere in the pool or in other data "
            f"({names}), so they are members and non-members at once; run with --drop-duplicates to remove them"
        )
    kept = supply.take(np.array(keep[: len(keep) - len(keep) % 2], int))
    note = f"{len(supply.secret) - len(kept.secret)} duplicate audited records were removed ({names})"
    return replace(kept, notes=(*supply.notes, note))
