"""Open a checkpoint without executing anything of it: every file by its content, every doubt a finding."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from undertow.scanner.findings import Severity
from undertow.scanner.tensors import Tensor
from undertow.storage.opening.folder import Listed, listed
from undertow.storage.opening.opened import DEFAULT, Limits, Opened, OpenedFile
from undertow.storage.opening.reading import Reading
from undertow.storage.opening.safe_header import safetensors
from undertow.storage.opening.shards import check_shards
from undertow.storage.opening.sniff import PICKLES, WEIGHTS, claims, kind_of
from undertow.storage.opening.source import Refused, Source
from undertow.types import BadInput


def open_checkpoint(path: str | Path, limits: Limits = DEFAULT) -> Opened:
    """The files and tensors of a file, a folder, or a Hugging Face repository id; nothing in them is executed.

    A file that is no weights, malformed, too large for `limits`, or of a kind that is not read is `complete=False`
    and says why in a finding. Tensors are read from the open files when asked for, so use `with`.
    BadInput where there is no such path, MissingExtra where a repository id needs huggingface_hub.
    """
    notes: list[str] = []
    readings = [_reading(item, limits) for item in listed(path, limits, notes)]
    check_shards(readings, limits)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for reading in readings:
        for name, tensor in reading.tensors.items():
            tensors[name if name not in tensors else f"{reading.path}:{name}"] = tensor
        metadata = {**reading.metadata, **metadata}
    findings = tuple(finding for reading in readings for finding in reading.findings)
    pool = ThreadPoolExecutor(1)  # sha256 leaves the interpreter free, so it runs beside whoever reads the tensors
    pending = tuple(_hashed(reading, pool) for reading in readings)
    closing = tuple(reading.source.close for reading in readings if reading.source)
    return Opened(str(path), tensors, findings, tuple(notes), metadata, pending, (pool.shutdown, *closing))


def _reading(item: Listed, limits: Limits) -> Reading:
    reading = Reading(item.path, source=item.source)
    if item.refused:
        reading.stop(item.refused.kind, item.refused.text)
    if item.source:
        with _refusals(reading):
            reading.kind = kind_of(item.source)
            _read(reading, item.source, limits)
    return reading


@contextmanager
def _refusals(reading: Reading) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        reading.stop(refused.kind, refused.text)
    except BadInput as error:
        reading.stop("unreadable", str(error))


def _read(reading: Reading, source: Source, limits: Limits) -> None:
    """Fill `reading` from the content of its file."""
    promised = claims(reading.path)
    if promised is not None and reading.kind not in promised:
        worst: Severity = "critical" if reading.kind in PICKLES else "warning"
        reading.say("extension", worst, f"its name ends in {reading.path.suffix}, its content is {reading.kind}")
    if reading.kind == "safetensors":
        reading.tensors, reading.metadata, unread = safetensors(source, limits)
        for text in unread[:10]:
            reading.stop("unread-tensor", f"{text}, which is not read yet")
    elif reading.kind in ("text", "binary") and reading.path.suffix.lower() not in WEIGHTS:
        reading.kind = "other"
    else:
        reading.stop("unread", f"{reading.kind} files are not read yet, so it is unknown")


def _hashed(reading: Reading, pool: ThreadPoolExecutor) -> Callable[[], OpenedFile]:
    """The file's record, once its hash is there."""
    record = OpenedFile(str(reading.path), "", reading.kind, reading.complete)
    if reading.source is None:
        return lambda: record
    digest = pool.submit(reading.source.sha256)

    def wait() -> OpenedFile:
        found = digest.result()
        return replace(record, sha256=found, complete=record.complete and bool(found))

    return wait
