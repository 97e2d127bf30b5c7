"""What lies in an archive or behind a compression: each part by its content, as if it were a file of its own."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator

from .collect import Found, unread
from .gguf import gguf
from .hdf5 import hdf5
from .machine import MALFORMED
from .npy import npy
from .onnx import looks_like, onnx
from .opcodes import OPCODES
from .pickles import Job, bare, legacy, probe
from .safe import safetensors
from .stream import Malformed, Stream, TooMuch
from .tflite import tflite
from .values import shown

DEEPEST = 3  # archives in archives
PIECE = 1 << 20
MOST_TEXTS = 1000
LONGEST_TEXT = 4 << 20  # bytes of a configuration that is handed on
CONFIGS = (".json", ".yaml", ".yml", ".cfg", ".jinja")  # names of texts that loaders act on
NAMED = ("MLmodel",)
CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".dylib", ".sh")
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
Reader = Callable[[Job], None]


def kind_of(stream: Stream) -> str:
    """One word for the content of a part; "" where it is none that holds numbers."""
    start = stream.read(0, min(512, stream.size))
    for kind, mark in (
        ("npy", b"\x93NUMPY"), ("gguf", b"GGUF"), ("hdf5", b"\x89HDF\r\n\x1a\n"), ("gzip", b"\x1f\x8b"),
        ("bzip2", b"BZh"), ("xz", b"\xfd7zXZ\0"), ("zip", b"PK\3\4"), ("zip", b"PK\5\6"), ("torch-legacy", MAGIC),
    ):  # fmt: skip
        if start.startswith(mark):
            return kind
    if len(start) > 8 and start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= stream.size:
        return "safetensors"
    if start[257:262] == b"ustar" or is_old_tar(start):
        return "tar"
    if start[4:8] == b"TFL3":
        return "flatbuffer"
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "pickle"
    return "zlib" if len(start) > 6 and start[0] == 0x78 and int.from_bytes(start[:2], "big") % 31 == 0 else ""


def is_old_tar(start: bytes) -> bool:
    """A header of a tar without the mark of ustar: its checksum is right."""
    return len(start) >= 512 and start[:1] != b"\0" and _checksum(start[:512])


def part(job: Job, name: str, stream: Stream) -> None:
    """Read one member of an archive by its content and add what it holds; its tensors are named after it."""
    if job.depth >= DEEPEST:
        job.report.stop("nested", f"member {shown(name)} lies more than {DEEPEST} archives deep")
        return
    if name.lower().endswith(CODE):
        job.report.stop("code-in-archive", f"member {shown(name)} is code")
        return
    inner = Job(stream, job.limits, job.scratch, job.budget, job.report, texts=job.texts, depth=job.depth + 1)
    inner.kind = kind_of(stream)
    try:
        if inner.kind:
            READERS[inner.kind](inner)
        elif not stream.size:
            return
        else:
            _unmarked(inner, name)
    except Malformed as error:
        job.report.stop(MALFORMED, f"member {shown(name)}: {error}")
    job.tensors += [Found(f"{name}/{f.name}", f.dtype, f.shape, f.stride, f.where, f.offset) for f in inner.tensors]


def _unmarked(job: Job, name: str) -> None:
    """A part whose content has no mark: text, a pickle of an old protocol, or something that is not read."""
    start = job.stream.read(0, min(512, job.stream.size))
    if start[0] in OPCODES:
        before = list(job.report.findings), list(job.report.doubts), job.report.complete
        probe(job)
        if job.kind == "pickle":
            return
        job.report.findings, job.report.doubts, job.report.complete = before
    if name.lower().endswith(".onnx") or start[0] == 8:
        looks_like(job)
        if job.kind == "onnx":
            onnx(job)
            _outside(job, name)
            return
    try:
        start[: len(start) - 4 if len(start) == 512 else None].decode("utf8")
        is_text = b"\0" not in start
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        job.report.stop("unread", f"member {shown(name)} is of a kind that is not read")
    elif name.lower().endswith(CONFIGS) or name.split("/")[-1] in NAMED:
        if job.stream.size > LONGEST_TEXT or len(job.texts) > MOST_TEXTS:
            job.report.stop("limit", f"member {shown(name)} is too long a configuration, or one of too many")
        else:
            job.texts.append((name, job.stream.read(0, job.stream.size).decode("utf8", "replace")))


def _outside(job: Job, name: str) -> None:
    """Numbers of a model in an archive that lie in another file are not looked for."""
    if job.external:
        job.report.stop("external-data", f"the numbers of member {shown(name)} lie in other files, which are not read")
        job.tensors += [unread(one, shape) for one, _, shape, _, _ in job.external]


def compressed(job: Job) -> None:
    """A file that is one compressed stream (joblib, .tar.gz): inflated into the scratch file, then read by content."""
    kind = job.kind
    start = job.scratch.used
    try:
        for piece in _inflated(job, kind):
            job.scratch.add(piece)
            if job.scratch.used - start > (100 << 20) + job.limits["inflated_ratio"] * job.stream.size:
                raise TooMuch("it inflates to more than the limit")
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise Malformed(f"it cannot be inflated as {kind}") from error
    size = job.scratch.used - start
    inner = Job(
        Stream(job.scratch.fd, start, size, "scratch"), job.limits, job.scratch, job.budget, job.report,
        texts=job.texts, depth=job.depth + 1,
    )  # fmt: skip
    inner.kind = kind_of(inner.stream) if size else ""
    if inner.depth > DEEPEST:
        raise TooMuch(f"more than {DEEPEST} compressions lie in each other")
    if inner.kind:
        READERS[inner.kind](inner)
    elif size:
        _unmarked(inner, "its content")
    job.tensors += inner.tensors
    job.kind = f"{kind} of {inner.kind}" if inner.kind and "of" not in job.kind else job.kind


def _inflated(job: Job, kind: str) -> Iterator[bytes]:
    """Every stream of a file, one after the other; what follows the last is a fault."""
    make: dict[str, Callable[[], zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor]] = {
        "gzip": lambda: zlib.decompressobj(31),
        "zlib": lambda: zlib.decompressobj(15),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(memlimit=job.limits["memory"] // 4),
    }
    engine, rest, at = make[kind](), b"", 0
    while at < job.stream.size or rest:
        raw = rest or job.stream.read(at, min(PIECE, job.stream.size - at))
        at += 0 if rest else len(raw)
        rest = b""
        yield engine.decompress(raw, PIECE)
        while not engine.eof and (more := _waiting(engine)) is not None:
            yield more
        if engine.eof:
            rest = engine.unused_data
            if not rest:
                rest = job.stream.read(at, min(PIECE, job.stream.size - at)) if at < job.stream.size else b""
                at += len(rest)
            if rest and kind == "zlib":
                raise Malformed("bytes follow its compressed stream")
            if not rest:
                return
            engine = make[kind]()
    raise Malformed("its compressed stream is cut")


def _waiting(engine: "zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor") -> bytes | None:
    """Output that an engine holds back; None where it needs more input."""
    if isinstance(engine, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        return None if engine.needs_input else engine.decompress(b"", PIECE)
    if not engine.unconsumed_tail:
        return None
    return engine.decompress(engine.unconsumed_tail, PIECE)


def tar(job: Job) -> None:
    """The members of a tar (.nemo, torch.save of 2016): regular files by content; links and paths out are refused."""
    at, count, name = 0, 0, ""
    while at + 512 <= job.stream.size:
        head = job.stream.read(at, 512)
        if not any(head):
            break
        if not _checksum(head):
            raise Malformed("a header of its tar has a wrong checksum")
        count += 1
        if count > job.limits["members"]:
            raise TooMuch(f"the tar has more than {job.limits['members']:,} members")
        size, kind, at = _size(head), head[156:157], at + 512
        stream = job.stream.part(at, size)
        at += -(-size // 512) * 512
        if kind in (b"L", b"x", b"g"):
            name = _long_name(stream, kind) or name
            continue
        path = name or _path(head)
        name = ""
        if path.startswith("/") or ".." in path.split("/"):
            job.report.stop(
                "path-traversal", f"member {shown(path)} would be written outside of its folder", "critical"
            )
        if kind in (b"0", b"\0", b"7"):
            part(job, path, stream)
        elif kind in (b"1", b"2"):
            job.report.stop("path-traversal", f"member {shown(path)} is a link to {shown(_text(head[157:257]))}")
        elif kind != b"5":
            job.report.stop("not-a-file", f"member {shown(path)} is no regular file")


def _checksum(head: bytes) -> bool:
    try:
        said = int(head[148:156].strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    return said == sum(head) - sum(head[148:156]) + 8 * 32


def _size(head: bytes) -> int:
    raw = head[124:136]
    if raw[0] & 0x80:
        return int.from_bytes(raw[1:], "big")
    try:
        return int(raw.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise Malformed("a member of its tar has no size") from error


def _path(head: bytes) -> str:
    prefix = _text(head[345:500]) if head[257:262] == b"ustar" and head[263:265] == b"00" else ""
    return f"{prefix}/{_text(head[:100])}" if prefix else _text(head[:100])


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf8", "replace")


def _long_name(stream: Stream, kind: bytes) -> str:
    if stream.size > 1 << 16:
        raise Malformed("a header of its tar is too long")
    raw = stream.read(0, stream.size)
    if kind == b"L":
        return _text(raw)
    found = [line.partition(b" path=")[2] for line in raw.split(b"\n") if b" path=" in line]
    return found[-1].decode("utf8", "replace") if found else ""


READERS: dict[str, Reader] = {
    "torch-legacy": legacy,
    "pickle": bare,
    "gguf": gguf,
    "npy": lambda job: npy(job, job.stream, "array"),
    "tar": tar,
    "hdf5": hdf5,
    "safetensors": safetensors,
    "flatbuffer": tflite,
    **dict.fromkeys(("gzip", "bzip2", "xz", "zlib"), compressed),
}
