"""The opcodes of pickle, protocols 0 to 5 -> names and arguments. Reads; does nothing.

The list and the shape of the arguments are those of CPython's Lib/pickletools.py.
"""

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from .stream import Malformed, Stream, TooMuch

LONGEST_LINE = 1 << 20
SHORT = 1 << 16  # longer bytes stay in the file; longer texts count against the limit


@dataclass(frozen=True)
class Blob:
    """Bytes that stay where they are: position and length in the open file."""

    offset: int
    size: int
    place: str = "file"  # or "scratch"


Opcode = tuple[
    str, object, int, int
]  # name, argument, where it begins, where the next one begins; a plain tuple is fast


# name, how the argument is written: "" none; a struct format; "line", "lines" (two), or (length's format, what)
OPCODES: dict[int, tuple[str, str]] = {
    ord(mark): (name, how)
    for mark, name, how in (
        ("(", "MARK", ""),
        (".", "STOP", ""),
        ("0", "POP", ""),
        ("1", "POP_MARK", ""),
        ("2", "DUP", ""),
        ("F", "FLOAT", "float line"),
        ("I", "INT", "int line"),
        ("J", "BININT", "<i"),
        ("K", "BININT1", "<B"),
        ("L", "LONG", "long line"),
        ("M", "BININT2", "<H"),
        ("N", "NONE", ""),
        ("P", "PERSID", "ascii line"),
        ("Q", "BINPERSID", ""),
        ("R", "REDUCE", ""),
        ("S", "STRING", "string line"),
        ("T", "BINSTRING", "<i text"),
        ("U", "SHORT_BINSTRING", "<B text"),
        ("V", "UNICODE", "unicode line"),
        ("X", "BINUNICODE", "<I utf8"),
        ("a", "APPEND", ""),
        ("b", "BUILD", ""),
        ("c", "GLOBAL", "two lines"),
        ("d", "DICT", ""),
        ("}", "EMPTY_DICT", ""),
        ("e", "APPENDS", ""),
        ("g", "GET", "int line"),
        ("h", "BINGET", "<B"),
        ("i", "INST", "two lines"),
        ("j", "LONG_BINGET", "<I"),
        ("l", "LIST", ""),
        ("]", "EMPTY_LIST", ""),
        ("o", "OBJ", ""),
        ("p", "PUT", "int line"),
        ("q", "BINPUT", "<B"),
        ("r", "LONG_BINPUT", "<I"),
        ("s", "SETITEM", ""),
        ("t", "TUPLE", ""),
        (")", "EMPTY_TUPLE", ""),
        ("u", "SETITEMS", ""),
        ("G", "BINFLOAT", ">d"),
        ("B", "BINBYTES", "<I bytes"),
        ("C", "SHORT_BINBYTES", "<B bytes"),
        ("\x80", "PROTO", "<B"),
        ("\x81", "NEWOBJ", ""),
        ("\x82", "EXT1", "<B"),
        ("\x83", "EXT2", "<H"),
        ("\x84", "EXT4", "<i"),
        ("\x85", "TUPLE1", ""),
        ("\x86", "TUPLE2", ""),
        ("\x87", "TUPLE3", ""),
        ("\x88", "NEWTRUE", ""),
        ("\x89", "NEWFALSE", ""),
        ("\x8a", "LONG1", "<B long"),
        ("\x8b", "LONG4", "<i long"),
        ("\x8c", "SHORT_BINUNICODE", "<B utf8"),
        ("\x8d", "BINUNICODE8", "<Q utf8"),
        ("\x8e", "BINBYTES8", "<Q bytes"),
        ("\x8f", "EMPTY_SET", ""),
        ("\x90", "ADDITEMS", ""),
        ("\x91", "FROZENSET", ""),
        ("\x92", "NEWOBJ_EX", ""),
        ("\x93", "STACK_GLOBAL", ""),
        ("\x94", "MEMOIZE", ""),
        ("\x95", "FRAME", "<Q"),
        ("\x96", "BYTEARRAY8", "<Q bytes"),
        ("\x97", "NEXT_BUFFER", ""),
        ("\x98", "READONLY_BUFFER", ""),
    )
}


PLAIN, LINE, LINES, NUMBER, COUNTED = range(5)
PARSED: list[tuple[str, int, struct.Struct | None, str] | None] = [None] * 256  # by opcode: name, form, number, what
for _code, (_name, _how) in OPCODES.items():
    _format, _, _what = _how.partition(" ")
    if not _how:
        PARSED[_code] = (_name, PLAIN, None, "")
    elif _how.endswith(("line", "lines")):
        PARSED[_code] = (_name, LINES if _how == "two lines" else LINE, None, _format)
    else:
        PARSED[_code] = (_name, COUNTED if _what else NUMBER, struct.Struct(_format), _what)
