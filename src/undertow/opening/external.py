"""Tensors whose numbers lie in a file beside their model (ONNX external data)."""

from collections.abc import Sequence
from math import prod
from pathlib import PurePosixPath

from undertow.opening.blocks import SHAPE_ONLY, WIDTHS, stored_tensor, unread_tensor
from undertow.opening.reading import Reading
from undertow.opening.source import Refused, Source, open_regular

UNREAD = "unread"


def join_external(readings: Sequence[Reading]) -> list[Source]:
    """Give each model its tensors from other files; the sources that were opened for it, to be closed.

    A place outside of the model's folder is critical: a loader would read any file of the machine. The files
    themselves are no longer unread where a model says what is in them.
    """
    opened: list[Source] = []
    by_path = {reading.path: reading for reading in readings}
    for reading in readings:
        for place in dict.fromkeys(item[3] for item in reading.external):
            source = _source(reading, place)
            if source is None:
                _count(reading, place)
                continue
            opened.append(source)
            _add(reading, place, source)
            beside = by_path.get(reading.path.parent / place)
            if beside is not None and beside.doubts == [UNREAD]:
                beside.doubts.clear()
                beside.findings = [found for found in beside.findings if found.kind != UNREAD]
                beside.kind = "external data"
    return opened


def _source(reading: Reading, place: str) -> Source | None:
    parts = PurePosixPath(place).parts
    if not parts or place.startswith("/") or ".." in parts or "\\" in place or "\0" in place or ":" in place:
        text = f"its numbers would be read from {place[:200]!a}, which is not beside it"
        reading.stop("external-data", text, "critical")
        return None
    try:
        source = open_regular(reading.path.parent / place)
    except Refused as refused:
        reading.stop("external-data", f"its numbers lie in {place[:200]!a}: {refused.text}")
        return None
    return Source(str(reading.path), source.fd, source.size, source.stamp)


def _count(reading: Reading, place: str) -> None:
    """What lies where nothing was read still has a size, so that the share that was not examined is known."""
    for name, _, shape, where, _ in reading.external:
        if where == place and reading.source is not None:
            reading.tensors.setdefault(name, unread_tensor(name, SHAPE_ONLY, shape, reading.source))


def _add(reading: Reading, place: str, source: Source) -> None:
    for name, dtype, shape, where, offset in reading.external:
        if where != place:
            continue
        if dtype not in WIDTHS or offset < 0 or offset + prod(shape) * WIDTHS[dtype] > source.size:
            reading.stop("malformed", f"the numbers of {name[:80]!a} do not lie in {place[:80]!a}")
            continue
        free = name
        while free in reading.tensors:
            free += "#"
        reading.tensors[free] = stored_tensor(free, dtype, shape, source, offset)
