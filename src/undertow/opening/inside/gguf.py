"""GGUF (llama.cpp): the header and where the tensors lie. Format: ggml/docs/gguf.md, versions 2 and 3."""

import struct

from .allowed import WIDTHS
from .collect import Found
from .pickles import Job
from .stream import Malformed, TooMuch
from .values import shown

TYPES = {0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
BLOCKS = {  # types in blocks: numbers of one, and its bytes
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
UNREAD = {
    9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S",
    29: "IQ1_M",
}  # fmt: skip
FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, LIST = 8, 9
MOST = 4_000_000  # texts in lists (vocabularies), tensors


class Cursor:
    """Where the header is being read."""

    def __init__(self, job: Job) -> None:
        self.stream, self.at, self.texts = job.stream, 8, 0

    def number(self, code: str) -> int:
        raw = self.stream.read(self.at, struct.calcsize(code))
        self.at += len(raw)
        return int(struct.unpack("<" + code, raw)[0])

    def text(self) -> str:
        size = self.number("Q")
        self.texts += 1
        if size > 1 << 24 or self.texts > MOST:
            raise TooMuch("a text of its header is too long, or there are too many")
        raw = self.stream.read(self.at, size)
        self.at += size
        return raw.decode("utf8", "replace")

    def kept(self, kind: int) -> str | None:
        """The value where it is a text, else past it."""
        if kind == TEXT:
            return self.text()
        self.skip(kind)
        return None

    def skip(self, kind: int, depth: int = 0) -> int:
        """Past one value; a whole number is returned, for the alignment."""
        if kind in FIXED:
            self.at += struct.calcsize(FIXED[kind])
            return int.from_bytes(self.stream.read(self.at - 4, 4), "little") if kind == 4 else 0
        if kind == TEXT:
            self.text()
            return 0
        if kind != LIST or depth > 4:
            raise Malformed("a value of its header has no type of this format")
        inner, count = self.number("I"), self.number("Q")
        if inner in FIXED:
            self.at += count * struct.calcsize(FIXED[inner])
            self.stream.read(self.at, 0)
            return 0
        for _ in range(count):
            self.skip(inner, depth + 1)
        return 0


def gguf(job: Job) -> None:
    """Add the tensors whose numbers are plain or in plain blocks; of other blocks, only how many there are."""
    if struct.unpack("<I", job.stream.read(4, 4))[0] not in (2, 3):
        raise Malformed("it is a GGUF of a version that is not read")
    cursor = Cursor(job)
    tensors, pairs, alignment = cursor.number("Q"), cursor.number("Q"), 32
    if max(tensors, pairs) > MOST:
        raise TooMuch("its header lists too many things")
    for _ in range(pairs):
        key = cursor.text()
        kind = cursor.number("I")
        if key.startswith("tokenizer.chat_template"):
            text = cursor.kept(kind)
            job.texts += [(f"{key}.jinja", text)] if text is not None else []
            continue
        value = cursor.skip(kind)
        alignment = value if key == "general.alignment" else alignment
    if not 1 <= alignment <= 1 << 20:
        raise Malformed("its alignment is none")
    entries = [_entry(cursor) for _ in range(tensors)]
    start = -(-cursor.at // alignment) * alignment
    if len({name for name, *_ in entries}) != len(entries):
        raise Malformed("two tensors of it have one name")
    place = 0
    for name, shape, kind, offset in sorted(entries, key=lambda entry: entry[3]):
        place = _add(job, name, shape, kind, (start, offset, place))


def _entry(cursor: Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name, axes = cursor.text(), cursor.number("I")
    if axes > 8:
        raise Malformed("a tensor of it has more than 8 axes")
    sizes = [cursor.number("Q") for _ in range(axes)]
    if any(size >= 2**60 for size in sizes):
        raise Malformed("a tensor of it has more numbers than a computer can count")
    return name, tuple(sizes[::-1]), cursor.number("I"), cursor.number("Q")  # the last axis comes first


def _add(job: Job, name: str, shape: tuple[int, ...], kind: int, place: tuple[int, int, int]) -> int:
    start, offset, free = place
    if kind not in TYPES and kind not in BLOCKS:
        dtype = UNREAD.get(kind, "PACKED")
        job.report.stop(
            "unread-tensor", f"{shown(name)} and others are quantised (type {kind}, {dtype}), which is not read yet"
        )
        job.tensors.append(Found(name, dtype, shape, None, "none", 0))
        return free
    count = 1
    for length in shape:
        count *= length
    if kind in TYPES:
        dtype, size = TYPES[kind], WIDTHS[TYPES[kind]] * count
    else:
        dtype, numbers, width = BLOCKS[kind]
        size = count // numbers * width
        if not shape or shape[-1] % numbers:
            raise Malformed("the rows of a quantised tensor of it are no whole blocks")
    if start + offset + size > job.stream.size or offset < free:
        raise Malformed("a tensor of it overlaps another or reaches beyond the file")
    job.tensors.append(Found(name, dtype, shape, None, job.stream.place, job.stream.start + start + offset))
    return offset + size
