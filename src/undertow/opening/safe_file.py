"""One safetensors file for the audits: refused in one line where it is a pickle, torn, or not a file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from undertow.opening.safe_header import safetensors
from undertow.opening.source import Refused, Source, open_regular
from undertow.scanner.tensors import Tensor
from undertow.types import BadInput

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
REFUSED = "a pickle can run code when it is opened, so it was not; save the weights as safetensors"


@contextmanager
def reading_safetensors(path: Path) -> Iterator[tuple[Mapping[str, Tensor], dict[str, str]]]:
    """The tensors of one file, read as they are asked for, and its metadata.

    BadInput in one line: absent, a pickle (by name or content), torn or invalid, or with a type that is not read.
    A link is followed: the caller named the file.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    if path.suffix.lower() in PICKLES:
        raise BadInput(f"{path}: {REFUSED}")
    try:
        source = open_regular(path.resolve())
    except Refused as refused:
        raise BadInput(f"{path} cannot be read: {refused.text}") from refused
    try:
        yield _tensors(path, source)
    finally:
        source.close()


def _tensors(path: Path, source: Source) -> tuple[Mapping[str, Tensor], dict[str, str]]:
    if _looks_pickled(source.read(0, min(16, source.size))):
        raise BadInput(f"{path} is a pickle by content, whatever its name: {REFUSED}")
    try:
        found, said, unread = safetensors(source)
    except Refused as refused:
        raise BadInput(f"{path} is torn or no safetensors file: {refused.text}") from refused
    if unread:
        first = f"{unread[0].name!r} has type {unread[0].dtype}"
        raise BadInput(f"{path}: {first}, which cannot be audited; save it as float32 or bfloat16")
    return found, said


def _looks_pickled(start: bytes) -> bool:
    """A zip (torch.save), or the mark of pickle protocols 2 to 5 where no safetensors header follows."""
    return start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and start[8:9] != b"{")
