"""The records of a zip archive, read strictly: what two readers could see differently is refused.

Format: PKWARE APPNOTE. The central directory must name every byte: no prefix, no gap, no overlap, no comment, and
each local header must say what the directory says.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .machine import MALFORMED, Report
from .stream import Malformed, Stream, TooMuch
from .values import shown

END, END64, LOCATOR, DIRECTORY, LOCAL, DESCRIPTOR = (
    b"PK" + bytes(n) for n in ((5, 6), (6, 6), (6, 7), (1, 2), (3, 4), (7, 8))
)
PIECE = 1 << 20
BIG = 0xFFFFFFFF
ENCRYPTED, DESCRIBED, OPTIONS, UTF8 = 1, 8, 6, 2048  # flags


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    name: str
    raw_name: bytes
    flags: int
    method: int  # 0 stored, 8 deflated
    crc: int
    packed: int
    size: int
    header: int  # where its local header begins
    data: int = 0  # where its bytes begin


def members(stream: Stream, report: Report, most: int) -> list[Member]:
    """The members in the order of the archive. Malformed where the records disagree; TooMuch for too many."""
    count, size, start = _end(stream)
    if count > most:
        raise TooMuch(f"the archive has {count:,} members, more than {most:,}")
    raw, found, at = stream.read(start, size), [], 0
    for _ in range(count):
        member, at = _entry(raw, at)
        found.append(_located(stream, member))
    if at != size:
        raise Malformed("its directory has bytes that are no entry")
    found.sort(key=lambda member: member.header)
    _check_cover(stream, found, start)
    _check_names(found, report)
    return found


def content(stream: Stream, member: Member) -> Iterator[bytes]:
    """The bytes of a member, a piece at a time; Malformed where length or CRC are not as the directory says."""
    crc, size = 0, 0
    for piece in _pieces(stream, member):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        if size > member.size:
            raise Malformed(f"member {shown(member.name)} is longer than the directory says")
        yield piece
    if size != member.size:
        raise Malformed(f"member {shown(member.name)} is shorter than the directory says")
    if crc != member.crc:
        raise Malformed(f"the CRC of member {shown(member.name)} is wrong")


def _pieces(stream: Stream, member: Member) -> Iterator[bytes]:
    packed = (stream.read(member.data + at, min(PIECE, member.packed - at)) for at in range(0, member.packed, PIECE))
    if member.method == 0:
        yield from packed
        return
    engine = zlib.decompressobj(-15)
    try:
        for part in packed:
            while part and not engine.eof:
                yield engine.decompress(part, PIECE)
                part = engine.unconsumed_tail
        while not engine.eof and (piece := engine.decompress(engine.unconsumed_tail, PIECE)):
            yield piece
    except zlib.error as error:
        raise Malformed(f"member {shown(member.name)} cannot be inflated") from error
    if not engine.eof or engine.unused_data:
        raise Malformed(f"member {shown(member.name)} does not end where the directory says")


def _end(stream: Stream) -> tuple[int, int, int]:
    """Members, bytes and place of the central directory, which must reach up to the end records."""
    at = stream.size - 22
    if at < 0 or stream.read(at, 4) != END:
        raise Malformed("the archive has no end record, or bytes after it")
    disk, first, here, count, size, start, comment = struct.unpack("<4x4H2IH", stream.read(at, 22))
    if comment or disk or first or here != count:
        raise Malformed("its end record is odd")
    if at >= 20 and stream.read(at - 20, 4) == LOCATOR:
        wide_at, disks = struct.unpack("<8xQI", stream.read(at - 20, 20))
        if wide_at + 56 != at - 20 or disks != 1 or stream.read(wide_at, 4) != END64:
            raise Malformed("its 64-bit end record is not where it should be")
        wide = struct.unpack("<4xQ2H2I4Q", stream.read(wide_at, 56))
        if wide[0] != 44 or wide[3] or wide[4] or wide[5] != wide[6]:
            raise Malformed("its 64-bit end record is odd")
        if not (_same(count, wide[6], 0xFFFF) and _same(size, wide[7], BIG) and _same(start, wide[8], BIG)):
            raise Malformed("its two end records disagree")
        (count, size, start), at = wide[6:9], wide_at
    if start + size != at or count * 46 > size:
        raise Malformed("its directory does not lie before its end record: something else is in the file")
    return count, size, start


def _same(narrow: int, wide: int, mark: int) -> bool:
    return narrow in (wide, mark)


def _entry(raw: bytes, at: int) -> tuple[Member, int]:
    if raw[at : at + 4] != DIRECTORY or at + 46 > len(raw):
        raise Malformed("its directory is broken")
    made, _, flags, method, crc, packed, size, n, e, c, disk, _, mode, header = struct.unpack(
        "<4x4H4x3I5H2I", raw[at : at + 46]
    )
    name, extra = raw[at + 46 : at + 46 + n], raw[at + 46 + n : at + 46 + n + e]
    if len(extra) != e or disk or c:
        raise Malformed("its directory is broken")
    if made >> 8 == 3 and mode >> 16 & 0o170000 == 0o120000:
        raise Malformed("it holds a symbolic link")
    size, packed, header = _wide(extra, [size, packed, header])
    return Member(_text(name), name, flags, method, crc, packed, size, header), at + 46 + n + e + c


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """Sizes and places of which the 32-bit field says that they are in the 64-bit one."""
    at = 0
    while at + 4 <= len(extra) and BIG in values:
        mark, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        if mark == 1:
            for i, value in enumerate(values):
                if value == BIG:
                    if len(body) < 8:
                        raise Malformed("a 64-bit field of its directory is cut")
                    values[i], body = int.from_bytes(body[:8], "little"), body[8:]
            return values
        at += 4 + length
    return values


def _text(name: bytes) -> str:
    try:
        return name.decode("utf8")
    except UnicodeDecodeError as error:
        raise Malformed("a name in it is not UTF-8") from error


def _located(stream: Stream, member: Member) -> Member:
    """The member with the place of its bytes; its local header must agree with the directory."""
    raw = stream.read(member.header, 30)
    mark, flags, method, crc, packed, size, n, e = struct.unpack("<4s2xHH4x3IHH", raw)
    name = stream.read(member.header + 30, n)
    extra = stream.read(member.header + 30 + n, e)
    size, packed, _ = _wide(extra, [size, packed, 0])
    if member.flags & DESCRIBED and (crc, packed, size) == (0, 0, 0):
        crc, packed, size = member.crc, member.packed, member.size
    said = (mark, flags, method, crc, packed, size, name)
    if said != (LOCAL, member.flags, member.method, member.crc, member.packed, member.size, member.raw_name):
        raise Malformed(f"the header of member {shown(member.name)} is not what the directory says")
    if member.flags & ~(DESCRIBED | OPTIONS | UTF8) or member.method not in (0, 8):
        raise Malformed(f"member {shown(member.name)} is encrypted or packed in a way that is not read")
    if member.method == 0 and member.packed != member.size:
        raise Malformed(f"member {shown(member.name)} is stored, but with two sizes")
    return Member(**{**member.__dict__, "data": member.header + 30 + n + e})


def _check_cover(stream: Stream, found: list[Member], end: int) -> None:
    """From the first byte to the directory there must be members and nothing else."""
    place = 0
    for member, after in zip(found, [*(m.header for m in found[1:]), end], strict=True):
        if member.header != place:
            raise Malformed("bytes of it belong to no member, or to two")
        place = member.data + member.packed
        gap = after - place
        if member.flags & DESCRIBED and gap in (12, 16, 20, 24):
            raw = stream.read(place, gap).removeprefix(DESCRIPTOR if gap in (16, 24) else b"")
            if raw not in (struct.pack(f"<I2{kind}", member.crc, member.packed, member.size) for kind in _fits(member)):
                raise Malformed(f"what follows member {shown(member.name)} is no descriptor of it")
            place += gap
    if place != end:
        raise Malformed("bytes of it belong to no member, or to two")


def _fits(member: Member) -> str:
    return "IQ" if max(member.packed, member.size) <= BIG else "Q"


def _check_names(found: list[Member], report: Report) -> None:
    names = [member.name for member in found]
    if len(set(names)) != len(names) or len({name.casefold() for name in names}) != len(names):
        raise Malformed("two members have one name")
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or name[1:2] == ":":
            report.stop("path-traversal", f"member {shown(name)} would be written outside of its folder", "critical")
    if not found:
        report.stop(MALFORMED, "the archive is empty")
