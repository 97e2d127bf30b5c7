"""What the pickle machine computes with: plain descriptions, never the objects that a file asks for."""

from dataclasses import dataclass, field

from .opcodes import Blob


@dataclass(frozen=True)
class Global:
    """A name of a module, not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(eq=False)
class Table:
    """A dict, as pairs in the order they were set; keys are never hashed unless they are plain."""

    pairs: list[tuple[object, object]] = field(default_factory=list)


@dataclass(eq=False)
class Bag:
    """A set."""

    items: list[object] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Opaque:
    """An object that was refused or is not understood."""

    what: str


@dataclass(frozen=True, eq=False)
class Kind:
    """A class of data that is known by name: an object of it is described, never built."""

    what: str


@dataclass(frozen=True, eq=False)
class Foreign(Kind):
    """A name of a module that no list knows: an object of such a class may be met, a call of it is not passed over."""


@dataclass(eq=False)
class Record:
    """An object of a known class, with whatever it was given: tensors in it are found all the same."""

    kind: Kind
    given: list[object] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Plain:
    """An object that holds no weights: a device, a layout, a number of NumPy."""

    what: str


@dataclass(frozen=True, eq=False)
class Storage:
    """Numbers that a tensor looks at; `dtype` "" for bytes of no type."""

    key: str
    dtype: str
    numel: int  # bytes where there is no type
    base: int = 0  # where it begins in the storage of that key, in numbers


@dataclass(frozen=True, eq=False)
class View:
    """A tensor: where in its storage it begins and how it steps, in numbers."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False)
class NumpyType:
    """A dtype of NumPy."""

    code: str


@dataclass(eq=False)
class NumpyArray:
    """An array of NumPy, filled by BUILD."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: bytes | Blob = b""
    items: list[object] | None = None  # of an array of Python objects


def shown(text: str, longest: int = 80) -> str:
    """Text of a file for people: printable ASCII, short, nothing that a terminal would obey."""
    plain = ascii(text)[1:-1]
    return plain if len(plain) <= longest else plain[:longest] + "..."
