"""The header of a safetensors file, checked by our own rules: nothing is left to the reader's mood.

The format is https://github.com/huggingface/safetensors (8 bytes of length, JSON, the numbers). Refused are headers
that are cut, too long, not UTF-8, not JSON, deeply nested, with a key twice, with fields that the format does not
have; tensors that overlap, leave holes, reach beyond the file or stop before its end, or whose shape and bytes differ.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from undertow.opening.blocks import WIDTHS, stored_tensor
from undertow.opening.opened import DEFAULT, Limits
from undertow.opening.source import Refused, Source
from undertow.scanner.tensors import Tensor

BITS = {
    **{kind: 8 * width for kind, width in WIDTHS.items()},
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


def safetensors_header(source: Source, limits: Limits = DEFAULT) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Tensors in the order of the file, and the metadata; Refused("malformed", why) where anything is off."""
    raw = _header_bytes(source, limits)
    table = strict_json(raw, limits)
    if not isinstance(table, dict):
        raise _bad("the header is no table")
    said = table.pop("__metadata__", None)
    if said is not None and not (isinstance(said, dict) and all(isinstance(value, str) for value in said.values())):
        raise _bad("__metadata__ is no table of texts")
    start = 8 + len(raw)
    entries = sorted((_entry(name, item, start) for name, item in table.items()), key=lambda e: (e.begin, e.end))
    place = start
    for entry in entries:
        if entry.begin != place:
            raise _bad(
                f"{entry.name!r} {'overlaps' if entry.begin < place else 'leaves a hole after'} the tensor before"
            )
        place = entry.end
    if place != source.size:
        raise _bad("it is cut" if place > source.size else f"{source.size - place} bytes follow the last tensor")
    return tuple(entries), said or {}


def safetensors(source: Source, limits: Limits = DEFAULT) -> tuple[dict[str, Tensor], dict[str, str], list[Entry]]:
    """Tensors by name, metadata, and the tensors whose type is not read here."""
    entries, said = safetensors_header(source, limits)
    found = {e.name: stored_tensor(e.name, e.dtype, e.shape, source, e.begin) for e in entries if e.dtype in WIDTHS}
    return found, said, [entry for entry in entries if entry.dtype not in WIDTHS]


def strict_json(raw: bytes, limits: Limits) -> Any:
    """The JSON in `raw`; Refused where a key comes twice, a text is not Unicode, or it nests or grows too far."""
    tokens = sum(raw.count(mark) for mark in (b"{", b"[", b","))
    if tokens > limits.header_tokens:
        raise Refused("limit", f"its JSON has {tokens:,} parts, more than {limits.header_tokens:,}")
    try:
        return json.loads(raw.decode("utf8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it is not JSON in UTF-8: {str(error)[:100]}") from error


def _header_bytes(source: Source, limits: Limits) -> bytes:
    if source.size < 8:
        raise _bad("it is shorter than the length of its header")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > limits.header_bytes:
        raise _bad(f"its header says {length:,} bytes, more than {limits.header_bytes:,}")
    if 8 + length > source.size:
        raise _bad("its header is cut")
    raw = source.read(8, length)
    if not raw.startswith(b"{"):
        raise _bad("its header does not begin with {")
    return raw


def _entry(name: str, item: Any, start: int) -> Entry:
    if not isinstance(item, dict) or item.keys() != {"dtype", "shape", "data_offsets"}:
        raise _bad(f"{name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _bad(f"{name!r} has no type of this format")
    if not (_whole(shape) and len(shape) <= 64 and _whole(offsets) and len(offsets) == 2):
        raise _bad(f"{name!r} has a shape or offsets that are not whole numbers from 0 on")
    bits, (begin, end) = prod(shape) * BITS[dtype], offsets
    if bits >= 2**64:
        raise _bad(f"{name!r} has more numbers than a computer can count")
    if bits % 8 or end - begin != bits // 8:
        raise _bad(f"{name!r} has {end - begin} bytes, but its shape takes {bits / 8:g}")
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


def _bad(text: str) -> Refused:
    return Refused("malformed", f"as safetensors it is malformed: {text}")
