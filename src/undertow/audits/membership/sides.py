"""Records that a model was trained on, and records that it was not, as people have them; joined, and checked."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from undertow.audits.membership.label_columns import key_of
from undertow.types import Array, BadInput, Examples

LABELS = ("labels", "label", "y", "target")  # of a dataset whose records are dicts
FEWEST = 2


@dataclass(frozen=True, eq=False)
class Side:
    """The members, or the non-members: records in any form, and what is known of each."""

    x: Any  # (n, ...) array, or a list of n records (texts, dicts, images of several sizes)
    y: Array | None = None  # (n,) labels as they were given: numbers or texts
    ids: tuple[str, ...] | None = None
    groups: Array | None = None  # (n,)
    features: Array | None = None  # (n, D)
    name: str = ""
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # names of the numbers of a table, in the order of x

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Both:
    """Members first, then non-members."""

    x: Any
    y: Array | None
    member: Array  # (N,) bool
    ids: tuple[str, ...]
    hashes: Array  # (N,) text: of the record and its label
    groups: Array | None
    features: Array | None
    sha256: dict[str, str]  # of all members, of all non-members
    notes: tuple[str, ...] = ()


def side(given: Any, name: str) -> Side:
    """A `Side` of whatever holds records: Examples, (x, y), an array, a list, a dataset; BadInput where it is none."""
    if isinstance(given, Side):
        return _checked(given, name)
    if isinstance(given, Examples):
        return _checked(Side(given.x, given.y, name=given.name), name)
    if isinstance(given, tuple):
        if len(given) != 2:
            raise BadInput(f"{name} is a tuple of {len(given)}; give (x, y), or the records alone as an array or list")
        return _checked(Side(_records(given[0], name), _labels(given[1], name)), name)
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__len__"):
        hint = "; read the file first" if isinstance(given, str) else ""
        raise BadInput(f"{name} is {type(given).__name__}; give Examples, (x, y), an array or a list of records{hint}")
    if isinstance(given, np.ndarray | list) or hasattr(given, "detach") or hasattr(given, "iloc"):
        return _checked(Side(_records(given, name)), name)
    return _checked(_dataset(given, name), name)


def both(members: Any, nonmembers: Any, features: Any = None, groups: Any = None) -> Both:
    """Members and non-members of one kind, joined. BadInput where they overlap, or differ in form."""
    inside, outside = side(members, "members"), side(nonmembers, "nonmembers")
    outside = _alike(inside, outside)
    if (inside.y is None) != (outside.y is None):
        lacks = "members" if inside.y is None else "nonmembers"
        raise BadInput(f"{lacks} have no labels and the others have: give labels to both, or to neither")
    hashes = [_hashes(part) for part in (inside, outside)]
    _refuse_overlap(hashes[0], hashes[1], outside.ids)
    x = _joined(inside.x, outside.x)
    ids = [part.ids or tuple(f"{kind}-{i}" for i in range(len(part))) for kind, part in _named(inside, outside)]
    if set(ids[0]) & set(ids[1]):
        ids = [tuple(f"{kind}:{i}" for i in names) for kind, names in zip(("member", "nonmember"), ids, strict=True)]
    given = [_pair(extra, key, inside, outside) for key, extra in (("features", features), ("groups", groups))]
    sha = {name: hashlib.sha256("".join(hashes[i]).encode()).hexdigest() for i, name in enumerate(SIDES)}
    return Both(
        x=x,
        y=None if inside.y is None or outside.y is None else _together(inside.y, outside.y),
        member=np.arange(len(inside) + len(outside)) < len(inside),
        ids=(*ids[0], *ids[1]),
        hashes=np.array([*hashes[0], *hashes[1]]),
        groups=given[1],
        features=given[0],
        sha256=sha,
        notes=(*inside.notes, *outside.notes),
    )


SIDES = ("members", "nonmembers")


def _records(x: Any, name: str) -> Any:
    """An array where the records have one shape and are numbers, else a list."""
    if hasattr(x, "detach"):
        return x.detach().cpu().numpy()
    if hasattr(x, "iloc"):  # a data frame or series
        x = x.to_numpy()
    if isinstance(x, np.ndarray):
        if x.ndim == 0:
            raise BadInput(f"{name}: a single value is no set of records")
        return x.tolist() if x.dtype.kind in "OUS" and x.ndim == 1 else x
    if not isinstance(x, Sequence) or isinstance(x, str | bytes):
        raise BadInput(f"{name} is {type(x).__name__}; the records must be an array or a list")
    return _stacked(list(x))


def _stacked(x: list[Any]) -> Any:
    """A list of equal arrays or numbers as one array; texts, dicts and unequal records stay a list."""
    if not x or isinstance(x[0], str | bytes | Mapping):
        return x
    try:
        found = np.stack([np.asarray(one) for one in x])
    except (ValueError, TypeError):
        return x
    return found if found.dtype.kind in "fiub" else x


def _labels(y: Any, name: str) -> Array | None:
    if y is None:
        return None
    y = y.detach().cpu().numpy() if hasattr(y, "detach") else y
    try:
        found = np.asarray(y)
    except ValueError as error:
        raise BadInput(f"{name}: labels are of several lengths; one label per record is needed") from error
    if found.dtype.kind == "O":
        if any(label is None for label in found.ravel()):
            raise BadInput(f"{name}: {sum(v is None for v in found.ravel())} labels are missing; fill or remove them")
        found = found.astype(str)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim == 2 and (np.isin(found, (0, 1)).all() and (found.sum(1) == 1).all()):
        found = found.argmax(1)  # one-hot
    if found.ndim != 1:
        raise BadInput(
            f"{name}: labels have shape {found.shape}; one class per record is needed (several labels per record: give "
            "score=, a function of (answers, y) that is higher for members)"
        )
    return found


def _dataset(given: Any, name: str) -> Side:
    """Of anything with `len` and `[i]` whose records are (x, y) or dicts with a label."""
    try:
        rows = [given[i] for i in range(len(given))]
    except Exception as error:
        raise BadInput(f"{name} is {type(given).__name__}, whose records cannot be read one by one: {error}") from error
    if rows and isinstance(rows[0], Mapping):
        key = next((key for key in LABELS if key in rows[0]), None)
        y = None if key is None else np.array([np.asarray(row[key]).item() for row in rows])
        held = [{k: v for k, v in row.items() if k != key} for row in rows]
        only = next(iter(held[0])) if len(held[0]) == 1 else None
        return Side(_stacked([row[only] for row in held]) if only else held, y)
    if rows and isinstance(rows[0], tuple) and len(rows[0]) == 2:
        return Side(_stacked([row[0] for row in rows]), np.array([np.asarray(row[1]).item() for row in rows]))
    return Side(_stacked(rows))


def _checked(found: Side, name: str) -> Side:
    x, count = found.x, len(found)
    if count < FEWEST:
        held = "no record" if count == 0 else "one record"
        raise BadInput(f"{name}: {held}; members and non-members are compared, and at least 100 of each say something")
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "fiub":
            raise BadInput(f"{name}: records hold {x.dtype}; they must be numbers, or a list of texts")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            row = int(np.argwhere(~np.isfinite(x))[0][0])
            raise BadInput(f"{name}: record {row} holds NaN or infinity; repair or remove it")
    for key in ("y", "ids", "groups", "features"):
        value = getattr(found, key)
        if value is not None and len(value) != count:
            what = "labels" if key == "y" else key
            raise BadInput(f"{name}: {count} records and {len(value)} {what}; one per record is needed")
    return found


def _hashes(part: Side) -> list[str]:
    labels = [""] * len(part) if part.y is None else [key_of(label) for label in part.y]
    return [f"{_hash(one)}{label}" for one, label in zip(part.x, labels, strict=True)]


def _hash(record: Any) -> str:
    return hashlib.blake2b(_bytes(record), digest_size=16).hexdigest()


def _bytes(record: Any) -> bytes:
    if isinstance(record, str):
        return record.encode("utf8", "surrogatepass")
    if isinstance(record, bytes):
        return record
    if isinstance(record, Mapping):
        return b"".join(str(key).encode() + b"=" + _bytes(record[key]) for key in sorted(record))
    record = record.detach().cpu().numpy() if hasattr(record, "detach") else record
    found = np.asarray(record)
    if found.dtype.kind not in "fiub":
        return repr(record).encode()
    return np.ascontiguousarray(found, float).tobytes()  # 1 and 1.0 are one record


def _refuse_overlap(inside: list[str], outside: list[str], ids: tuple[str, ...] | None) -> None:
    again = set(inside) & set(outside)
    if not again:
        return
    rows = [i for i, one in enumerate(outside) if one in again]
    if len(rows) == len(outside) and len(again) == len(set(inside)):
        raise BadInput("members and nonmembers are the same records; give records that the model was not trained on")
    first = ids[rows[0]] if ids else rows[0]
    raise BadInput(
        f"{len(rows)} of {len(outside)} nonmembers are also members (the first: {first}); a record cannot be both: "
        "remove them from nonmembers"
    )


def _named(inside: Side, outside: Side) -> tuple[tuple[str, Side], ...]:
    return (("member", inside), ("nonmember", outside))


def _alike(inside: Side, outside: Side) -> Side:
    """The non-members with their columns in the order of the members'; BadInput where the tables differ."""
    if inside.columns == outside.columns or not inside.columns or not outside.columns:
        return outside
    odd = sorted(set(inside.columns) ^ set(outside.columns))
    if odd:
        lacks = "nonmembers lack" if odd[0] in inside.columns else "members lack"
        raise BadInput(f"{lacks} the column {odd[0]!r}; both tables need the same columns")
    order = [outside.columns.index(name) for name in inside.columns]
    return replace(outside, x=outside.x[:, order], columns=inside.columns)


