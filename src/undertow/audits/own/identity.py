"""What a user's function is, as far as it can be read: its code, what it closes over, and what it calls.

Answers are kept under this, so that a changed function is trained again. What is read is bytecode, constants,
defaults, closures, the globals that the code names and the files of the user's own modules; of installed packages the
version. Files that the function opens, environment variables and the machine are not seen.
"""

import dis
import enum
import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import site
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from undertow.engine.key import digest, fingerprint

DEPTH = 12  # objects in objects
PLAIN = (
    bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range, slice,
    PurePath, enum.Enum, np.generic, np.dtype,
)  # fmt: skip
SHOWN = ("builtins", "datetime", "decimal", "fractions", "uuid", "zoneinfo", "array", "torch", "types")  # repr is all
HIDDEN = ("_io", "ctypes", "_ctypes")  # what they hold does not show in their attributes
_INSTALLED = (
    *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    *site.getsitepackages(),
    site.getusersitepackages(),
)


@dataclass(frozen=True)
class Identity:
    """The name of a function in the store."""

    digest: str
    parts: Mapping[str, str]  # what was read -> its digest, so that a change can be named
    unread: tuple[str, ...]  # what could not be read; with any of it, only a name given by the user tells

    @property
    def known(self) -> bool:
        """Whether all of the function could be read."""
        return not self.unread


def identity(function: Any, name: str | None = None) -> Identity:
    """The identity of a callable; `name` stands for what cannot be read."""
    reader = _Reader()
    whole = reader.read(function, "train", 0)
    named = name or "" if reader.unread else ""
    unread = () if named else tuple(reader.unread)
    return Identity(digest([whole, named]), dict(reader.parts), unread)


@dataclass
class _Reader:
    """Walks through objects once; what it read and what it could not."""

    parts: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    seen: dict[int, Any] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)  # so that no id is used twice

    def read(self, value: Any, where: str, depth: int) -> Any:
        """JSON-able data in which everything that decides `value` shows."""
        if isinstance(value, PLAIN):
            return f"{type(value).__name__} {value!r}"
        if id(value) in self.seen:
            return self.seen[id(value)]
        if depth > DEPTH:
            return self.cannot(where, "it is nested too deeply")
        self.seen[id(value)] = f"again {len(self.seen)}"
        self.kept.append(value)
        self.seen[id(value)] = found = self._read(value, where, depth)
        return found

    def cannot(self, where: str, why: str) -> str:
        self.unread.append(f"{where} ({why})")
        return f"unread {where}"

    def _read(self, value: Any, where: str, depth: int) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value, where, depth)
        if isinstance(value, MethodType):
            return [self.read(value.__func__, where, depth + 1), self.read(value.__self__, f"{where}.self", depth + 1)]
        if isinstance(value, functools.partial):
            return [self.read(v, where, depth + 1) for v in (value.func, value.args, value.keywords)]
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, type):
            return self._class(value, where, depth)
        if isinstance(value, BuiltinFunctionType):
            return f"{value.__module__}.{value.__qualname__}"
        if (array := _array(value)) is not None:
            return fingerprint(array)
        if isinstance(value, Mapping):
            items = [(f"{k!r}", self.read(v, f"{where}[{k!r}]", depth + 1)) for k, v in value.items()]
            return ["mapping", *map(list, items)]
        if isinstance(value, list | tuple | deque):
            return [type(value).__name__, *(self.read(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value))]
        if isinstance(value, set | frozenset):
            return ["set", *sorted(digest(self.read(v, where, depth + 1)) for v in value)]
        return self._object(value, where, depth)

    def _function(self, value: FunctionType, where: str, depth: int) -> Any:
        if (package := _package(value.__module__)) is not None:
            return f"{package} {value.__qualname__}"
        body: list[Any] = [_code(value.__code__)]
        body.append(self.read(value.__defaults__ or (), f"{where}'s defaults", depth + 1))
        body.append(self.read(value.__kwdefaults__ or {}, f"{where}'s defaults", depth + 1))
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or ()):
            try:
                body.append([name, self.read(cell.cell_contents, name, depth + 1)])
            except ValueError:  # not yet filled
                body.append([name, None])
        for name in sorted(set(_globals(value.__code__))):
            if name in value.__globals__:
                body.append([name, self.read(value.__globals__[name], name, depth + 1)])
        body += [self._imported(name) for name in sorted(set(_imports(value.__code__)))]
        return self._part(f"{value.__qualname__}()".replace("<locals>.", ""), body)

    def _class(self, value: type, where: str, depth: int) -> Any:
        if (package := _package(value.__module__)) is not None:
            return f"{package} {value.__qualname__}"
        bases = [self.read(base, f"{where}'s base", depth + 1) for base in value.__mro__[1:] if base is not object]
        own = {k: v for k, v in vars(value).items() if k != "_abc_impl" and (not k.startswith("__") or callable(v))}
        body = [[k, self.read(_plain(v), f"{where}.{k}", depth + 1)] for k, v in sorted(own.items())]
        return self._part(f"class {value.__qualname__}".replace("<locals>.", ""), [bases, body])

    def _module(self, value: ModuleType) -> Any:
        if (package := _package(value.__name__)) is not None:
            return package
        file = getattr(value, "__file__", None)
        if file is None or not Path(file).is_file():
            return self.cannot(value.__name__, "a module without a file")
        used = {getattr(v, "__module__", None) or getattr(v, "__name__", "") for v in vars(value).values()}
        used |= {v.__name__ for v in vars(value).values() if isinstance(v, ModuleType)}
        others = [sys.modules[m] for m in sorted(map(str, used)) if m in sys.modules and m != value.__name__]
        mine = [self.read(m, m.__name__, 1) for m in others if _package(m.__name__) is None]
        return self._part(f"{value.__name__}.py", [hashlib.sha256(Path(file).read_bytes()).hexdigest(), mine])

    def _imported(self, name: str) -> Any:
        """A module that the code imports when it runs."""
        if name in sys.modules:
            return self.read(sys.modules[name], name, 1)
        if (package := _package(name)) is not None:
            return package
        try:
            found = None if "." in name else importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        if found is None or not found.origin or not Path(found.origin).is_file():
            return name
        return self._part(f"{name}.py", hashlib.sha256(Path(found.origin).read_bytes()).hexdigest())

    def _object(self, value: Any, where: str, depth: int) -> Any:
        kind = type(value)
        if isinstance(value, logging.Logger):
            return f"logger {value.name}"
        if isinstance(value, np.random.Generator):
            return self.read(value.bit_generator.state, where, depth + 1)
        if isinstance(value, np.random.RandomState):
            return self.read(value.get_state(), where, depth + 1)
        if kind.__module__ in HIDDEN:
            return self.cannot(where, f"a {kind.__module__}.{kind.__qualname__}")
        state = getattr(value, "__dict__", None)
        slots = [s for c in kind.__mro__ for s in _slots(c) if hasattr(value, s)]
        if state is None and not slots:
            shown = repr(value)
            if " at 0x" in shown or kind.__module__ not in SHOWN:
                return self.cannot(where, f"a {kind.__module__}.{kind.__qualname__}")
            return f"{kind.__module__}.{kind.__qualname__} {shown}"
        whole = {**(state or {}), **{s: getattr(value, s) for s in slots}}
        body = [[k, self.read(v, f"{where}.{k}", depth + 1)] for k, v in sorted(whole.items(), key=lambda e: str(e[0]))]
        return [self.read(kind, kind.__qualname__, depth + 1), body]

    def _part(self, name: str, body: Any) -> str:
        found = digest(body)
        self.parts[name] = found
        return found


