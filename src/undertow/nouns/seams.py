"""The seams between rooms, each with a trivial implementation that tests use."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from undertow.nouns.data import Array, Params

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Slot:
    """One model of the game: who it is, what it was dealt, and the seed its randomness descends from."""

    role: str  # "shadow" | "victim" | "base"
    index: int
    seed: int
    member: Array | None  # (N,) bool over the secret pool; None for a model that has no secret


class Store(Protocol):
    """Content-addressed and atomic: an entry is there whole, or not at all."""

    def has(self, key: str) -> bool: ...
    def get(self, key: str) -> Params: ...
    def put(self, key: str, arrays: Mapping[str, Array]) -> None: ...
    def get_note(self, key: str) -> dict[str, Any] | None: ...
    def put_note(self, key: str, note: Mapping[str, Any]) -> None: ...


class Stage(Protocol):
    """One link of the chain: data, not a closure, so that it hashes (resume) and travels (processes, Ray).

    A frozen dataclass whose fields decide its result; `version` is raised when its code changes meaning. Its
    `libraries`, where it has them, are the packages whose code decides its result besides NumPy and torch; those of its
    fields count as well. Their versions are part of every key.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        """The parameters (or outputs) of the models in `slots`, made from those `before`, in that order."""


class Executor(Protocol):
    """Runs jobs somewhere; results in the order of the jobs."""

    def map(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]: ...


class Progress(Protocol):
    """Told what is going on; libraries do not print."""

    def __call__(self, what: str, done: int, total: int) -> None: ...