def _joined(inside: Any, outside: Any) -> Any:
    if isinstance(inside, np.ndarray) and isinstance(outside, np.ndarray):
        if inside.shape[1:] != outside.shape[1:]:
            raise BadInput(
                f"members have shape {inside.shape[1:]}, nonmembers {outside.shape[1:]}; both must be of one kind"
            )
        return np.concatenate([inside, outside])
    if isinstance(inside, np.ndarray) != isinstance(outside, np.ndarray) or type(inside[0]) is not type(outside[0]):
        raise BadInput(
            f"members are {type(inside[0]).__name__}, nonmembers {type(outside[0]).__name__}; both must be of one kind"
        )
    return [*inside, *outside]


def _together(inside: Array, outside: Array) -> Array:
    if (inside.dtype.kind in "US") != (outside.dtype.kind in "US"):
        raise BadInput(f"labels of members are {inside.dtype}, of nonmembers {outside.dtype}; both must be of one kind")
    return np.concatenate([inside, outside])


def _pair(extra: Any, key: str, inside: Side, outside: Side) -> Array | None:
    """What was given for both sides in one array, or as a pair; else what each side has of its own."""
    sizes = (len(inside), len(outside))
    if extra is None:
        own = (getattr(inside, key), getattr(outside, key))
        return None if own[0] is None or own[1] is None else np.concatenate(own)
    parts = [np.asarray(part) for part in extra] if isinstance(extra, tuple | list) and len(extra) == 2 else [extra]
    if len(parts) == 2 and tuple(map(len, parts)) == sizes:
        return np.concatenate(parts)
    whole = np.asarray(extra) if len(parts) == 1 else np.zeros(0)
    if whole.ndim == 0 or len(whole) != sum(sizes):
        raise BadInput(f"{key}: give a pair, for {sizes[0]} members and for {sizes[1]} nonmembers")
    return whole
