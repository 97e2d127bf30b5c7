"""HDF5 as Keras and h5py write it: groups, datasets in one piece or in chunks, attributes. Nothing else of it is read.

Format: HDF5 File Format Specification 3.0. Superblocks 0 to 3, object headers 1 and 2; dense groups, indexes of chunks
of version 4 and filters beside gzip and shuffle are said to be unread. Numbers in other files, and links to them, are
findings.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .chunks import Unread, assembled, filters, layout
from .collect import Found, unread
from .pickles import Job
from .stream import Malformed, Stream, TooMuch
from .values import shown

NOWHERE = 2**64 - 1
DATASPACE, LINK_INFO, DATATYPE, OUTSIDE, LINK, LAYOUT, FILTERS, ATTRIBUTE = 1, 2, 3, 7, 6, 8, 11, 12
CONTINUED, TABLE = 16, 17
MOST = 200_000  # objects and messages
DEEPEST = 32
ASKED = ("model_config", "training_config")  # attributes in which Keras describes a model, as JSON


@dataclass(frozen=True)
class Message:
    """One message of an object header."""

    kind: int
    body: Stream


class Reader:
    """One HDF5 file; sizes of offsets and lengths are 8, as everybody writes them."""

    def __init__(self, job: Job) -> None:
        self.job, self.stream, self.count = job, job.stream, 0
        self.seen: set[int] = set()

    def number(self, at: int, size: int = 8) -> int:
        return int.from_bytes(self.stream.read(at, size), "little")

    def root(self) -> int:
        """The address of the root group's header."""
        version = self.number(8, 1)
        if version in (0, 1):
            sizes, base, at = self.stream.read(13, 2), 24 + 4 * version, 64 + 4 * version
        elif version in (2, 3):
            sizes, base, at = self.stream.read(9, 2), 12, 36
        else:
            raise Malformed("it is an HDF5 of a version that is not read")
        if sizes != b"\x08\x08" or self.number(base):
            raise Malformed("it is an HDF5 with addresses of another size or place, which is not read")
        return self.number(at)

    def messages(self, address: int) -> Iterator[Message]:
        """The messages of an object header, continuations too."""
        if self.stream.read(address, 4) == b"OHDR":
            flags = self.number(address + 5, 1)
            at = address + 6 + 16 * bool(flags & 32) + 4 * bool(flags & 16)
            width = 1 << (flags & 3)
            yield from self._block(at + width, self.number(at, width), 2, flags)
        elif self.number(address, 1) == 1:
            yield from self._block(address + 16, self.number(address + 8, 4), 1, 0)
        else:
            raise Malformed("an object header of it is of a version that is not read")

    def _block(self, at: int, size: int, version: int, flags: int) -> Iterator[Message]:
        todo = [(at, size)]
        while todo:
            at, size = todo.pop(0)
            end = at + size
            head = 8 if version == 1 else 4 + 2 * bool(flags & 4)
            while at + head <= end:
                self.count += 1
                if self.count > MOST:
                    raise TooMuch(f"it has more than {MOST:,} messages")
                kind = self.number(at, 2 if version == 1 else 1)
                length = self.number(at + (2 if version == 1 else 1), 2)
                body = self.stream.part(at + head, length)
                if kind == CONTINUED:
                    place, span = self.number(at + head), self.number(at + head + 8)
                    todo.append((place, span) if version == 1 else (place + 4, span - 8))
                yield Message(kind, body)
                at += head + length

    def children(self, message: Message) -> Iterator[tuple[str, int]]:
        """(name, address) of what a group holds by a symbol table or a link message."""
        body = message.body
        if message.kind == TABLE:
            heap = self.number(body.start - self.stream.start + 8)
            if self.stream.read(heap, 4) != b"HEAP":
                raise Malformed("a group of it has no names")
            names = self.number(heap + 24)
            yield from self._tree(self.number(body.start - self.stream.start), names, 0)
        elif message.kind == LINK:
            yield from self._link(body)

    def _tree(self, at: int, names: int, depth: int) -> Iterator[tuple[str, int]]:
        if at in self.seen or depth > DEEPEST or self.stream.read(at, 4) != b"TREE":
            raise Malformed("the tree of a group of it is broken")
        self.seen.add(at)
        level, used = self.number(at + 5, 1), self.number(at + 6, 2)
        for i in range(used):
            child = self.number(at + 32 + 16 * i)
            if level:
                yield from self._tree(child, names, depth + 1)
                continue
            if self.stream.read(child, 4) != b"SNOD":
                raise Malformed("the tree of a group of it is broken")
            for k in range(self.number(child + 6, 2)):
                entry = child + 8 + 40 * k
                name = self.stream.line_of(names + self.number(entry))
                if self.number(entry + 16, 4) == 2:
                    self.job.report.stop("unread", f"{shown(name)} is a link to another place of it")
                else:
                    yield name, self.number(entry + 8)

    def _link(self, body: Stream) -> Iterator[tuple[str, int]]:
        flags, at, kind = body.read(1, 1)[0], 2, 0
        if flags & 8:
            kind, at = body.read(2, 1)[0], 3
        at += 8 * bool(flags & 4) + bool(flags & 16)
        width = 1 << (flags & 3)
        size = int.from_bytes(body.read(at, width), "little")
        name = body.read(at + width, size).decode("utf8", "replace")
        if kind == 0:
            yield name, int.from_bytes(body.read(at + width + size, 8), "little")
        elif kind == 64:
            self.job.report.stop("external-data", f"{shown(name)} is a link to another file", "critical")
        else:
            self.job.report.stop("unread", f"{shown(name)} is a link to another place of it")

    def walk(self, address: int, path: str, depth: int) -> None:
        """Add the datasets below an object, and the texts that describe a model."""
        if depth > DEEPEST or address in self.seen:
            raise Malformed("its groups hold each other")
        self.seen.add(address)
        found = list(self.messages(address))
        kinds = {message.kind: message for message in found}
        for message in found:
            if message.kind == ATTRIBUTE:
                self._attribute(message.body)
            if message.kind == LINK_INFO:
                at = 2 + 8 * (message.body.read(1, 1)[0] & 1)
                if int.from_bytes(message.body.read(at, 8), "little") != NOWHERE:
                    self.job.report.stop(
                        "unread", f"the group {shown(path) or '/'} is stored in a way that is not read"
                    )
            for name, child in self.children(message):
                self.walk(child, f"{path}/{name}" if path else name, depth + 1)
        if OUTSIDE in kinds:
            self.job.report.stop("external-data", f"the numbers of {shown(path)} lie in another file", "critical")
        elif LAYOUT in kinds:
            self._dataset(path, kinds)

    def _dataset(self, path: str, kinds: dict[int, Message]) -> None:
        dtype, shape = _type(kinds[DATATYPE].body), _shape(kinds[DATASPACE].body)
        if dtype == "text":
            return
        place = _place(kinds[LAYOUT].body, self.stream)
        size = _width(dtype)
        for count in shape:
            size *= count
        if dtype and place is None and size:
            self._chunked(path, kinds, dtype, shape)
        elif not dtype or FILTERS in kinds or place is None:
            how = "stored in a way that is not read" if dtype else "of a type that is not read"
            self.job.report.stop("unread-tensor", f"{shown(path)} and others are {how}")
            self.job.tensors.append(unread(path, shape))
        elif place == NOWHERE or not size:
            return  # never written: nothing but zeros
        elif place + size > self.stream.size:
            raise Malformed("a dataset of it reaches beyond the file")
        else:
            found = Found(path, dtype, shape, None, self.stream.place, self.stream.start + place)
            self.job.tensors.append(found)

    def _chunked(self, path: str, kinds: dict[int, Message], dtype: str, shape: tuple[int, ...]) -> None:
        try:
            chunks = layout(kinds[LAYOUT].body)
            steps = filters(kinds[FILTERS].body) if FILTERS in kinds else []
            if chunks.width != _width(dtype):
                raise Malformed("the chunks of a dataset of it are of another type")
            start = assembled(self.job, chunks, steps, shape)
        except Unread:
            self.job.report.stop("unread-tensor", f"{shown(path)} and others are stored in a way that is not read")
            self.job.tensors.append(unread(path, shape))
        else:
            self.job.tensors.append(Found(path, dtype, shape, None, "scratch", start))

    def _attribute(self, body: Stream) -> None:
        version = body.read(0, 1)[0]
        sizes = [int.from_bytes(body.read(at, 2), "little") for at in (2, 4, 6)]
        at = 8 + (version == 3)
        name = body.read(at, sizes[0]).split(b"\0")[0].decode("utf8", "replace")
        padded = [-(-size // 8) * 8 if version == 1 else size for size in sizes]
        if name not in ASKED:
            return
        kind = body.part(at + padded[0], sizes[1])
        data = body.part(at + sum(padded), body.size - at - sum(padded))
        cls = kind.read(0, 1)[0] & 15
        raw = self._heap(data) if cls == 9 else data.read(0, min(data.size, int.from_bytes(kind.read(4, 4), "little")))
        self.job.texts.append((f"{name}.json", raw.rstrip(b"\0").decode("utf8", "replace")))

    def _heap(self, data: Stream) -> bytes:
        """A text of the global heap."""
        size, at = int.from_bytes(data.read(0, 4), "little"), int.from_bytes(data.read(4, 8), "little")
        wanted = int.from_bytes(data.read(12, 4), "little")
        if self.stream.read(at, 4) != b"GCOL":
            raise Malformed("a text of it is not where it should be")
        end = at + self.number(at + 8)
        at += 16
        while at + 16 <= end:
            index, length = self.number(at, 2), self.number(at + 8)
            if index == wanted and size <= length <= 1 << 26:
                return self.stream.read(at + 16, size)
            if not index:
                break
            at += 16 + -(-length // 8) * 8
        raise Malformed("a text of it is not where it should be")


def _type(body: Stream) -> str:
    """The type as safetensors writes it, "text" for texts; "" where it is not read."""
    kind, flags, size = body.read(0, 1)[0] & 15, body.read(1, 1)[0], int.from_bytes(body.read(4, 4), "little")
    if kind in (3, 7, 9):  # texts, references, and lists of texts
        return "text"
    if kind == 8 and size in (1, 2, 4, 8):  # an enumeration, as h5py keeps true and false
        return f"I{8 * size}"
    if flags & 1 and size > 1:
        return ""  # big-endian
    if kind == 0 and size in (1, 2, 4, 8):
        return f"{'I' if flags & 8 else 'U'}{8 * size}"
    exponent = body.read(13, 1)[0] if kind == 1 and body.size >= 20 else 0
    return {(2, 5): "F16", (4, 8): "F32", (8, 11): "F64", (2, 8): "BF16"}.get((size, exponent), "")


def _width(dtype: str) -> int:
    return 2 if dtype == "BF16" else int(dtype[1:] or 0) // 8 if dtype else 0


def _shape(body: Stream) -> tuple[int, ...]:
    version, rank = body.read(0, 2)
    start = 8 if version == 1 else 4
    return tuple(int.from_bytes(body.read(start + 8 * i, 8), "little") for i in range(rank))


def _place(body: Stream, whole: Stream) -> int | None:
    """Where the numbers of a dataset begin, in the file; None for chunks and whatever else is in no one piece."""
    version, kind = body.read(0, 1)[0], body.read(1, 1)[0]
    if version in (3, 4) and kind == 1:
        return int.from_bytes(body.read(2, 8), "little")
    if version in (3, 4) and kind == 0:
        return body.start - whole.start + 4
    if version in (1, 2) and body.read(2, 1)[0] == 1:
        return int.from_bytes(body.read(8, 8), "little")
    return None


def hdf5(job: Job) -> None:
    """Add the datasets of an HDF5 file, and the texts in which Keras describes its model."""
    reader = Reader(job)
    try:
        reader.walk(reader.root(), "", 0)
    except (KeyError, UnicodeDecodeError) as error:
        raise Malformed("a dataset of it lacks its type, shape or place") from error
    finally:
        job.scratch.fill()
