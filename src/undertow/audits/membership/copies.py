"""Records that occur more than once in a signals file: known by their content, never by a model's outputs."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from undertow.types import Array, BadInput, Evidence

TIES = 0.05  # share of the records from which equal outputs are worth a sentence
_OF_RECORDS = ("labels", "pretrained_labels", "features", "groups")


def check_copies(
    name: str, evidence: Evidence, ids: Sequence[str] | None, hashes: Array | None, drop: bool
) -> tuple[Evidence, Array, tuple[str, ...]]:
    """The evidence, the rows kept (K,) of its N records, and sentences about records that occur more than once.

    Copies are records with the same `hash` (else the same `features`) or the same `id`. `drop` removes every copy
    of every such record, whatever its membership: to keep one, or only those whose membership differs, would
    tell the attacks something about membership. BadInput where `drop` is asked and nothing shows the content.
    """
    count = evidence.member.shape[1]
    everything = np.arange(count)
    content = _content(evidence, ids, hashes)
    if not content:
        if drop:
            raise BadInput(
                f"{name}: --drop-duplicates needs to know the records, not only outputs: give `features` (N, ...), "
                "`hash` (N,) or `id` (N,)"
            )
        return evidence, everything, _ties(evidence)
    by = " and ".join(f"`{key}`" for key in content)
    number = _joined(list(content.values()))
    size = np.bincount(number)[number]
    if size.max() == count:
        if drop:
            raise BadInput(f"{name}: all {count} records are equal by {by}; to tell copies give `hash` or `id`")
        return evidence, everything, (f"all records are equal by {by}, so copies of a record cannot be told",)
    copies = np.flatnonzero(size > 1)
    if not len(copies):
        return evidence, everything, ((f"no record occurs twice by {by}",) if drop else ())
    said = _said(evidence.member, number, copies, by, ids)
    if not drop:
        return evidence, everything, (f"{said}; --drop-duplicates removes all copies of them",)
    kept = np.flatnonzero(size == 1)
    rest = evidence.member[:, kept]
    if rest.size == 0 or rest.all() or not rest.any():
        raise BadInput(f"{name}: {said}; without them members or non-members are absent; do not drop them")
    return _take(evidence, kept), kept, (f"{said}: all copies were removed, {len(kept)} of {count} records are left",)


def same_rows(rows: Array) -> Array:
    """A number for each row, (N,) int, equal where the rows are equal bit for bit."""
    if rows.ndim == 1:
        return np.unique(rows, return_inverse=True)[1].astype(int)
    seen: dict[bytes, int] = {}
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    keys = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in flat)
    return np.array([seen.setdefault(key, len(seen)) for key in keys])


def _content(evidence: Evidence, ids: Sequence[str] | None, hashes: Array | None) -> dict[str, Array]:
    """What shows which records are equal: key -> a number per record."""
    found = {}
    if hashes is not None:
        found["hash"] = same_rows(hashes)
    elif evidence.features is not None:
        found["features"] = same_rows(evidence.features)
    if ids is not None:
        found["id"] = same_rows(np.array(ids))
    return found


def _joined(numbers: Sequence[Array]) -> Array:
    """Records that share any of the numbers, (N,) int."""
    if len(numbers) == 1:
        return numbers[0]
    count = len(numbers[0])
    first = [np.unique(n, return_index=True, return_inverse=True)[1:] for n in numbers]
    links = np.concatenate([index[inverse] for index, inverse in first])
    edges = coo_matrix((np.ones(len(links)), (np.tile(np.arange(count), len(numbers)), links)), (count, count))
    joined: Array = connected_components(edges, directed=False)[1]
    return joined


def _said(member: Array, number: Array, copies: Array, by: str, ids: Sequence[str] | None) -> str:
    """How many records occur how often, and in how many of them the copies differ in membership."""
    order = copies[np.argsort(number[copies], kind="stable")]
    _, starts, sizes = np.unique(number[order], return_index=True, return_counts=True)
    inside = np.add.reduceat(member[:, order].astype(int), starts, axis=1)  # (M, sets)
    differ = int(((inside > 0) & (inside < sizes)).any(0).sum())
    names = ", ".join(str(ids[i]) if ids else str(i) for i in order[starts[:3]])
    both = f"the copies of {differ} of them are members and non-members of one model"
    return (
        f"{len(starts)} record{'s occur' if len(starts) > 1 else ' occurs'} more than once by {by} "
        f"({len(copies)} rows, first: {names}{', ...' if len(starts) > 3 else ''}); "
        f"{both if differ else 'all copies of one record have the same membership'}"
    )


def _ties(evidence: Evidence) -> tuple[str, ...]:
    """Equal outputs are no sign of equal records; many of them are worth a sentence."""
    member, count = evidence.member, evidence.member.shape[1]
    given = evidence.logits if evidence.logits is not None else evidence.values
    if given is None:
        return ()
    number = same_rows(np.moveaxis(given, 0, 1)) if len(given) > 1 or given.ndim > 2 else same_rows(given[0])
    size = np.bincount(number)
    inside = np.stack([np.bincount(number, row, len(size)) for row in member])
    both_sides: Array = np.any((inside > 0) & (inside < size), axis=0)
    tied = int((size[number] > 1)[both_sides[number]].sum())
    if tied < max(5, TIES * count) or len(size) == 1:  # a constant model says nothing
        return ()
    return (
        f"{tied} records have exactly the outputs of another record with different membership, as coarse or rounded "
        "outputs (of trees, for instance) have; that is no sign of duplicates; to check for duplicates give "
        "`features`, `hash` or `id`",
    )


def _take(evidence: Evidence, kept: Array) -> Evidence:
    parts = {f.name: getattr(evidence, f.name) for f in fields(evidence)}
    changed = {k: v[kept] if k in _OF_RECORDS else v[:, kept] for k, v in parts.items() if v is not None}
    return replace(evidence, **changed)
