"""From the value of a pickle to a flat list of tensors, each with a name and a place in the file."""

import os
from dataclasses import dataclass

from .allowed import WIDTHS
from .machine import Report
from .opcodes import Blob
from .stream import Malformed, TooMuch
from .values import Bag, Kind, NumpyArray, Opaque, Plain, Record, Storage, Table, View

DEEPEST = 100
LOOSE = 4096  # numbers outside of tensors that may be weights


@dataclass(frozen=True)
class Place:
    """Bytes of the file, or of the scratch file into which compressed members were inflated."""

    where: str  # "file" or "scratch"
    offset: int
    size: int


@dataclass
class Scratch:
    """A file without a name that takes what does not lie in the checkpoint as it is."""

    fd: int
    most: int
    used: int = 0

    def add(self, raw: bytes) -> None:
        if self.used + len(raw) > self.most:
            raise TooMuch(f"it is longer than {self.most:,} bytes when inflated")
        done = 0
        while done < len(raw):
            done += os.pwrite(self.fd, raw[done:], self.used + done)
        self.used += len(raw)


@dataclass(frozen=True)
class Found:
    """One tensor: `stride` in numbers, None for C order; `offset` in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    where: str
    offset: int


def unread(name: str, shape: tuple[int, ...]) -> Found:
    """A tensor whose numbers are not read: it has a size, so that what was not examined can be counted."""
    return Found(name, "UNREAD", shape, None, "none", 0)


def leaves(root: object, most: int) -> dict[str, View | NumpyArray]:
    """The tensors of a value by their path, keys joined by dots; TooMuch where it unfolds too far."""
    found: dict[str, View | NumpyArray] = {}
    loose = 0
    todo: list[tuple[tuple[str, ...], object]] = [((), root)]
    visited = 0
    while todo:
        path, value = todo.pop()
        visited += 1
        if visited > most:
            raise TooMuch(f"its pickle unfolds to more than {most:,} values")
        if isinstance(value, NumpyArray) and value.items is not None:
            value = value.items
        if isinstance(value, View | NumpyArray | Storage):
            _name(found, ".".join(filter(None, path)) or "tensor", _as_view(value))
        elif isinstance(value, Table | Bag | Record | list | tuple):
            if len(path) > DEEPEST:
                raise TooMuch(f"its pickle is nested more than {DEEPEST} deep, or holds itself")
            loose += _loose(value)
            inside = _children(value)
            deeper = [((*path, key), item) for key, item in reversed(inside) if type(item) not in SCALARS]
            visited += max(_count(value), len(inside)) - len(deeper)  # those are counted when their turn comes
            if visited + len(deeper) > most:
                raise TooMuch(f"its pickle unfolds to more than {most:,} values")
            todo += deeper
    if loose >= LOOSE:
        _name(found, "numbers outside of tensors", NumpyArray("", (loose,)))
    return found


def _loose(value: Table | Bag | Record | list[object] | tuple[object, ...]) -> int:
    """Numbers in a list, or in bytes that are long enough for weights: a program may load them, no scan reads them."""
    if isinstance(value, Table):
        held: list[object] | tuple[object, ...] = [item for _, item in value.pairs]
    else:
        held = value.items if isinstance(value, Bag) else value.given if isinstance(value, Record) else value
    raw = numbers = 0
    for item in held:
        kind = type(item)
        if kind is float:
            numbers += 1
        elif (kind is bytes or kind is Blob) and (size := _size(item)) >= 4 * LOOSE:  # type: ignore[arg-type]
            raw += size // 4
    return raw + (0 if isinstance(value, Table) else numbers)


def _count(value: Table | Bag | Record | list[object] | tuple[object, ...]) -> int:
    """Values directly inside, scalars among them."""
    if isinstance(value, list | tuple):
        return len(value)
    return len(value.items) if isinstance(value, Bag) else 0


def _size(raw: bytes | Blob) -> int:
    return raw.size if isinstance(raw, Blob) else len(raw)


SCALARS = frozenset({type(None), bool, int, float, str, bytes, Blob, Opaque, Plain, Kind})  # hold no tensor


def _as_view(value: View | NumpyArray | Storage) -> View | NumpyArray:
    if isinstance(value, Storage):
        kind = value.dtype or "U8"
        return View(value, kind, 0, (value.numel,), (1,))
    return value


def _name(found: dict[str, View | NumpyArray], name: str, value: View | NumpyArray) -> None:
    """A second tensor under one name gets a number: none may hide behind another."""
    try:
        name.encode("utf8")
    except UnicodeEncodeError as error:
        raise Malformed("the name of a tensor of it is not Unicode") from error
    if len(name) > 4096:
        raise TooMuch("the name of a tensor of it is longer than 4,096 characters")
    free, count = name, 1
    while free in found:
        count += 1
        free = f"{name}#{count}"
    found[free] = value


SPLICED = ("_parameters", "_buffers", "_modules")  # of a torch module: its tensors are named as in a state_dict


def _of_record(record: Record) -> list[tuple[str, object]]:
    """What an object was given, tables of it in the place of the object."""
    found: list[tuple[str, object]] = []
    for number, value in enumerate(record.given):
        if not isinstance(value, Table):
            found.append((str(number) if len(record.given) > 1 else "", value))
            continue
        for key, item in _children(value):
            found.extend(_children(item) if key in SPLICED and isinstance(item, Table) else [(key, item)])
    return found


def _children(value: Table | Bag | Record | list[object] | tuple[object, ...]) -> list[tuple[str, object]]:
    if isinstance(value, Record):
        return _of_record(value)
    if not isinstance(value, Table):
        items = value.items if isinstance(value, Bag) else value
        return [(str(i), item) for i, item in enumerate(items) if type(item) not in SCALARS]
    last: dict[object, tuple[str, object]] = {}
    for key, item in value.pairs:
        if type(key) is str:
            if type(item) not in SCALARS:  # only what may hold a tensor is followed
                last[key] = (key, item)
            else:
                last.pop(key, None)
            continue
        if not (key is None or isinstance(key, int | float | bytes)):
            if type(item) in SCALARS:
                continue
            key = f"key {len(last)}"
        last[key] = (key if isinstance(key, str) else str(key), item)
    return list(last.values())


def records(
    tensors: dict[str, View | NumpyArray], places: dict[str, Place], scratch: Scratch, most: int, report: Report | None
) -> list[Found]:
    """Each tensor's place. Malformed where a storage is absent or short; TooMuch where views unfold too far."""
    found, dense = [], 0
    for name, value in tensors.items():
        if isinstance(value, NumpyArray):
            if not value.dtype:  # of a type that is not read: said already, or numbers that are no tensor
                found += [unread(name, value.shape)] if value.shape else []
                continue
            found.append(_of_array(name, value, scratch))
        else:
            found.append(_of_view(name, value, places))
        count = WIDTHS[value.dtype]
        for size in value.shape:
            count *= size
        dense += count
        if dense > most:
            raise TooMuch(f"its tensors unfold to more than {most:,} bytes")
    if report is None:
        return found
    used = {value.storage.key for value in tensors.values() if isinstance(value, View)}
    if idle := sorted(set(places) - used):
        report.say("unused-data", "warning", f"{len(idle)} of its storages belong to no tensor")
    return found


def _of_view(name: str, value: View, places: dict[str, Place]) -> Found:
    place = places.get(value.storage.key)
    width = WIDTHS[value.storage.dtype]
    if place is None or (value.storage.base + value.storage.numel) * width > place.size:
        raise Malformed("a storage that its tensors need is absent or too short")
    begin = value.storage.base * width + value.offset * WIDTHS[value.dtype]
    stride = None if _in_order(value.shape, value.stride) else value.stride
    return Found(name, value.dtype, value.shape, stride, place.where, place.offset + begin)


def _of_array(name: str, value: NumpyArray, scratch: Scratch) -> Found:
    if isinstance(value.data, Blob):
        where, offset = value.data.place, value.data.offset
    else:
        where, offset = "scratch", scratch.used
        scratch.add(value.data)
    stride = None
    if value.fortran and len(value.shape) > 1:
        steps = [1]
        for size in value.shape[:-1]:
            steps.append(steps[-1] * size)
        stride = tuple(steps)
    return Found(name, value.dtype, value.shape, stride, where, offset)


def _in_order(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the numbers lie in C order without gaps."""
    step = 1
    for size, found in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and found != step:
            return 0 in shape
        step *= size
    return True
