"""The header of safetensors, strictly: what two readers could see differently is refused. Standard library only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from .allowed import WIDTHS
from .collect import Found, unread
from .pickles import Job
from .stream import Malformed, TooMuch

BITS = {
    **{kind: 8 * width for kind, width in WIDTHS.items() if kind},
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "C64": 64},  # known to the format, not read here
}


@dataclass(frozen=True)
class Entry:
    """One tensor of a header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int  # byte in the file
    end: int


def header_length(start: bytes, size: int, longest: int) -> int:
    """Bytes of the header, from the first 8 of the file."""
    if size < 8:
        raise Malformed("it is shorter than the length of its header")
    length = int.from_bytes(start[:8], "little")
    if length > longest:
        raise Malformed(f"its header says {length:,} bytes, more than {longest:,}")
    if 8 + length > size:
        raise Malformed("its header is cut")
    return length


def entries_of(raw: bytes, size: int, tokens: int) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """The tensors of a header in the order of the file of `size` bytes, and the metadata."""
    if not raw.startswith(b"{"):
        raise Malformed("its header does not begin with {")
    table = strict(raw, tokens)
    if not isinstance(table, dict):
        raise Malformed("the header is no table")
    said = table.pop("__metadata__", None)
    if said is not None and not (isinstance(said, dict) and all(isinstance(value, str) for value in said.values())):
        raise Malformed("__metadata__ is no table of texts")
    start = 8 + len(raw)
    entries = sorted((_entry(name, item, start) for name, item in table.items()), key=lambda e: (e.begin, e.end))
    place = start
    for entry in entries:
        if entry.begin != place:
            how = "overlaps" if entry.begin < place else "leaves a hole after"
            raise Malformed(f"{entry.name!r} {how} the tensor before")
        place = entry.end
    if place != size:
        raise Malformed("it is cut" if place > size else f"{size - place} bytes follow the last tensor")
    return tuple(entries), said or {}


def strict(raw: bytes, tokens: int) -> Any:
    """The JSON in `raw`; Malformed where a key comes twice or a text is not Unicode, TooMuch where it grows too far."""
    found = sum(raw.count(mark) for mark in (b"{", b"[", b","))
    if found > tokens:
        raise TooMuch(f"its JSON has {found:,} parts, more than {tokens:,}")
    try:
        return json.loads(raw.decode("utf8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is not JSON in UTF-8: {str(error)[:100]}") from error


def _entry(name: str, item: Any, start: int) -> Entry:
    if not isinstance(item, dict) or item.keys() != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"{name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise Malformed(f"{name!r} has no type of this format")
    if not (_whole(shape) and len(shape) <= 64 and _whole(offsets) and len(offsets) == 2):
        raise Malformed(f"{name!r} has a shape or offsets that are not whole numbers from 0 on")
    bits, (begin, end) = prod(shape) * BITS[dtype], offsets
    if bits >= 2**64:
        raise Malformed(f"{name!r} has more numbers than a computer can count")
    if bits % 8 or end - begin != bits // 8:
        raise Malformed(f"{name!r} has {end - begin} bytes, but its shape takes {bits / 8:g}")
    return Entry(name, dtype, tuple(shape), start + begin, start + end)


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1) if len(names) < 1000 else "a name"
        raise ValueError(f"{twice!r} comes twice")
    for name in found:
        name.encode("utf8")  # half of a surrogate pair is no text
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def safetensors(job: Job) -> None:
    """Add the tensors of a safetensors file that lies in an archive or behind a compression."""
    length = header_length(job.stream.read(0, min(8, job.stream.size)), job.stream.size, job.limits["header_bytes"])
    entries, said = entries_of(job.stream.read(8, length), job.stream.size, job.limits["header_tokens"])
    for key, value in said.items():
        if "_target_" in value or "class_path" in value:
            job.texts.append((f"metadata {key[:60]}.yaml", value))
    for entry in entries:
        if entry.dtype not in WIDTHS:
            job.report.stop("unread-tensor", f"{entry.name[:80]!a} has type {entry.dtype}, which is not read yet")
            job.tensors.append(unread(entry.name, entry.shape))
        else:
            place = job.stream.start + entry.begin
            job.tensors.append(Found(entry.name, entry.dtype, entry.shape, None, job.stream.place, place))
