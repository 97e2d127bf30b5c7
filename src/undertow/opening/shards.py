"""Checkpoints in shards: the index (a JSON table, tensor -> file) against what the files hold."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from undertow.opening.opened import Limits
from undertow.opening.reading import Reading
from undertow.opening.safe_header import strict_json
from undertow.opening.source import Refused

INDEX = re.compile(r"\.(safetensors|bin|h5|msgpack|pt|pth|ckpt)\.index(\.[\w-]{1,40})?\.json\Z", re.IGNORECASE)
SHOWN = 5  # findings of one sort


def is_index(path: Path) -> bool:
    """Whether the name says that it is the index of shards."""
    return INDEX.search(path.name) is not None


def shards_beside(index: Reading, limits: Limits) -> list[Path]:
    """The shards of an index that are there."""
    try:
        names = sorted(set(weight_map(index, limits).values()))
    except Refused:
        return []
    places = [index.path.parent / name for name in names if _is_beside(name)]
    return [place for place in places if os.path.lexists(place)]


def _is_beside(name: str) -> bool:
    return name not in ("", ".", "..") and "\0" not in name and Path(name).name == name and "\\" not in name


def _is_below(name: str) -> bool:
    """Whether a name leads to a file beside the index or in a folder below it."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and not set(name) & set("\\\0:")


def check_shards(readings: Sequence[Reading], limits: Limits) -> None:
    """Compare every index with the files beside it: absent, elsewhere, not as said, in two places."""
    by_path = {reading.path: reading for reading in readings}
    for reading in readings:
        if is_index(reading.path) and reading.source and reading.complete:
            try:
                _compare(reading, weight_map(reading, limits), by_path)
            except Refused as refused:
                reading.stop(refused.kind, refused.text)


def weight_map(reading: Reading, limits: Limits) -> dict[str, str]:
    """tensor -> file of an index; Refused where it is none."""
    if reading.source is None:
        raise Refused("unreadable", "it cannot be read")
    if reading.source.size > limits.header_bytes:
        raise Refused("limit", f"it is longer than {limits.header_bytes:,} bytes")
    table = strict_json(reading.source.read(0, reading.source.size), limits)
    places = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise Refused("malformed", "it is no index of shards: it has no table weight_map of file names")
    return places


def _compare(index: Reading, places: dict[str, str], by_path: dict[Path, Reading]) -> None:
    index.kind = "index"
    inside = set()
    for name in sorted(set(places.values())):
        if not _is_below(name):
            index.stop("path-traversal", f"it points to {name!r}; shards are files beside it", "critical")
        elif index.path.parent / name not in by_path:
            index.stop("missing-shard", f"shard {name!r} is not there")
        else:
            inside.add(name)
    holders: dict[str, list[str]] = {}
    for name in sorted(inside):
        for tensor in by_path[index.path.parent / name].tensors:
            holders.setdefault(tensor, []).append(name)
    lost = [t for t, name in places.items() if name in inside and name not in holders.get(t, ())]
    for tensor in lost[:SHOWN]:
        index.stop("missing-tensor", f"{tensor!r} is not in {places[tensor]!r}, where it should be ({len(lost)} such)")
    twice = [t for t, names in holders.items() if len(names) > 1]
    for tensor in twice[:SHOWN]:
        index.say("tensor-twice", "warning", f"{tensor!r} is in {' and '.join(holders[tensor])} ({len(twice)} such)")
    stray = [t for t in holders if t not in places]
    for tensor in stray[:SHOWN]:
        index.say("tensor-unlisted", "warning", f"{tensor!r} of {holders[tensor][0]} is not listed ({len(stray)} such)")
