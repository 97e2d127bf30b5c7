"""Open a checkpoint without executing anything of it: every file by its content, every doubt a finding."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from undertow.opening.blocks import SHAPE_ONLY, WIDTHS, unread_tensor
from undertow.opening.companions import signature_notes
from undertow.opening.external import join_external
from undertow.opening.folder import Listed, each, listed
from undertow.opening.inside.opcodes import OPCODES
from undertow.opening.isolated import ask, read_isolated
from undertow.opening.loaders import check_loaders, keep_text
from undertow.opening.opened import DEFAULT, Clock, Limits, Opened, OpenedFile
from undertow.opening.opinions import second_opinions
from undertow.opening.reading import Reading
from undertow.opening.safe_header import safetensors
from undertow.opening.shards import check_shards, is_index, shards_beside
from undertow.opening.sniff import PICKLES, claims, ends_as_zip, holds_no_weights, kind_of, maybe_numbers
from undertow.opening.source import Refused, Source
from undertow.scanner.findings import Severity
from undertow.scanner.tensors import Tensor
from undertow.types import BadInput

HASHERS = min(4, os.cpu_count() or 1)  # files that are hashed at once
ZIPS = ("zip", "torch-zip", "torchscript", "npz", "keras")
READERS = ("zip", "torch-legacy", "pickle", "gguf", "npy", "tar", "gzip", "bzip2", "xz", "zlib", "hdf5", "onnx",
           "flatbuffer", "msgpack")  # of isolated files  # fmt: skip


def open_checkpoint(path: str | Path, limits: Limits = DEFAULT, opinions: bool = True) -> Opened:
    """The files and tensors of a file, a folder, or a Hugging Face repository id; nothing in them is executed.

    A file that is no weights, malformed, too large for `limits`, or of a kind that is not read is `complete=False`
    and says why in a finding. `opinions`: ask picklescan and fickling about pickles, where installed. Tensors are
    read from the open files when asked for, so use `with`.
    BadInput where there is no such path, MissingExtra where a repository id needs huggingface_hub.
    """
    notes: list[str] = []
    readings: list[Reading] = []
    pending: list[Callable[[], OpenedFile]] = []
    clock = Clock(limits)
    pool = ThreadPoolExecutor(HASHERS)  # sha256 leaves the interpreter free, so it runs beside who reads the tensors

    def take(items: Iterable[Listed]) -> None:
        for item in items:
            readings.append(_reading(item, limits, notes, opinions, clock))
            pending.append(_hashed(readings[-1], pool, limits.hashes))

    origin: dict[str, str] = {}
    take(listed(path, limits, notes, origin))
    if len(readings) == 1 and is_index(readings[0].path):
        take(each(shards_beside(readings[0], limits)))
    check_shards(readings, limits)
    outside = join_external(readings)
    check_loaders(readings)
    notes += signature_notes(readings)
    findings = tuple(finding for reading in readings for finding in reading.findings)
    held = [source for reading in readings for source in (reading.source, reading.scratch) if source]
    closing = (pool.shutdown, *(source.close for source in (*held, *outside)))
    return Opened(str(path), *_merged(readings), findings, tuple(notes), tuple(pending), closing, origin)


def _merged(readings: Iterable[Reading]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of all files."""
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for reading in readings:
        for name, tensor in reading.tensors.items():
            key = name if name not in tensors else f"{reading.path}:{name}"
            while key in tensors:
                key += "#"
            tensors[key] = tensor
        metadata = {**reading.metadata, **metadata}
    return tensors, metadata


def _reading(item: Listed, limits: Limits, notes: list[str], opinions: bool, clock: Clock) -> Reading:
    reading = Reading(item.path, source=item.source)
    if item.refused:
        reading.stop(item.refused.kind, item.refused.text)
    if item.source:
        with _refusals(reading):
            reading.kind = kind_of(item.source)
            _read(reading, item.source, limits, notes if opinions else None, clock)
    return reading


@contextmanager
def _refusals(reading: Reading) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        reading.stop(refused.kind, refused.text)
    except BadInput as error:
        reading.stop("unreadable", str(error))
    except Exception as error:  # the last net: whatever a file does to its reader, the scan goes on
        reading.stop("unreadable", f"its reader failed ({type(error).__name__}), so nothing is known of it")
        reading.tensors = {}


