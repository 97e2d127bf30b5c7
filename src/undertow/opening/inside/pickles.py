"""Pickle files: those of torch.save (in a zip, or the older one), bare ones, and any that hide in bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .allowed import RULES, STORAGES, WIDTHS, build
from .classes import inert
from .collect import Found, Place, Scratch, leaves, records
from .joblibs import array_after
from .machine import CODE, MALFORMED, OBJECT, Budget, Machine, Report
from .opcodes import Blob
from .steps import execute
from .stream import Held, Malformed, Stream, TooMuch
from .values import Global, Opaque, Storage

MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before 1.6, and its version
VERSION = 1001
NESTED = 3  # pickles in bytes in pickles


@dataclass
class Job:
    """One file, what was found in it, and what it may still cost."""

    stream: Stream
    limits: Mapping[str, int]
    scratch: Scratch
    budget: Budget
    report: Report = field(default_factory=Report)
    tensors: list[Found] = field(default_factory=list)
    kind: str = ""
    texts: list[tuple[str, str]] = field(default_factory=list)  # (name, text) of configurations in it
    external: list[tuple[str, str, tuple[int, ...], str, int]] = field(default_factory=list)
    """Tensors whose numbers lie in another file: (name, type, shape, the file's name, offset in bytes)."""
    depth: int = 0  # archives around it

    @property
    def dense(self) -> int:
        """Bytes that all tensors may unfold to."""
        return self.limits["dense_ratio"] * (self.stream.size + self.scratch.used) + (64 << 20)


def machine(job: Job, stream: Stream, persistent: Callable[[object], object] | None = None) -> Machine:
    """A machine for the pickles of this job."""
    reader = Machine(stream, job.report, job.budget, RULES, build, persistent, inert)
    if job.kind == "torchscript":  # its classes are part of the program that is said to be there
        reader.inert = lambda g: inert(g) or "harmless" * (g.module.split(".")[0] == "__torch__")
    reader.after_build = array_after
    return reader


def run(job: Job, reader: Machine, offset: int, depth: int = 0) -> tuple[object, int]:
    """The value of one pickle and its end; pickles that hide in its bytes are looked at too."""
    try:
        return execute(reader, offset)
    finally:
        for raw in reader.literals:
            _look_inside(job, raw, depth)


def _look_inside(job: Job, raw: bytes | Blob, depth: int) -> None:
    """Bytes that are a pickle of refused names are a payload that waits for a second load."""
    if isinstance(raw, Blob):
        fd = job.scratch.fd if raw.place == "scratch" else job.stream.fd
        stream = Stream(fd, raw.offset, raw.size, raw.place)
    else:
        stream = Held(raw)
    if stream.size < 4 or depth >= NESTED or stream.read(0, 1) not in b"\x80c(i":
        return
    inner = Job(stream, job.limits, job.scratch, job.budget)
    reader = machine(inner, stream)
    try:
        run(inner, reader, 0, depth + 1)
    except (Malformed, TooMuch):
        if not reader.calls:
            return
    for kind, severity, text in inner.report.findings:
        if kind == CODE:
            job.report.stop(kind, f"bytes in it are a pickle: {text}", severity)


def bare(job: Job) -> None:
    """A pickle in a file of its own; what follows it is read for what it would import."""
    reader = machine(job, job.stream)
    value, end = run(job, reader, 0)
    if value == MAGIC:
        job.kind = "torch-legacy"
        legacy(job)
        return
    if end != job.stream.size:
        job.report.stop(MALFORMED, f"{job.stream.size - end:,} bytes follow its pickle")
        _rest(job, end)
    job.tensors = records(leaves(value, job.limits["nodes"]), {}, job.scratch, job.dense, job.report)


def _rest(job: Job, end: int) -> None:
    try:
        while end < job.stream.size:
            _, end = run(job, machine(job, job.stream), end)
    except Malformed:
        return


def probe(job: Job) -> None:
    """A file whose content has no mark: a pickle if one runs to its end, or calls what is not allowed."""
    reader = machine(job, job.stream)
    try:
        _, end = run(job, reader, 0)
        job.kind = "pickle" if end > 2 else ""
    except (Malformed, TooMuch):
        job.kind = "pickle" if reader.calls else ""


@dataclass
class Storages:
    """What the persistent ids of a torch file name: key -> storage."""

    report: Report
    legacy: bool
    found: dict[str, Storage] = field(default_factory=dict)

    def __call__(self, identity: object) -> object:
        """("storage", class, key, device, length), and a sixth in older files: a part of it."""
        if isinstance(identity, tuple) and identity[:1] == ("module",) and self.legacy:
            self.report.stop(OBJECT, "it holds a module with its source code")
            return Opaque("module")
        if not (isinstance(identity, tuple) and len(identity) == 5 + self.legacy and _is_str(identity[0], "storage")):
            raise Malformed("a pickle of it names a storage in an odd way")
        _, kind, key, _, numel, *part = identity
        if isinstance(kind, Opaque):
            return kind
        if not (isinstance(kind, Global) and isinstance(key, str) and type(numel) is int and 0 <= numel < 2**60):
            raise Malformed("a pickle of it names a storage in an odd way")
        if kind.name not in STORAGES:
            self.report.stop("unread-tensor", f"it holds numbers of type {kind}, which is not read yet")
            return Opaque(str(kind))
        whole = Storage(key, STORAGES[kind.name], numel)
        before = self.found.setdefault(key, whole)
        if (before.dtype, before.numel) != (whole.dtype, whole.numel):
            raise Malformed("two tensors of it disagree about their storage")
        return self._part(before, part[0]) if part and part[0] is not None else before

    def _part(self, whole: Storage, part: object) -> Storage:
        if isinstance(part, tuple) and len(part) == 3:
            _, base, numel = part
            if type(base) is int and type(numel) is int and base >= 0 <= numel and base + numel <= whole.numel:
                return Storage(whole.key, whole.dtype, numel, base)
        raise Malformed("a pickle of it names a part of a storage in an odd way")


def _is_str(value: object, wanted: str) -> bool:
    return isinstance(value, str) and value == wanted


def legacy(job: Job) -> None:
    """torch.save before 1.6: magic number, version, system, the object, the keys, then each storage."""
    storages = Storages(job.report, legacy=True)
    magic, at = run(job, machine(job, job.stream), 0)
    version, at = run(job, machine(job, job.stream), at)
    if magic != MAGIC or version != VERSION:
        raise Malformed("it has no version that is known")
    system, at = run(job, machine(job, job.stream), at)
    if dict(_plain_pairs(system)).get("little_endian") is not True:
        raise Malformed("its numbers are big-endian, which is not read")
    value, at = run(job, machine(job, job.stream, storages), at)
    keys, at = run(job, machine(job, job.stream), at)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Malformed("it does not list its storages")
    places = _legacy_places(job, [str(key) for key in keys], storages.found, at)
    job.tensors = records(leaves(value, job.limits["nodes"]), places, job.scratch, job.dense, job.report)


def _plain_pairs(system: object) -> list[tuple[str, object]]:
    pairs = getattr(system, "pairs", [])
    return [(key, value) for key, value in pairs if isinstance(key, str)]


def _legacy_places(job: Job, keys: list[str], known: dict[str, Storage], at: int) -> dict[str, Place]:
    if len(set(keys)) != len(keys) or set(keys) != set(known):
        raise Malformed("the storages it lists are not those that its tensors need")
    places = {}
    for key in keys:
        storage = known[key]
        numel = int.from_bytes(job.stream.read(at, 8), "little", signed=True)
        size = numel * WIDTHS[storage.dtype]
        if numel != storage.numel or at + 8 + size > job.stream.size:
            raise Malformed("a storage of it is cut or has another length than its tensors say")
        places[key] = Place(job.stream.place, job.stream.start + at + 8, size)
        at += 8 + size
    if at != job.stream.size:
        job.report.stop(MALFORMED, f"{job.stream.size - at:,} bytes follow its last storage")
        _rest(job, at)
    return places
