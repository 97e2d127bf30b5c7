"""MessagePack as Flax writes it: tables of arrays. Arrays are extensions of type 1; long ones come in chunks.

Format: github.com/msgpack/msgpack/blob/master/spec.md, and flax/serialization.py. Nothing in it can run.
"""

import struct

from .allowed import WIDTHS
from .collect import Found, unread
from .pickles import Job
from .stream import Malformed, Stream, TooMuch
from .values import shown

DEEPEST = 64
MOST = 2_000_000  # values of a file
NUMBERS = {  # first byte: format of struct
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
SIZED = {  # first byte: (what, bytes of its length)
    0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4), 0xD9: ("text", 1), 0xDA: ("text", 2),
    0xDB: ("text", 4), 0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("table", 2), 0xDF: ("table", 4),
    0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4),
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
KINDS = {
    **{f"float{n}": f"F{n}" for n in (16, 32, 64)},
    **{f"{kind}int{n}": f"{letter}{n}" for kind, letter in (("", "I"), ("u", "U")) for n in (8, 16, 32, 64)},
    **{"bool": "BOOL", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}
CHUNKED = "__msgpack_chunked_array__"
Span = tuple[int, int]  # where bytes begin, and how many they are


class Reader:
    """One file, read from its start."""

    def __init__(self, job: Job) -> None:
        self.job, self.stream, self.at, self.count = job, job.stream, 0, 0

    def take(self, count: int) -> bytes:
        raw = self.stream.read(self.at, count)
        self.at += count
        return raw

    def value(self, path: str, depth: int) -> object:
        """One value; arrays are added under `path`. Numbers, texts, tables, and spans for bytes."""
        self.count += 1
        if depth > DEEPEST or self.count > MOST:
            raise TooMuch("it has too many values, or they are nested too deeply")
        first = self.take(1)[0]
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 256
        if first in CONSTANTS:
            return CONSTANTS[first]
        if first in NUMBERS:
            return struct.unpack(NUMBERS[first], self.take(struct.calcsize(NUMBERS[first])))[0]
        if 0xD4 <= first <= 0xD8:
            return self._extension(path, 1 << (first - 0xD4))
        if first in SIZED:
            what, width = SIZED[first]
            size = int.from_bytes(self.take(width), "big")
        elif first < 0xC0:
            what = "table" if first < 0x90 else "list" if first < 0xA0 else "text"
            size = first & (31 if what == "text" else 15)
        else:
            raise Malformed("a value of it is of no type of MessagePack")
        if what == "extension":
            return self._extension(path, size)
        return self._sized(what, size, path, depth)

    def _sized(self, what: str, size: int, path: str, depth: int) -> object:
        if what in ("bytes", "text"):
            begin, self.at = self.at, self.at + size
            self.stream.part(begin, size)
            if what == "bytes":
                return begin, size
            if size > 4096:
                return ""
            return self.stream.read(begin, size).decode("utf8", "replace")
        if size > self.stream.size - self.at:
            raise Malformed("it is cut")
        if what == "list":
            return [self.value(f"{path}.{i}".lstrip("."), depth + 1) for i in range(size)]
        return self._table(size, path, depth)

    def _table(self, size: int, path: str, depth: int) -> object:
        table: dict[object, object] = {}
        before = len(self.job.tensors)
        for _ in range(size):
            key = self.value("", depth + 1)
            name = key if isinstance(key, str) else str(key) if isinstance(key, int) else "key"
            table[name] = self.value(f"{path}.{name}".lstrip("."), depth + 1)
        if table.get(CHUNKED) is True:
            parts, self.job.tensors[before:] = self.job.tensors[before:], []
            self._joined(path, table.get("shape"), parts)
        return table

    def _joined(self, path: str, shape: object, parts: list[Found]) -> None:
        """A long array, which comes in flat chunks."""
        sizes = list(shape.values()) if isinstance(shape, dict) else shape
        parts = [one for one in parts if len(one.shape) == 1]
        if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes) or not parts:
            raise Malformed("an array of it in chunks has no shape")
        count, kind = 1, parts[0].dtype
        for size in sizes:
            count *= size
        if kind not in WIDTHS or any(one.dtype != kind for one in parts) or sum(one.shape[0] for one in parts) != count:
            raise Malformed("the chunks of an array of it do not fit its shape")
        start = self.job.scratch.used
        for one in parts:
            at, end = one.offset - self.stream.start, one.offset - self.stream.start + WIDTHS[kind] * one.shape[0]
            for place in range(at, end, 1 << 20):
                self.job.scratch.add(self.stream.read(place, min(1 << 20, end - place)))
        self.job.tensors.append(Found(path or "array", kind, tuple(sizes), None, "scratch", start))

    def _extension(self, path: str, size: int) -> object:
        code, begin = self.take(1)[0], self.at
        self.at += size
        body = self.stream.part(begin, size)
        if code != 1:  # complex numbers and numbers of NumPy: alone, so no weights
            return None
        inner = Reader(self.job)
        inner.stream = body
        said = inner.value("", 0)
        if not isinstance(said, list) or len(said) != 3 or not isinstance(said[0], list):
            raise Malformed("an array of it is none")
        self._array(path or "array", said[0], said[1], said[2], body)
        return None

    def _array(self, path: str, shape: list[object], kind: object, span: object, body: Stream) -> None:
        name = kind if isinstance(kind, str) else ""
        sizes = tuple(size for size in shape if type(size) is int and 0 <= size < 2**60)
        if len(sizes) != len(shape) or len(sizes) > 64 or not isinstance(span, tuple):
            raise Malformed("an array of it has no shape or no numbers")
        if name not in KINDS:
            self.job.report.stop("unread-tensor", f"{shown(path)} and others are of type {shown(name)}, not read")
            self.job.tensors.append(unread(path, sizes))
            return
        size = WIDTHS[KINDS[name]]
        for count in sizes:
            size *= count
        if size != span[1]:
            raise Malformed("the numbers of an array of it are not as many as its shape takes")
        place = body.start + span[0]
        self.job.tensors.append(Found(path, KINDS[name], sizes, None, self.stream.place, place))


def flax(job: Job) -> None:
    """Add the arrays of a MessagePack file; one without any is of another program, and is not read."""
    reader = Reader(job)
    reader.value("", 0)
    if reader.at != job.stream.size:
        raise Malformed(f"{job.stream.size - reader.at:,} bytes follow its value")
    if not job.tensors:
        job.report.stop("unread", "it is MessagePack without arrays of Flax")
