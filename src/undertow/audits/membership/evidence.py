"""Signals brought from anywhere: believed only after a look at types, shapes, numbers and labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from undertow.audits.membership.copies import check_copies
from undertow.audits.membership.outputs import aligned, numbers, outputs, whole_floats
from undertow.audits.membership.precision import lost_order
from undertow.engine.pairs import design_name
from undertow.types import Array, BadInput, Evidence

MODELS_AXIS = (
    "values",
    "logits",
    "probabilities",
    "pretrained_values",
    "pretrained_logits",
    "pretrained_probabilities",
)
RECORDS_AXIS = ("labels", "pretrained_labels", "features", "group", "hash")
KEYS = ("member", *MODELS_AXIS, *RECORDS_AXIS, "id", "target", "design")
SMALL, LARGE = 2.0**-10, 2.0**300  # of the largest value: the floor of variances, and squares that overflow
_ASIDE = ("target", "design")  # not of every model or record
_TRUTH = {
    **dict.fromkeys(("1", "1.0", "true", "member", "in", "yes"), True),
    **dict.fromkeys(("0", "0.0", "false", "non-member", "nonmember", "non_member", "non member", "out", "no"), False),
}


@dataclass(frozen=True, eq=False)
class SignalSet:
    """What a signals file holds, before it is believed."""

    name: str
    sha256: str
    arrays: Mapping[str, Array]  # by KEYS; "id" is in `ids`
    ids: tuple[str, ...] | None = None  # names of the N records, where the file gives them
    notes: tuple[str, ...] = ()  # sentences: what the reader of the file left out or read in its own way


def check_evidence(
    signals: SignalSet, drop_duplicates: bool = False
) -> tuple[Evidence, tuple[str, ...], tuple[str, ...]]:
    """The evidence (M models, N records), the names of the N records, and sentences to show with the result.

    One model needs no axis of its own; probabilities become logits; copies of a record, known by its content,
    are named or removed. Raises BadInput: one line with the file, the key, the shape found and the fix.
    """
    name, arrays = signals.name, {k: v for k, v in signals.arrays.items() if k not in _ASIDE}
    told = list(signals.notes)
    for key, value in arrays.items():
        if value.dtype.kind == "O":
            raise BadInput(f"{name}: {key} holds Python objects (dtype object); save plain numbers or text")
    member = _member(name, arrays, told)
    _check_design(name, signals.arrays.get("design"), member)
    count = member.shape[1]
    for key in RECORDS_AXIS:
        if key in arrays:
            arrays[key] = _per_record(name, key, arrays[key], count)
    found: dict[str, Array] = {"member": member}
    for key in ("values", "pretrained_values"):
        if key in arrays:
            found[key] = _values(name, key, arrays[key], member.shape, told)
    for stage in ("", "pretrained_"):
        found |= outputs(name, stage, arrays, member.shape, told)
    if "features" in arrays:
        found["features"] = _features(name, arrays["features"])
    if "group" in arrays:
        found["groups"] = _groups(name, arrays["group"], told)
    _check_target(name, signals.arrays.get("target"), len(member))
    ids = signals.ids
    if ids is not None and len(ids) != count:
        raise BadInput(f"{name}: id names {len(ids)} records, member has {count}; give one id per record")
    evidence, kept, more = check_copies(name, Evidence(**found), ids, arrays.get("hash"), drop_duplicates)
    return evidence, tuple(ids[i] if ids else str(i) for i in kept), (*told, *more)


def truth(cells: Array) -> tuple[Array, Array]:
    """Membership as bool, and True where a cell says neither yes nor no; both in the shape of `cells`."""
    if cells.dtype == bool:
        return cells, np.zeros(cells.shape, bool)
    cells = np.char.decode(cells, "latin1") if cells.dtype.kind == "S" else cells
    words, place = np.unique(cells, return_inverse=True)
    meanings = [_TRUTH.get(str(word).strip().lower()) for word in words]
    place = place.reshape(cells.shape)
    return np.array([m is True for m in meanings], bool)[place], np.array([m is None for m in meanings], bool)[place]


def _member(name: str, arrays: Mapping[str, Array], told: list[str]) -> Array:
    given = arrays.get("member")
    if given is None:
        raise BadInput(f"{name}: key 'member' is missing; it says who was trained on: bool (M, N), one model: (N,)")
    if given.ndim not in (1, 2) or given.size == 0:
        raise BadInput(
            f"{name}: member has shape {given.shape}; it must be (M models, N records), or (N,) for one model, "
            "neither of them 0"
        )
    member, bad = truth(given)
    if bad.any():
        raise BadInput(
            f"{name}: member holds {_some(given[bad])} ({given.dtype}), which is neither member nor non-member; "
            "write True/False or 1/0"
        )
    column = member.shape[1:] == (1,) and any(arrays[k].shape[:2] != member.shape for k in MODELS_AXIS if k in arrays)
    member = np.atleast_2d(member[:, 0] if column else member)
    if member.all() or not member.any():
        raise BadInput(f"{name}: every entry of member is {bool(member.flat[0])}; members and non-members are needed")
    _check_axes(name, member.shape, arrays, told)
    return member


def _check_axes(name: str, shape: tuple[int, ...], arrays: Mapping[str, Array], told: list[str]) -> None:
    """Refuse a transposed member where other keys show it, else say what the axes were taken for."""
    models, count = shape
    lengths = {len(arrays[key]) for key in RECORDS_AXIS if key in arrays and arrays[key].ndim}
    if lengths == {models} and models not in (1, count):
        key = next(key for key in RECORDS_AXIS if key in arrays)
        raise BadInput(
            f"{name}: member has shape {shape} but {key} is of {models} records; if the first axis of member "
            "counts records, swap its axes (member.T), those of the signals too"
        )
    if models > 4 * count:
        one = "; if it is one model, save member.ravel()" if count == 1 else "; if not, swap the axes (member.T)"
        told.append(f"member has shape {shape}: read as {models} models and {count} record{'s' * (count > 1)}{one}")


def _per_record(name: str, key: str, values: Array, count: int) -> Array:
    """A key with one entry per record, its first axis checked; a column (N, 1) of scalars as (N,)."""
    if key != "features" and values.shape == (count, 1):
        values = values[:, 0]
    if values.ndim == 0 or len(values) != count or (key != "features" and values.ndim != 1):
        rest = ", ..." if key == "features" else ","
        onehot = key.endswith("labels") and values.ndim == 2 and len(values) == count
        fix = f"; if the rows are one-hot, save {key}.argmax(1)" if onehot else ""
        raise BadInput(f"{name}: {key} has shape {values.shape}; it must be ({count}{rest}), one per record{fix}")
    return values


def _values(name: str, key: str, given: Array, shape: tuple[int, ...], told: list[str]) -> Array:
    """One number per model and record, (M, N)."""
    values = _of_common_size(numbers(name, key, aligned(name, key, given, shape)))
    told.extend(lost_order(key, values, given))
    if len(values) > 1 and values.min() >= 0 and 0.5 < values.max() <= 1:
        told.append(
            f"`{key}` lie in 0..1, as probabilities do; attacks with shadow models need numbers close to normal: give "
            "np.log(p / (1 - p)) of the label's probability p, from logits where there are any"
        )
    return values


def _of_common_size(values: Array) -> Array:
    """The same numbers in another unit where theirs is so small or large that variances would vanish or overflow.

    Times a power of two, which rounds nothing; no attack depends on the unit.
    """
    largest = float(np.abs(values).max())
    if largest == 0 or SMALL < largest < LARGE:
        return values
    exponent = int(np.frexp(largest)[1])
    result: Array = np.ldexp(values.astype(float), (0 if largest <= SMALL else int(np.log2(LARGE))) - exponent)
    return result


def _features(name: str, features: Array) -> Array:
    if features.dtype.kind in "US":
        raise BadInput(f"{name}: features are text; give numbers (N, ...); to find copies of a text, give its `hash`")
    flat = features.reshape(len(features), -1)
    if flat.shape[1] == 0:
        raise BadInput(f"{name}: features have shape {features.shape}: no number per record; leave the key out")
    found: Array = numbers(name, "features", flat.astype(np.uint8) if flat.dtype == bool else flat[None])[0]
    return found


def _groups(name: str, given: Array, told: list[str]) -> Array:
    """Group numbers 0.. from whole numbers or text, (N,) int."""
    if given.dtype.kind not in "iubUS" and not whole_floats(given):
        raise BadInput(f"{name}: group holds {given.dtype}; give whole numbers or text, one per record")
    labels, groups = np.unique(given, return_inverse=True)
    if len(labels) == 1:
        raise BadInput(f"{name}: every record is in group {str(labels[0])!r}; leave the key out, or tell them apart")
    if len(labels) == len(given):
        told.append("every record is in a group of its own; `group` changes nothing")
    return groups.astype(int)


def _check_design(name: str, design: Array | None, member: Array) -> None:
    """BadInput where `member` is not that of the design which the file names (`undertow design`)."""
    if design is None:
        return
    if design.ndim != 0 or design.dtype.kind not in "US":
        raise BadInput(f"{name}: design is {design.dtype} {design.shape}; it is the text `design` of undertow design")
    if str(design) != design_name(member):
        raise BadInput(
            f"{name}: member is not that of the design the file names; to see where they differ, give the design's "
            "file: --design design.npz"
        )


def _check_target(name: str, target: Array | None, count: int) -> None:
    if target is None:
        return
    if target.ndim != 1 or target.dtype.kind not in "iu" or len(target) == 0:
        raise BadInput(f"{name}: target is {target.dtype} {target.shape}; it must be model numbers (T,), such as [3]")
    bad = target[(target < 0) | (target >= count)]
    if len(bad) or len(np.unique(target)) != len(target):
        raise BadInput(f"{name}: target must name different models in 0..{count - 1}, got {target.tolist()[:8]}")


def _some(values: Array) -> str:
    """The first few different entries, for a message."""
    different = np.unique(values)
    return ", ".join(repr(v.item()) for v in different[:3]) + (", ..." if len(different) > 3 else "")