def _plain(value: Any) -> Any:
    """The function in a descriptor of a class."""
    value = getattr(value, "fget", None) or value
    return getattr(value, "__func__", value)


def _slots(kind: type) -> tuple[str, ...]:
    found = vars(kind).get("__slots__", ())
    names = (found,) if isinstance(found, str) else tuple(found)
    return tuple(n for n in names if n not in ("__dict__", "__weakref__"))


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    """The numbers of an array, a tensor or a table; None where it is none, or holds objects."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        value = value.float() if str(getattr(value, "dtype", "")) == "torch.bfloat16" else value
    elif not isinstance(value, np.ndarray) and not (hasattr(value, "to_numpy") and hasattr(value, "shape")):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    if array.dtype.hasobject:
        return np.array([digest([repr(v) for v in array.ravel().tolist()]), str(array.shape)])
    return array


def _code(code: CodeType) -> Any:
    """Bytecode, names and constants, nested functions inside; not where it stands in its file."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    version = ".".join(map(str, sys.version_info[:2]))
    return [version, code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _constant(value: Any) -> str:
    return f"{sorted(map(repr, value))}" if isinstance(value, frozenset) else repr(value)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def _globals(code: CodeType) -> Iterator[str]:
    for one in _codes(code):
        yield from (str(i.argval) for i in dis.get_instructions(one) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))


def _imports(code: CodeType) -> Iterator[str]:
    for one in _codes(code):
        yield from (str(i.argval) for i in dis.get_instructions(one) if i.opname == "IMPORT_NAME" and i.argval)


def _package(module: str | None) -> str | None:
    """The installed package of a module with its version; None where the module is the user's own."""
    top = (module or "").split(".")[0]
    if top == "__main__":  # the user's script, whatever started it
        return None
    if top in ("builtins", "") or top in sys.stdlib_module_names:
        return f"python {sys.version_info[0]}.{sys.version_info[1]} {module}"
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None and top in sys.modules:
        file = next(iter(getattr(sys.modules[top], "__path__", [])), None)  # a namespace package
    if file is None and top not in sys.modules:
        try:
            found = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            found = None
        file = None if found is None else found.origin
    if top != "undertow" and (file is None or not any(str(file).startswith(p) for p in _INSTALLED)):
        return None
    return f"{top} {_version(top)} {module}"


@functools.cache
def _version(top: str) -> str:
    known = getattr(sys.modules.get(top), "__version__", None)
    if known is not None:
        return str(known)
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