def _read(reading: Reading, source: Source, limits: Limits, notes: list[str] | None, clock: Clock) -> None:
    """Fill `reading` from the content of its file; `notes`: of second opinions, None where they are not wanted."""
    kind = reading.kind
    if _maybe_pickle(reading, source) and ask(source, "probe", limits, clock).kind:
        if kind == "safetensors":
            reading.stop("polyglot", "it is safetensors and, read otherwise, a pickle that runs code", "critical")
        else:
            reading.kind = kind = "pickle"
    if _maybe_onnx(reading, source) and ask(source, "is onnx", limits, clock).kind:
        reading.kind = kind = "onnx"
    if kind == "binary" and reading.path.suffix.lower() == ".msgpack":  # it has no mark
        reading.kind = kind = "msgpack"
    if kind == "safetensors":
        _read_safetensors(reading, source, limits)
    elif kind in READERS:
        read_isolated(reading, source, kind, limits, clock)
    elif maybe_numbers(kind, reading.path, source):
        reading.kind = "other"
        read_isolated(reading, source, "json", limits, clock)
    elif holds_no_weights(kind, reading.path):
        reading.kind = "other"
    else:
        reading.stop("unread", f"files of this kind ({kind}) are not read, so nothing is known of it")
    _drop_long_rows(reading, source, limits)
    if reading.kind not in (*ZIPS, "other") and ends_as_zip(source):
        reading.stop("polyglot", "its end is that of a zip archive, its start is not")
    _check_name(reading)
    keep_text(reading, source, clock)
    if notes is not None and reading.kind in (*PICKLES, "zip"):
        second_opinions(reading, source, notes, clock)


def _read_safetensors(reading: Reading, source: Source, limits: Limits) -> None:
    reading.tensors, reading.metadata, unread = safetensors(source, limits)
    for entry in unread[:10]:
        reading.stop("unread-tensor", f"{entry.name!r} has type {entry.dtype}, which is not read yet")
    for entry in unread:  # counted, so that the share that was not examined is known
        reading.tensors[entry.name] = unread_tensor(entry.name, entry.dtype, entry.shape, source)


def _drop_long_rows(reading: Reading, source: Source, limits: Limits) -> None:
    """Tensors are read by rows, so a row must fit into memory."""
    for name, tensor in list(reading.tensors.items()):
        if tensor.columns * WIDTHS.get(tensor.dtype, 0) > limits.row_bytes:
            reading.stop("limit", f"one row of {name[:80]!a} is longer than {limits.row_bytes:,} bytes: not read")
            reading.tensors[name] = unread_tensor(name, SHAPE_ONLY, tensor.shape, source)


def _maybe_pickle(reading: Reading, source: Source) -> bool:
    """Whether a content without the mark of a pickle begins as one could: old protocols have no mark."""
    return reading.kind in ("text", "binary", "safetensors") and source.read(0, 1)[0] in OPCODES


def _maybe_onnx(reading: Reading, source: Source) -> bool:
    """Protocol buffers have no mark; a model begins with the number of its version, or its name says what it is."""
    named = reading.path.suffix.lower() == ".onnx"
    return reading.kind in ("text", "binary") and (named or source.read(0, 1) == b"\x08")


def _check_name(reading: Reading) -> None:
    """A name that promises another content is odd; a pickle under the name of a safe format is an attack."""
    promised = claims(reading.path)
    held = reading.kind.split(" of ")
    if promised is not None and held[0] not in promised:
        worst: Severity = "critical" if PICKLES & set(held) else "warning"
        reading.say("extension", worst, f"its name ends in {reading.path.suffix}, its content is {reading.kind}")


def _hashed(reading: Reading, pool: ThreadPoolExecutor, hashes: bool) -> Callable[[], OpenedFile]:
    """The file's record, once its hash is there. A file without tensors is hashed now and closed: there may be many."""
    digest: Callable[[], str] = str
    if reading.source and (reading.tensors or is_index(reading.path)):
        digest = pool.submit(reading.source.sha256).result if hashes else _stamp(reading.source)
    elif reading.source:
        said = reading.source.sha256() if hashes else _stamp(reading.source)()
        reading.source.close()
        reading.source, digest = None, lambda: said

    def wait() -> OpenedFile:
        found = digest()
        doubts = (*reading.doubts, *(() if found else ("unreadable",)))
        known = found if hashes else ""
        return OpenedFile(str(reading.path), known, reading.kind, reading.complete and bool(found), doubts)

    return wait


def _stamp(source: Source) -> Callable[[], str]:
    """In place of a hash that is not wanted: whether the file is as it was; "" where it is not."""
    return lambda: "unchanged" if source.unchanged() else ""
