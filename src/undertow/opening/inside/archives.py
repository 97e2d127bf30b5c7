"""Zip archives: those of torch.save, of NumPy (.npz), and others, whose members are looked at all the same."""

import re
from contextlib import suppress
from dataclasses import replace

from .allowed import WIDTHS
from .collect import Place, leaves, records
from .machine import MALFORMED
from .nested import READERS, kind_of, part
from .npy import npy
from .pickles import Job, Storages, machine, run
from .stream import Malformed, Stream, TooMuch
from .values import shown
from .zipped import Member, content, members

PICKLE = re.compile(r"([^/]+)/data\.pkl\Z")
NOTES = ("version", "byteorder", ".data/serialization_id", ".format_version", ".storage_alignment")
SCRIPT = re.compile(r"code/|constants(\.pkl\Z|/)|version|byteorder|attributes\.pkl|\.data/|model\.json|.*debug_pkl\Z")
FILES = re.compile(rb"\b(?:torch|ops\.\w+)\.(?:save|load|from_file|_save|read_file|write_file|fopen)\b|aten::from_file")
GLANCE, SEEN = 16 << 20, 64  # bytes and members of a broken archive
ARCHIVES = (b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def archive(job: Job) -> None:
    """Read an archive: its kind, its tensors, and what is odd about it."""
    try:
        found = members(job.stream, job.report, job.limits["members"])
    except Malformed:
        _glance(job)
        raise
    _check_sizes(job, found)
    names = {member.name: member for member in found}
    roots = [match[1] for name in names if (match := PICKLE.match(name))]
    if any(name.endswith("constants.pkl") or "/code/" in f"/{name}" for name in names) and len(roots) == 1:
        job.kind = "torchscript"
        job.report.stop("program", "it is a TorchScript archive: it holds a program, which was not run or examined")
    elif len(roots) == 1:
        job.kind = "torch-zip"
    elif (found and all(name.endswith(".npy") for name in names)) or (
        any(name.endswith(".npy") for name in names) and job.depth == 0 and not any("/" in name for name in names)
    ):
        job.kind = "npz"
    streams = {member.name: _checked(job, member) for member in found}
    if job.kind in ("torch-zip", "torchscript"):
        _torch(job, roots[0], streams)
    elif job.kind == "npz":
        for name, stream in streams.items():
            if stream.read(0, min(6, stream.size)) == b"\x93NUMPY":
                npy(job, stream, name.removesuffix(".npy"))
            else:
                job.report.stop("extra-member", f"member {shown(name)} is no array")
                _peek(job, name, stream)
    else:
        _others(job, streams)


def _check_sizes(job: Job, found: list[Member]) -> None:
    inflated = sum(member.size for member in found if member.method)
    if inflated > job.scratch.most or inflated > (100 << 20) + job.limits["inflated_ratio"] * job.stream.size:
        raise TooMuch(f"it would inflate to {inflated:,} bytes")


def _checked(job: Job, member: Member) -> Stream:
    """The bytes of a member, their CRC checked: where they lie, or inflated into the scratch file."""
    start = job.scratch.used
    try:
        for piece in content(job.stream, member):
            if member.method:
                job.scratch.add(piece)
    except Malformed as error:  # some loaders do not check: say it, and see what is in there
        job.report.stop(MALFORMED, f"malformed: {error}")
    if member.method == 0:
        return job.stream.part(member.data, member.size)
    return Stream(job.scratch.fd, start, job.scratch.used - start, "scratch")


def _glance(job: Job) -> None:
    """In an archive that breaks the rules: name what its stored pickles would import, for loaders that are lenient."""
    start = job.stream.read(0, min(GLANCE, job.stream.size))
    for match in list(re.finditer(rb"PK\x03\x04(?s:.{22})(?s:(..))(?s:(..))", start))[:SEEN]:
        at = match.end() + int.from_bytes(match[1], "little") + int.from_bytes(match[2], "little")
        if at < job.stream.size and job.stream.read(at, 1) in b"\x80c(":
            with suppress(Malformed, TooMuch):
                run(job, machine(job, job.stream.part(at, job.stream.size - at), lambda _: None), 0)


def _torch(job: Job, root: str, streams: dict[str, Stream]) -> None:
    for name, stream in streams.items():
        inside = name.removeprefix(f"{root}/")
        if job.kind == "torchscript" and SCRIPT.match(inside):
            _script(job, name, stream)
        elif inside == name or not (inside in (*NOTES, "data.pkl") or re.match(r"data/\w+\Z", inside)):
            job.report.stop("extra-member", f"member {shown(name)} has no place in a file of torch.save")
            _peek(job, name, stream)
    order = streams.get(f"{root}/byteorder")
    if order and order.read(0, order.size) != b"little":
        raise Malformed("its numbers are big-endian, which is not read")
    storages = Storages(job.report, legacy=False)
    pickled = streams[f"{root}/data.pkl"]
    value, end = run(job, machine(job, pickled, storages), 0)
    if end != pickled.size:
        job.report.stop(MALFORMED, f"{pickled.size - end:,} bytes follow its pickle")
        run(job, machine(job, pickled, storages), end)
    places = {
        name.removeprefix(f"{root}/data/"): Place(stream.place, stream.start, stream.size)
        for name, stream in streams.items()
        if name.startswith(f"{root}/data/")
    }
    for key, storage in storages.found.items():
        if key in places and places[key].size != storage.numel * WIDTHS[storage.dtype]:
            raise Malformed("a storage of it has another length than its tensors say")
    job.tensors = records(leaves(value, job.limits["nodes"]), places, job.scratch, job.dense, job.report)
    if job.kind == "torchscript" and f"{root}/constants.pkl" in streams:
        _constants(job, root, streams)


def _constants(job: Job, root: str, streams: dict[str, Stream]) -> None:
    """The tensors that a program holds as constants."""
    storages = Storages(job.report, legacy=False)
    value, _ = run(job, machine(job, streams[f"{root}/constants.pkl"], storages), 0)
    start = f"{root}/constants/"
    places = {
        name.removeprefix(start): Place(stream.place, stream.start, stream.size)
        for name, stream in streams.items()
        if name.startswith(start)
    }
    found = records(leaves(value, job.limits["nodes"]), places, job.scratch, job.dense, job.report)
    job.tensors += [replace(one, name=f"constants.{one.name}") for one in found]


def _script(job: Job, name: str, stream: Stream) -> None:
    """A source of a program, or its debugging pickle: does it read or write files, would it import anything?"""
    if name.endswith(".py"):
        for number, line in enumerate(stream.read(0, min(stream.size, GLANCE)).split(b"\n"), 1):
            if found := FILES.search(line):
                text = f"line {number} of its program {shown(name)} reads or writes files ({shown(found[0].decode())})"
                job.report.stop("program-io", text, "critical")
    elif name.endswith("_pkl"):
        _peek(job, name, stream)


def _others(job: Job, streams: dict[str, Stream]) -> None:
    """An archive that is neither of torch nor of NumPy (.keras, .mar, a zip of checkpoints): member by member."""
    names = {name.split("/")[-1] for name in streams}
    job.kind = "keras" if {"config.json", "metadata.json"} <= names else "zip"
    for name, stream in streams.items():
        if not name.endswith("/"):
            part(job, name, stream)
        if name.endswith((".pkl", ".pickle")) and not kind_of(stream):
            _peek(job, name, stream)
    if not job.tensors and not job.texts:
        job.report.stop("unread", "it is an archive without weights that are read")


def _peek(job: Job, name: str, stream: Stream) -> None:
    """A member that is not needed: say so if it is an archive, or a pickle that would import something."""
    start = stream.read(0, min(8, stream.size))
    if start.startswith(ARCHIVES):
        job.report.stop("nested", f"member {shown(name)} is an archive in the archive")
    if start[:1] == b"\x80" or name.endswith((".pkl", ".pickle", ".npy")) or start[:1] in (b"c", b"(", b"i"):
        try:
            run(job, machine(job, stream, lambda _: None), 0)
        except (Malformed, TooMuch) as error:
            job.report.stop(MALFORMED, f"member {shown(name)}: {error}")


READERS["zip"] = archive
