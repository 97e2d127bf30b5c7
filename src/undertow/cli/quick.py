"""Arguments of a command read without typer, whose reader of values costs a scan a third of its start-up.

Only what cannot be misread is taken: known long options, `-q`, and plain values. Everything else, help and mistakes
among it, is left to typer, which says what is wrong.
"""

from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin

READ: dict[Any, Callable[[str], Any]] = {str: str, Path: Path, int: int, float: float}


class Unclear(Exception):
    """The arguments are for typer."""


def arguments_of(command: Callable[..., None], given: list[str]) -> dict[str, Any] | None:
    """The keyword arguments that typer would read for `command`; None where that is for typer to say."""
    try:
        return dict(_read(command, given))
    except (Unclear, ValueError):
        return None


def _read(command: Callable[..., None], given: list[str]) -> Iterator[tuple[str, Any]]:
    positional, options = _declared(command)
    values: dict[str, Any] = {}
    places: list[str] = []
    rest = iter(given)
    for text in rest:
        if text == "--":
            places += rest
        elif not text.startswith("-"):
            places.append(text)
        else:
            name, equals, value = text.partition("=")
            if name not in options or (equals and not name.startswith("--")):
                raise Unclear
            key, kind = options[name]
            if kind is bool:
                if equals:
                    raise Unclear
                values[key] = True
                continue
            value = value if equals else next(rest, "")
            if not value or (value.startswith("-") and not equals):
                raise Unclear
            many = get_origin(kind) is list
            read = READ[get_args(kind)[0] if many else kind](value)
            values[key] = [*values.get(key, []), read] if many else read
    if not all(places) or not places:
        raise Unclear
    yield positional, places
    yield from values.items()


def _declared(command: Callable[..., None]) -> tuple[str, dict[str, tuple[str, Any]]]:
    """The parameter that takes the rest, and (parameter, type) by option; Unclear for what is not known here."""
    positional, options = "", {}
    for key, parameter in signature(command).parameters.items():
        if get_origin(parameter.annotation) is not Annotated:
            raise Unclear
        kind, said = get_args(parameter.annotation)[:2]
        kind = _plain(kind)
        if parameter.default is Parameter.empty:
            if positional or kind != list[str]:
                raise Unclear
            positional = key
            continue
        inner = get_args(kind)[0] if get_origin(kind) is list else kind
        if inner is not bool and inner not in READ:
            raise Unclear
        if getattr(said, "min", None) is None and getattr(said, "max", None) is None:
            for name in said.param_decls or (f"--{key.replace('_', '-')}",):
                options[name] = (key, kind)
    return positional, options


def _plain(kind: Any) -> Any:
    """A type without its None."""
    if get_origin(kind) is not UnionType:
        return kind
    left = [one for one in get_args(kind) if one is not NoneType]
    return left[0] if len(left) == 1 else kind
