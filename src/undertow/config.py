"""TOML <-> frozen dataclasses, one to one. An unknown key is an error that names the nearest known one."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from undertow.types import ConfigError

C = TypeVar("C")
AUDIT = "audit"  # the key of a file that names the audit it is of


def override(base: C, changes: Mapping[str, Any]) -> C:
    """`base` with the keys of `changes` (tables nest) replaced, every type checked.

    The key AUDIT of a written configuration is passed over (`of_audit` looks at it).
    Raises ConfigError: one line naming the key, what was found, and what is allowed.
    """
    changes = {key: value for key, value in changes.items() if key != AUDIT}
    _check_keys(base, changes, "")
    merged = _merge(to_dict(base), changes)
    try:
        # Through JSON, strictly: "64" is no number, and a list is a tuple.
        return TypeAdapter(type(base)).validate_json(json.dumps(merged), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error
    except TypeError as error:
        raise ConfigError(f"a value cannot be used in a configuration: {error}") from error


def of_audit(changes: Mapping[str, Any], audit: str, file: object) -> dict[str, Any]:
    """The keys of a configuration file of `audit`, without the one that says so; ConfigError where it is of another."""
    said = changes.get(AUDIT, audit)
    if said != audit:
        raise ConfigError(
            f"--config {file} holds settings of the audit {said!r}, not of {audit!r}; "
            f"write one: undertow init-config {audit} > my.toml"
        )
    return {key: value for key, value in changes.items() if key != AUDIT}


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested plain data."""
    result = {}
    for f in fields(config):
        value = getattr(config, f.name)
        result[f.name] = to_dict(value) if is_dataclass(value) else list(value) if isinstance(value, tuple) else value
    return result


def to_toml(config: Any, heading: str, audit: str = "") -> str:
    """The configuration as TOML with every key explained; reading it back gives the same configuration.

    `audit`: the audit that it is of, which `of_audit` checks.
    """
    lines = [f"# {line}" for line in heading.splitlines()] + [""]
    if audit:
        lines.append(f"{AUDIT} = {json.dumps(audit)}".ljust(28) + "  # the audit that these settings are of")
    tables = []
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            tables.append((f.name, f.metadata.get("about", ""), value))
        else:
            lines.append(_line(f, value))
    for name, about, value in tables:
        lines += ["", f"[{name}]  # {about}" if about else f"[{name}]"]
        lines += [_line(f, getattr(value, f.name)) for f in fields(value)]
    return "\n".join(lines) + "\n"


def _line(f: Any, value: Any) -> str:
    text = json.dumps(list(value) if isinstance(value, tuple) else value)
    return f"{f.name} = {text}".ljust(28) + f"  # {f.metadata.get('about', '')}".rstrip(" #")


def _check_keys(config: Any, changes: Mapping[str, Any], table: str) -> None:
    known = {f.name: getattr(config, f.name) for f in fields(config)}
    for key, value in changes.items():
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {table + near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise ConfigError(f"unknown key {table + key!r}; {hint}")
        if is_dataclass(known[key]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{table + key} is a table: write [{table + key}] and its keys below it")
            _check_keys(known[key], value, f"{table}{key}.")


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if nested else value
    return merged


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, Exception):
        return str(cause)
    where = ".".join(str(part) for part in problem["loc"])
    found = problem.get("input")
    return f"{where} = {found!r}: {problem['msg'].lower()}"
