"""Named values that others may add to: the built-in ones, entry points of installed packages, and references.

A package adds a value by an entry point in its pyproject.toml,

    [project.entry-points."undertow.attacks"]
    gap = "my_package.gap:GAP"

and a configuration or a command line may name one by where it stands, `my_package.gap:GAP`, with nothing installed.
Nothing is imported before it is needed: a built-in name is answered without looking at entry points, another name
imports the one package that offers it, and only a walk over all names imports every plugin. A scan reads files that
nobody trusts yet, so it runs inside `no_plugins()`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Generic, TypeVar

from undertow.types import ConfigError

V = TypeVar("V")

OURS = "undertow"  # the package that the built-in values are of
_closed: ContextVar[bool] = ContextVar("undertow plugins are closed", default=False)


class PluginWarning(UserWarning):
    """A plugin that was left out; one line that names its package and the reason."""


@contextmanager
def no_plugins() -> Iterator[None]:
    """Inside, registries hold the built-in values alone: no entry point is looked up and no reference imported."""
    token = _closed.set(True)
    try:
        yield
    finally:
        _closed.reset(token)


def unknown(what: str, name: str, known: Iterable[str], see: str = "") -> ConfigError:
    """The error for a name that nothing has, with the nearest one; `see` says where names are listed.

    >>> str(unknown("attack", "lirra", ["lira", "rmia"]))
    "no attack is called 'lirra'; did you mean 'lira'? known: lira, rmia"
    """
    every = list(known)
    near = get_close_matches(name, every, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    article = f"no {what} is called {name!r}; {hint}known: {', '.join(every) or 'none'}"
    return ConfigError(f"{article} ({see})" if see else article)


def check_named(what: str, names: Iterable[str], known: Iterable[str], see: str = "") -> None:
    """ConfigError, with the nearest of `known`, unless every name is one of them."""
    every = list(known)
    for name in names:
        if name not in every:
            raise unknown(what, name, every, see)


class Registry(Mapping[str, V], Generic[V]):
    """The values of one kind by name: the built-in ones first, in their order, then plugins by name.

    `wrong(name, value)` says why a value cannot be one of them (None where it can). A built-in value may be given as a
    reference `module:value`, which is imported when it is asked for. As a mapping it raises KeyError for
    unknown names; `find` raises ConfigError with the nearest name, and imports references.
    """

    def __init__(
        self, group: str, what: str, built_in: Mapping[str, V | str], wrong: Callable[[str, Any], str | None]
    ) -> None:
        self.group, self.what = group, what
        self._built_in, self._wrong = dict(built_in), wrong
        self._offers: dict[str, Any] | None = None  # entry points by name; None: not looked up yet
        self._loaded: dict[str, V] = {}
        self._refused: dict[str, str] = {}  # name -> the line that says why it was left out
        self._referred: dict[str, tuple[str, V]] = {}  # name -> the reference, and the value there

    def __getitem__(self, name: str) -> V:
        if name in self._built_in:
            own = self._built_in[name]
            return imported(own, self.what) if isinstance(own, str) else own
        if name in self._referred:
            return self._referred[name][1]
        if self._load(name):
            return self._loaded[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from sorted({*(n for n in list(self._entry_points()) if self._load(n)), *self._referred})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._built_in or name in self._referred or self._load(name))

    @property
    def built_in(self) -> tuple[str, ...]:
        """Our own names; nothing is looked up."""
        return tuple(self._built_in)

    def find(self, name: str, see: str = "") -> V:
        """The value that `name`, or a reference `package.module:value`, stands for.

        ConfigError where nothing has that name (with the nearest one), where a plugin of that name was left out, and
        where a reference cannot be imported or is of another kind.
        """
        return self[self.name_of(name, see)]

    def name_of(self, name: str, see: str = "") -> str:
        """`name` itself, or the name of the value that a reference stands for, which `self` knows from then on."""
        if name in self:
            return name
        if ":" in name and not _closed.get():
            return self._refer(name)
        if name in self._refused:
            raise ConfigError(f"{self.what} {name!r} cannot be used: {self._refused[name]}")
        raise unknown(self.what, name, self, see)

    def _entry_points(self) -> dict[str, Any]:
        """The entry points of the group, less those whose name is taken; looked up once."""
        if _closed.get():
            return {}
        if self._offers is None:
            from importlib.metadata import entry_points

            offers: dict[str, list[Any]] = {name: [] for name in self._built_in}
            for point in entry_points(group=self.group):
                offers.setdefault(point.name, []).append(point)
            self._offers = {}
            for name, points in offers.items():
                packages = [OURS] * (name in self._built_in) + sorted({_package(point) for point in points})
                if len(packages) > 1:
                    self._refuse(name, f"both {' and '.join(packages)} offer one of this name; uninstall one of them")
                elif name not in self._built_in:
                    self._offers[name] = points[0]
        return self._offers

    def _load(self, name: str) -> bool:
        """Whether a plugin has `name` and works; imports it at the first question."""
        point = self._entry_points().get(name)
        if point is None:
            return False
        if name not in self._loaded and name not in self._refused:
            try:
                value = point.load()
            except (Exception, SystemExit) as error:
                self._refuse(name, f"{point.value} of {_package(point)} cannot be imported: {_line(error)}")
                return False
            if (why := self._wrong(name, value)) is not None:
                self._refuse(name, f"{point.value} of {_package(point)} {why}")
                return False
            self._loaded[name] = value
        return name in self._loaded

    def _refuse(self, name: str, why: str) -> None:
        self._refused[name] = why
        warnings.warn(f"{self.what} {name!r} is left out: {why}", PluginWarning, stacklevel=2)

    @contextmanager
    def holding(self, value: V) -> Iterator[str]:
        """Inside, `value` is known by its own name, which is yielded; ConfigError where another value has that name."""
        known = set(self._referred)
        name = self._add("this program", value)
        try:
            yield name
        finally:
            if name not in known:
                self._referred.pop(name, None)

    def _refer(self, reference: str) -> str:
        """Imports `package.module:value`; its name."""
        return self._add(reference, imported(reference, self.what))

    def _add(self, reference: str, value: Any) -> str:
        name = getattr(value, "name", None) or reference
        if (why := self._wrong(name, value)) is not None:
            raise ConfigError(f"{self.what} {reference!r} {why}")
        if name in self and self[name] is not value:
            place = self._referred[name][0] if name in self._referred else self._place(name)
            raise ConfigError(f"{reference} and {place} both offer the {self.what} {name!r}; rename one of them")
        if name not in self:
            self._referred[name] = (reference, value)
        return str(name)

    def _place(self, name: str) -> str:
        return OURS if name in self._built_in else _package(self._entry_points()[name])


def imported(reference: str, what: str) -> Any:
    """The value at `package.module:value`; ConfigError, one line, where there is none or its import fails."""
    module, _, attribute = reference.partition(":")
    if not module or not attribute:
        raise ConfigError(f"{what} {reference!r}: a reference is written package.module:value")
    try:
        found: Any = import_module(module)
    except (Exception, SystemExit) as error:
        advice = "install its package, or name its folder in PYTHONPATH" if isinstance(error, ImportError) else "fix it"
        raise ConfigError(f"{what} {reference!r}: {module} cannot be imported ({_line(error)}); {advice}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise unknown(f"value of {module}", part, get_close_matches(part, names, 5, 0))
        found = getattr(found, part)
    return found


def instance_of(kind: type) -> Callable[[str, Any], str | None]:
    """The check that a value is of a type, and is called what its entry point is called."""

    def wrong(name: str, value: Any) -> str | None:
        if not isinstance(value, kind):
            return f"is of the type {type(value).__name__}, and must be of the type {kind.__name__}"
        own = getattr(value, "name", name)
        return None if own == name else f"calls itself {own!r}, and its entry point calls it {name!r}"

    return wrong


def callable_value(name: str, value: Any) -> str | None:
    """The check that a value can be called."""
    del name
    return None if callable(value) else f"is of the type {type(value).__name__}, and cannot be called"


def _package(point: Any) -> str:
    return str(point.dist.name) if point.dist is not None else str(point.module)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
