"""Protocol buffers, as they lie in a file: the fields of a message, one after the other. Reads; knows no schema."""

from collections.abc import Iterator
from dataclasses import dataclass

from .stream import Malformed, Stream

MOST = 2_000_000  # fields of a file


@dataclass
class Count:
    """Fields that may still be read."""

    left: int = MOST


def fields(stream: Stream, count: Count) -> Iterator[tuple[int, int, int, Stream]]:
    """(number, wire type, value, bytes) of each field; `bytes` holds what a length-delimited field holds.

    Malformed where a field is cut, or of a type that is not in use any more.
    """
    at = 0
    empty = stream.part(0, 0)
    while at < stream.size:
        count.left -= 1
        if count.left < 0:
            raise Malformed(f"it has more than {MOST:,} fields")
        key, at = varint(stream, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(stream, at)
            yield number, kind, value, empty
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield number, kind, int.from_bytes(stream.read(at, size), "little"), stream.part(at, size)
            at += size
        elif kind == 2:
            size, at = varint(stream, at)
            yield number, kind, size, stream.part(at, size)
            at += size
        else:
            raise Malformed("a field of it is of no type that is in use")


def varint(stream: Stream, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    raw = stream.read(at, min(10, stream.size - at))
    value = 0
    for i, byte in enumerate(raw):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise Malformed("a number of it has no end")


def text(stream: Stream, longest: int = 4096) -> str:
    """What a field holds, as text; cut where it is too long to be a name."""
    return stream.read(0, min(stream.size, longest)).decode("utf8", "replace")