AHEAD = 16  # bytes that an opcode and its number may take


def opcodes(stream: Stream, offset: int, longest: int) -> Generator[Opcode, int | None, None]:
    """The instructions from `offset` to STOP; send() says where to go on instead.

    Malformed where one is unknown or cut; TooMuch for texts longer than `longest`.
    """
    taken, base, piece = 0, 0, b""
    while True:
        at = offset - base
        if at < 0 or at + AHEAD > len(piece):
            base, piece = stream.window(offset)
            at = offset - base
        parsed = PARSED[piece[at]]
        if parsed is None:
            raise Malformed(f"byte {offset} is no opcode of a pickle")
        name, form, number, what = parsed
        argument: Any = None
        end = offset + 1
        if form == PLAIN:
            pass
        elif number is not None:
            if at + 1 + number.size > len(piece):
                raise Malformed("it is cut")
            argument = number.unpack_from(piece, at + 1)[0]
            end += number.size
            if form == COUNTED:
                size, low = argument, at + 1 + number.size
                if what == "utf8" and low + size <= len(piece):  # most texts are short, and in what is held
                    argument = _utf8(piece[low : low + size])
                else:
                    argument = _counted(stream, end, size, what)
                end += size
                if not isinstance(argument, Blob):
                    taken = _within(taken + size, longest)
        else:
            argument, end = _of_lines(stream, end, form, what)
            taken = _within(taken + end - offset, longest)
        elsewhere = yield name, argument, offset, end
        if elsewhere is not None:
            yield name, argument, offset, elsewhere  # the answer to send()
            end = elsewhere
        if name == "STOP":
            return
        offset = end


def _within(taken: int, longest: int) -> int:
    if taken > longest:
        raise TooMuch(f"a pickle of it has more than {longest:,} bytes of text")
    return taken


def _of_lines(stream: Stream, offset: int, form: int, what: str) -> tuple[object, int]:
    """The argument that one line, or two, hold and where the next instruction begins."""
    line = stream.line(offset, LONGEST_LINE)
    end = offset + len(line) + 1
    if form == LINE:
        return _of_line(line, what), end
    name = stream.line(end, LONGEST_LINE)
    return (_utf8(line), _utf8(name)), end + len(name) + 1


def _counted(stream: Stream, offset: int, size: int, what: str) -> object:
    if size < 0 or offset + size > stream.size:
        raise Malformed("it is cut, or a length in it is false")
    if what == "bytes" and size > SHORT and stream.place != "held":
        return Blob(stream.start + offset, size, stream.place)
    if size > 1 << 28:
        raise TooMuch(f"a text or number in it has {size:,} bytes")
    raw = stream.read(offset, size)
    if what == "bytes":
        return raw
    if what == "utf8":
        return _utf8(raw)
    if what == "text":  # of Python 2: bytes or text, whichever the loader likes
        return raw.decode("latin1")
    if size > 4096:
        raise TooMuch("a number in it has more than 4,096 bytes")
    return int.from_bytes(raw, "little", signed=True)


def _of_line(line: bytes, how: str) -> object:
    """The value of a text opcode of protocol 0."""
    try:
        if how == "int":
            return line == b"01" if line in (b"00", b"01") else _decimal(line)
        if how == "long":
            return _decimal(line.removesuffix(b"L"))
        if how == "float":
            return float(_short(line))
        if how == "unicode":
            return line.decode("raw-unicode-escape")
        if how == "string":
            return _quoted(line)
        return line.decode("ascii")
    except ValueError as error:
        raise Malformed("a number or text in it is none") from error


def _short(line: bytes) -> bytes:
    if len(line) > 4000:
        raise TooMuch("a number in it has more than 4,000 digits")
    return line


def _decimal(line: bytes) -> int:
    """Readers differ on signs, spaces, underscores and 0x: only plain digits mean the same to all of them."""
    if not line.removeprefix(b"-").isdigit():
        raise ValueError("no plain number")
    return int(_short(line))


def _quoted(line: bytes) -> str:
    """A text of protocol 0; its escapes stay as written, so that no name with one is on the list."""
    line = line.strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Malformed("a text in it has no quotes")
    return line[1:-1].decode("latin1")


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise Malformed("a text in it is not UTF-8") from error
