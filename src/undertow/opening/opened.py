"""What comes out of opening a checkpoint: files, tensors, findings. Unknown is never safe."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from time import monotonic
from types import TracebackType

from undertow.opening.source import Refused, Source
from undertow.scanner.findings import Finding, Verdict
from undertow.scanner.tensors import Tensor


@dataclass(frozen=True)
class Limits:
    """How much a checkpoint may cost to open. What costs more is not opened, so its file is unknown."""

    header_bytes: int = 100_000_000  # of a safetensors header, as the format says
    header_tokens: int = 2_000_000  # braces, brackets and commas in a header or index: bounds the memory of its JSON
    files: int = 10_000  # in a folder
    download: int = 20_000_000_000  # bytes of a repository of the hub
    depth: int = 8  # of folders in folders
    opcodes: int = 5_000_000  # of the pickles of one file, together
    depth_of_stack: int = 1_000_000  # objects on the stack, and in the memo
    pickle_bytes: int = 256 << 20  # of the opcodes and short strings of one pickle; arrays in it do not count
    inflated_bytes: int = 4 << 30  # of what is compressed in one file
    inflated_ratio: int = 200  # of an archive beyond 100 MB; deflate reaches 1,032
    members: int = 200_000  # of an archive
    nodes: int = 500_000  # visited while the tensors of a pickle are collected
    row_bytes: int = 64 << 20  # of one row (first axis) of a tensor: what a reader holds at least
    dense_ratio: int = 8  # tensors as numbers against the bytes of their file (views may share storage)
    seconds: float = 60.0  # for all pickles and archives of a path together, and one more per 50 MB of them
    memory: int = 1 << 30  # address space of the process that reads it
    hashes: bool = True  # whether files are hashed; without, a change meanwhile is seen by size and times only


DEFAULT = Limits()
BYTES_PER_SECOND = 50e6


@dataclass
class Clock:
    """The time that the files of one path may take together to be read by processes of their own."""

    limits: Limits
    spent: float = 0.0  # seconds
    size: int = 0  # bytes of the files that were begun
    seen: set[str] = field(default_factory=set)
    kept: int = 0  # bytes of configurations that wait to be examined

    def left(self, source: Source) -> float:
        """Seconds for the next file; Refused where none are left."""
        self.size += 0 if source.path in self.seen else source.size
        self.seen.add(source.path)
        seconds = self.limits.seconds + self.size / BYTES_PER_SECOND - self.spent
        if seconds <= 0:
            raise Refused(
                "limit", f"the files of this path took more than {self.spent:.0f} s together, so it was not read"
            )
        return seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is done inside."""
        start = monotonic()
        try:
            yield
        finally:
            self.spent += monotonic() - start


@dataclass(frozen=True)
class OpenedFile:
    """One file of a checkpoint."""

    path: str
    sha256: str  # "" where it was not read, changed while it was, or hashes were not wanted
    kind: str  # by content: "safetensors", "torch-zip", "pickle", ...; "other" has no weights
    complete: bool  # parsed and understood to its last byte; else the verdict is never safe
    doubts: tuple[str, ...] = ()  # kinds of findings for which it is not complete


@dataclass(eq=False)
class Opened:
    """A checkpoint that is open for reading; close it (or use `with`) when its tensors were read."""

    path: str
    tensors: Mapping[str, Tensor]  # by name; "file:name" where an earlier file has that name too
    metadata: Mapping[str, str]  # of all safetensors, of the first that says it
    findings: tuple[Finding, ...]
    not_tested: tuple[str, ...]
    pending: tuple[Callable[[], OpenedFile], ...] = field(repr=False)  # hashes are taken meanwhile
    closing: tuple[Callable[[], None], ...] = field(default=(), repr=False)
    origin: Mapping[str, str] = field(default_factory=dict)  # repository and commit, of what was downloaded

    @cached_property
    def files(self) -> tuple[OpenedFile, ...]:
        """Every file with its hash; waits until the hashes are there, so ask after reading the tensors."""
        return tuple(wait() for wait in self.pending)

    def close(self) -> None:
        """Close the files; the hashes are finished first."""
        _ = self.files
        for close in self.closing:
            close()

    def __enter__(self) -> "Opened":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def verdict_of(file: OpenedFile, findings: Iterable[Finding]) -> Verdict:
    """unsafe: a critical finding names the file. unknown: it was not fully read. Else safe."""
    if any(found.severity == "critical" and found.file == file.path for found in findings):
        return "unsafe"
    return "safe" if file.complete else "unknown"
