"""The records of a person's own training, as they bring them: checked once, labels numbered, groups known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from undertow.audits.membership.copies import same_rows
from undertow.audits.own.arrays import array_of
from undertow.engine.key import digest, fingerprint
from undertow.types import Array, BadInput, Examples

LEAST = 4  # records
ROOM = 4  # how many numbers labels 0..K-1 may leave out for each that occurs, before they are renumbered


@dataclass(frozen=True, eq=False)
class Pool:
    """Everything that is known of the records; each training is shown a half of them."""

    examples: Examples
    labelled: bool  # False: `examples.y` is all 0 and means nothing
    ids: tuple[str, ...]
    groups: Array | None = None  # (N,) int, the person or document a record belongs to
    people: tuple[str, ...] = ()  # names of the groups, by number
    features: Array | None = None  # (N, D) numbers that describe the records, for the blind guess
    notes: tuple[str, ...] = ()
    rows: Array | None = None  # (N,) int, which of the `given` records each is; None: all of them, in their order
    given: int = 0  # records before copies were removed; 0: as many as there are

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def classes(self) -> int:
        """K of labels 0..K-1; 0 where there are none."""
        return int(self.examples.y.max()) + 1 if self.labelled else 0

    @property
    def sha(self) -> str:
        """What the records are, in the store and in the result: content, order and labels."""
        return digest([content(self.examples.x), fingerprint(self.examples.y) if self.labelled else None])

    def take(self, rows: Array) -> "Pool":
        """The same with only these records."""
        return replace(
            self,
            examples=self.examples.take(rows),
            ids=tuple(self.ids[int(i)] for i in rows),
            groups=None if self.groups is None else self.groups[rows],
            features=None if self.features is None else self.features[rows],
            rows=None if self.rows is None else self.rows[rows],
        )


def as_pool(
    records: Any,
    *,
    ids: Sequence[Any] | None = None,
    groups: Any = None,
    features: Any = None,
    name: str = "records",
    drop_duplicates: bool = False,
) -> Pool:
    """Records as `Examples`, a pair (x, y), {"x": x, "y": y}, or x alone; BadInput in one line where they cannot be.

    x: numbers (N, ...), a list of texts, a tensor, a table of numbers. y: (N,) class numbers or names; None where
    there are no labels. `groups` (N,): records of one value belong together.
    """
    if isinstance(records, Pool):
        return records
    x, y, name = _parts(records, name)
    x = _inputs(x)
    labels, notes = _labels(y, len(x))
    examples = Examples(x, np.zeros(len(x), np.int64) if labels is None else labels, name)
    number, people = _groups(groups, len(x))
    described, more = _features(features, x)
    names = _ids(ids, len(x))
    pool = Pool(examples, labels is not None, names, number, people, described, (*notes, *more))
    return _without_copies(pool, drop_duplicates)


def content(x: Array) -> str:
    """sha256 of inputs; of texts, of each text."""
    return digest([str(v) for v in x.tolist()]) if x.dtype.kind == "O" else fingerprint(x)


def _parts(records: Any, name: str) -> tuple[Any, Any, str]:
    if isinstance(records, Examples):
        return records.x, records.y, records.name
    if isinstance(records, Mapping):
        if "x" not in records:
            raise BadInput(f"records: key 'x' is missing; found: {', '.join(map(str, records)) or 'nothing'}")
        return records["x"], records.get("y"), name
    if isinstance(records, tuple):
        if len(records) != 2:
            raise BadInput(f"records: a tuple of {len(records)}; give a pair (x, y)")
        return records[0], records[1], name
    if hasattr(records, "x") and hasattr(records, "y"):
        return records.x, records.y, name
    if records is None:
        raise BadInput("records: nothing was given; give (x, y), or Examples")
    return records, None, name


def _inputs(x: Any) -> Array:
    if isinstance(x, str | bytes) or x is None:
        raise BadInput(f"records: x is {type(x).__name__}; give an array (N, ...) or a list with one entry per record")
    if isinstance(x, list | tuple) and x and all(isinstance(v, str) for v in x):
        texts = np.empty(len(x), object)
        texts[:] = list(x)
        return _enough(texts)
    found = array_of(x, "records: x", "one entry per record")
    if found.ndim == 0:
        raise BadInput("records: x is a single number; give an array (N, ...) with one entry per record")
    if found.dtype.kind == "O":
        texts_only = found.ndim == 1 and all(isinstance(v, str) for v in found)
        if not texts_only:
            raise BadInput(
                "records: x holds Python objects; give numbers (N, ...) or texts, or x = np.arange(N), row numbers "
                "with which your function looks the records up"
            )
    elif found.dtype.kind not in "fiubUSc":
        raise BadInput(f"records: x holds {found.dtype}; give numbers (N, ...) or texts")
    return _enough(found)


def _enough(x: Array) -> Array:
    if len(x) < LEAST:
        raise BadInput(f"records: {len(x)} records; at least {LEAST} are needed to deal random halves")
    return x


def _labels(y: Any, count: int) -> tuple[Array | None, tuple[str, ...]]:
    """Labels 0..K-1 and how they were numbered."""
    if y is None:
        return None, ()
    given = array_of(y, "records: y", "one label per record")
    if given.shape == (count, 1):
        given = given[:, 0]
    if given.shape != (count,):
        fix = "; of one-hot rows, give y.argmax(1)" if given.ndim == 2 and len(given) == count else ""
        raise BadInput(f"records: y has shape {given.shape} for {count} records; it must be ({count},){fix}")
    if given.dtype.kind == "O":
        given = np.array([str(v) for v in given])
    if given.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(given))
        if len(bad):
            raise BadInput(f"records: y of record {bad[0]} is {given[bad[0]]}; label it, or leave it out")
        if (given != np.round(given)).any():
            raise BadInput(
                "records: y holds numbers that are no classes (regression); put the target into x, leave y out, and "
                "let predict answer one score per record, such as minus the squared error (higher = member)"
            )
        given = given.astype(np.int64)
    if given.dtype.kind not in "iubUS":
        raise BadInput(f"records: y holds {given.dtype}; give class numbers or names, one per record")
    return _numbered(given)


def _numbered(given: Array) -> tuple[Array, tuple[str, ...]]:
    names, number = np.unique(given, return_inverse=True)
    if len(names) < 2:
        raise BadInput(
            f"records: every label is {str(names[0])!r}; a classifier needs two classes (no labels: leave y out)"
        )
    if given.dtype.kind in "iu" and names[0] >= 0 and names[-1] < ROOM * len(names):
        return given.astype(np.int64), ()
    if given.dtype == bool:
        return number.astype(np.int64), ()
    if len(names) > len(given) // 2 and given.dtype.kind in "US":
        raise BadInput(f"records: {len(names)} different labels for {len(given)} records; y must hold class names")
    shown = ", ".join(f"{name} = {i}" for i, name in enumerate(names[:8])) + (", ..." if len(names) > 8 else "")
    return number.astype(np.int64), (f"The labels were numbered in sorted order: {shown}.",)


def _groups(groups: Any, count: int) -> tuple[Array | None, tuple[str, ...]]:
    if groups is None:
        return None, ()
    given = array_of(groups, "groups", "one group per record")
    if given.shape != (count,):
        raise BadInput(f"groups: shape {given.shape} for {count} records; give one group per record, ({count},)")
    texts = given.astype(str)
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise BadInput(f"groups: record {int(np.flatnonzero(~np.isfinite(given))[0])} has no group; name one for each")
    names, number = np.unique(texts, return_inverse=True)
    if len(names) < LEAST:
        raise BadInput(f"groups: {len(names)} groups; at least {LEAST} are needed to deal random halves of them")
    return number.astype(np.int64), tuple(map(str, names))


def _features(features: Any, x: Array) -> tuple[Array | None, tuple[str, ...]]:
    """Numbers that describe the records, (N, D), for the blind guess; None where there are none."""
    if features is None and (x.dtype.kind not in "fiub" or (x.ndim == 1 and np.array_equal(x, np.arange(len(x))))):
        why = "x are row numbers" if x.dtype.kind in "iu" else f"x are {'texts' if x.dtype.kind in 'OUS' else x.dtype}"
        return None, (f"There is no blind guess: {why}; give `features`, numbers that describe each record.",)
    given = x if features is None else array_of(features, "features", "one row per record")
    if given.ndim == 0 or len(given) != len(x) or given.dtype.kind not in "fiub":
        raise BadInput(f"features: {given.dtype} {given.shape}; give numbers ({len(x)}, ...), one row per record")
    flat = given.reshape(len(x), -1)
    flat = flat.astype(np.uint8) if flat.dtype == bool else flat
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        absent = ~np.isfinite(flat)
        some = absent[:, absent.any(0)]
        return np.concatenate([np.where(absent, 0, flat), some], 1), ()
    return flat, ()


def _ids(ids: Sequence[Any] | None, count: int) -> tuple[str, ...]:
    names = tuple(map(str, range(count))) if ids is None else tuple(map(str, ids))
    if len(names) != count:
        raise BadInput(f"ids: {len(names)} names for {count} records; give one each")
    if len(set(names)) != count:
        raise BadInput("ids: two records have one name; each needs its own")
    return names


def _without_copies(pool: Pool, drop: bool) -> Pool:
    """Refuse, or on request remove, records that would be members and non-members of one model at once."""
    x = pool.examples.x
    number = same_rows(x.astype(str) if x.dtype.kind == "O" else x)
    order = np.lexsort((np.arange(len(x)), number))
    first = np.r_[True, number[order][1:] != number[order][:-1]]
    original = order[np.maximum.accumulate(np.where(first, np.arange(len(x)), 0))]
    apart = np.ones(len(x), bool) if pool.groups is None else pool.groups[order] != pool.groups[original]
    copies = np.sort(order[~first & apart])
    if not len(copies):
        return pool
    names = ", ".join(pool.ids[i] for i in copies[:5]) + (", ..." if len(copies) > 5 else "")
    if len(copies) == len(x) - 1:
        raise BadInput(f"records: all {len(x)} records are equal")
    if not drop:
        raise BadInput(
            f"records: {len(copies)} records occur before with the same x ({names}), so they would be members and "
            "non-members at once; remove them (drop_duplicates=True, --drop-duplicates), or give both one group"
        )
    rows = np.setdiff1d(np.arange(len(x)), copies)
    kept = replace(pool.take(rows), rows=rows, given=len(x))
    return replace(kept, notes=(*kept.notes, f"{len(copies)} records that occur before were removed ({names})."))
