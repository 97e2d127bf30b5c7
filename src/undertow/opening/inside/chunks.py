"""Datasets of HDF5 in chunks: found by the tree of version 1, turned back from gzip and shuffle, laid out in one piece.

Format: HDF5 File Format Specification 3.0, III.A.1 (B-trees), IV.A.2.i and IV.A.2.l (layout and filters).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .pickles import Job
from .stream import Malformed, Stream, TooMuch

DEFLATE, SHUFFLE, CHECKSUM = 1, 2, 3
NOWHERE = 2**64 - 1
MOST = 1_000_000  # chunks of one dataset


class Unread(Exception):
    """A way of storing that is not read."""


@dataclass(frozen=True)
class Chunks:
    """How a dataset is cut into chunks."""

    tree: int  # where its index lies
    sizes: tuple[int, ...]  # of a chunk
    width: int  # bytes of a number


def layout(body: Stream) -> Chunks:
    """The chunks of a layout message; Unread for indexes of newer versions."""
    version, kind = body.read(0, 2)
    if version != 3 or kind != 2:
        raise Unread
    rank = body.read(2, 1)[0]
    numbers = [int.from_bytes(body.read(11 + 4 * i, 4), "little") for i in range(rank)]
    if rank < 2 or not all(numbers):
        raise Malformed("a dataset of it has chunks of no size")
    return Chunks(int.from_bytes(body.read(3, 8), "little"), tuple(numbers[:-1]), numbers[-1])


def filters(body: Stream) -> list[int]:
    """The filters in the order in which they were applied; Unread for one that is not known."""
    version, count = body.read(0, 2)
    at, found = 8 if version == 1 else 2, []
    for _ in range(count):
        code = int.from_bytes(body.read(at, 2), "little")
        named = version == 1 or code >= 256
        name = int.from_bytes(body.read(at + 2, 2), "little") if named else 0
        at += 4 if named else 2
        values = int.from_bytes(body.read(at + 2, 2), "little")
        at += 4 + (-(-name // 8) * 8 if version == 1 else name)
        at += 4 * values + (4 * (values % 2) if version == 1 else 0)
        if code not in (DEFLATE, SHUFFLE, CHECKSUM):
            raise Unread
        found.append(code)
    return found


def assembled(job: Job, chunks: Chunks, steps: list[int], shape: tuple[int, ...]) -> int:
    """Lay the numbers out in the scratch file, C order; where they begin. Unread where some were never written."""
    size = chunks.width
    for count in shape:
        size *= count
    if len(shape) != len(chunks.sizes):
        raise Malformed("a dataset of it and its chunks have not as many axes")
    if size > (100 << 20) + job.limits["inflated_ratio"] * job.stream.size:
        raise TooMuch(f"it would inflate to {size:,} bytes")
    start, seen = job.scratch.reserve(size), set[tuple[int, ...]]()
    if chunks.tree != NOWHERE:
        for where, packed, mask, place in _leaves(job.stream, chunks.tree, len(shape)):
            if any(at % step or at >= most for at, step, most in zip(place, chunks.sizes, shape, strict=True)):
                raise Malformed("a chunk of it lies outside of its dataset")
            if place in seen or len(seen) >= MOST:
                raise Malformed("a chunk of it is there twice, or there are too many")
            seen.add(place)
            raw = _restored(job.stream.read(where, packed), chunks, steps, mask)
            for at, piece in _pieces(raw, chunks, shape, place):
                job.scratch.put(start + at, piece)
    whole = 1
    for most, step in zip(shape, chunks.sizes, strict=True):
        whole *= -(-most // step)
    if 0 < len(seen) < whole:
        raise Unread
    return start


def _leaves(stream: Stream, root: int, rank: int) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """(address, bytes, filters that were left out, first index) of each chunk."""
    todo, seen, key = [root], set[int](), 8 + 8 * (rank + 1)
    while todo:
        at = todo.pop()
        if at in seen or len(seen) > MOST or stream.read(at, 5) != b"TREE\1":
            raise Malformed("the tree of the chunks of it is broken")
        seen.add(at)
        level, used = stream.read(at + 5, 1)[0], int.from_bytes(stream.read(at + 6, 2), "little")
        for i in range(used):
            head = stream.read(at + 24 + i * (key + 8), key + 8)
            where = int.from_bytes(head[key:], "little")
            if level:
                todo.append(where)
                continue
            place = tuple(int.from_bytes(head[8 + 8 * k : 16 + 8 * k], "little") for k in range(rank))
            yield where, int.from_bytes(head[:4], "little"), int.from_bytes(head[4:8], "little"), place


def _restored(raw: bytes, chunks: Chunks, steps: list[int], mask: int) -> bytes:
    """The numbers of a chunk: filters undone from the last to the first."""
    size = chunks.width
    for count in chunks.sizes:
        size *= count
    if size > 1 << 28:
        raise TooMuch("a chunk of it is longer than 256 MiB")
    for number, step in reversed(list(enumerate(steps))):
        if mask >> number & 1:
            continue
        if step == DEFLATE:
            raw = _inflated(raw, size + 4)
        elif step == CHECKSUM:
            raw = raw[:-4]
        else:
            raw = _unshuffled(raw, chunks.width)
    if len(raw) != size:
        raise Malformed("a chunk of it has another size than it should")
    return raw


def _inflated(raw: bytes, most: int) -> bytes:
    engine = zlib.decompressobj()
    try:
        found = engine.decompress(raw, most)
    except zlib.error as error:
        raise Malformed("a chunk of it cannot be inflated") from error
    if not engine.eof:
        raise Malformed("a chunk of it is cut, or longer than it should be")
    return found


def _unshuffled(raw: bytes, width: int) -> bytes:
    """First bytes of all numbers, then second ones, ... -> numbers."""
    count, found = len(raw) // width, bytearray(raw)
    for i in range(width):
        found[i : count * width : width] = raw[i * count : (i + 1) * count]
    return bytes(found)


def _pieces(raw: bytes, chunks: Chunks, shape: tuple[int, ...], place: tuple[int, ...]) -> Iterator[tuple[int, bytes]]:
    """(offset in the dataset, bytes) of every run of numbers of a chunk; what reaches over the edge is left out."""
    steps, inner = [chunks.width] * len(shape), [chunks.width] * len(shape)
    for i in reversed(range(len(shape) - 1)):
        steps[i], inner[i] = steps[i + 1] * shape[i + 1], inner[i + 1] * chunks.sizes[i + 1]
    kept = [min(size, most - at) for size, most, at in zip(chunks.sizes, shape, place, strict=True)]
    axis = len(shape) - 1  # runs are of whole rows where chunk and dataset are equally wide
    while axis and chunks.sizes[axis] == shape[axis]:
        axis -= 1
    run = kept[axis] * inner[axis]
    base = sum(at * step for at, step in zip(place, steps, strict=True))
    index = [0] * axis
    while True:
        here = sum(i * step for i, step in zip(index, inner, strict=False))
        there = base + sum(i * step for i, step in zip(index, steps, strict=False))
        yield there, raw[here : here + run]
        for i in reversed(range(axis)):
            index[i] += 1
            if index[i] < kept[i]:
                break
            index[i] = 0
        else:
            return
