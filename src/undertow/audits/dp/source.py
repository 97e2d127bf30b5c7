"""What a user's callable calls by name, as far as its code shows; nothing is run or changed."""

from collections.abc import Iterator
from functools import partial
from types import CodeType, FunctionType
from typing import Any

DEPTH = 4  # of functions that call functions of the same module


def calls(function: Any, name: str) -> bool:
    """Whether `function`, or a function of its module or class that it calls, names `name` in its code.

    Follows partials, methods, callable objects and closures, four calls deep. False where the code cannot be seen.
    """
    seen: set[int] = set()
    todo = [(function, 0)]
    while todo:
        thing, depth = todo.pop()
        found = _function(thing)
        if found is None or id(found) in seen or depth > DEPTH:
            continue
        seen.add(id(found))
        used = set(_names(found.__code__))
        if name in used:
            return True
        todo += [(inner, depth + 1) for inner in _called(thing, found, used)]
    return False


def _function(thing: Any) -> FunctionType | None:
    """The Python function behind a partial, a method or a callable object."""
    while isinstance(thing, partial):
        thing = thing.func
    thing = getattr(thing, "__func__", thing)
    thing = getattr(thing, "__wrapped__", thing)
    if not isinstance(thing, FunctionType):
        thing = next((vars(kind)["__call__"] for kind in type(thing).__mro__ if "__call__" in vars(kind)), None)
    return thing if isinstance(thing, FunctionType) else None


def _called(thing: Any, function: FunctionType, used: set[str]) -> Iterator[Any]:
    owner = getattr(thing, "__self__", thing)
    for name in used:
        inner = function.__globals__.get(name, getattr(type(owner), name, None))
        if isinstance(inner, FunctionType | partial):
            yield inner
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet filled
            continue


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
