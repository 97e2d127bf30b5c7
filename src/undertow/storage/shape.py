"""Does a JSON document have the shape that a JSON schema asks for? The part of the standard that our schemas use."""

from collections.abc import Iterator, Mapping
from typing import Any

KINDS: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
KNOWN = frozenset((
    "$schema", "$id", "$defs", "$ref", "title", "description", "type", "enum", "const", "required", "properties",
    "additionalProperties", "items", "minItems", "minLength", "minimum", "maximum", "anyOf", "contains", "allOf",
))  # fmt: skip


def problems(document: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with `document`, each as `place: what`; empty where it has the shape.

    Keywords: type, enum, const, required, properties, additionalProperties, items, minItems, contains, minLength,
    minimum, maximum, anyOf, allOf, and $ref to #/$defs. ValueError for a schema that uses another one.
    """
    return list(_problems(document, schema, schema, "$"))


def _problems(x: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    unknown = [key for key in schema if key not in KNOWN]
    if unknown:
        raise ValueError(f"the schema at {place} uses {unknown[0]!r}, which is not checked here")
    if "$ref" in schema:
        yield from _problems(x, root["$defs"][str(schema["$ref"]).removeprefix("#/$defs/")], root, place)
        return
    if "type" in schema and not _is(x, schema["type"]):
        yield f"{place}: {_short(x)} is no {' or '.join(_listed(schema['type']))}"
        return
    yield from _values(x, schema, place)
    yield from _parts(x, schema, root, place)
    for one in schema.get("allOf", ()):
        yield from _problems(x, one, root, place)
    if "anyOf" in schema and all(list(_problems(x, one, root, place)) for one in schema["anyOf"]):
        yield f"{place}: {_short(x)} fits none of the forms it may have"


def _values(x: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """What is wrong with a value by itself."""
    number = isinstance(x, int | float) and not isinstance(x, bool)
    if "enum" in schema and x not in schema["enum"]:
        yield f"{place}: {_short(x)} is none of {', '.join(map(repr, schema['enum']))}"
    if "const" in schema and x != schema["const"]:
        yield f"{place}: {_short(x)} is not {schema['const']!r}"
    if isinstance(x, str) and len(x) < schema.get("minLength", 0):
        yield f"{place}: the text is empty"
    if number and not schema.get("minimum", x) <= x <= schema.get("maximum", x):
        yield f"{place}: {x} is outside {schema.get('minimum', '-inf')} to {schema.get('maximum', 'inf')}"


def _parts(x: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    """What is wrong with the parts of an object or an array."""
    if isinstance(x, dict):
        known = schema.get("properties", {})
        yield from (f"{place}: {key!r} is missing" for key in schema.get("required", ()) if key not in x)
        for key, value in x.items():
            if key in known:
                yield from _problems(value, known[key], root, f"{place}.{key}")
            elif schema.get("additionalProperties", True) is False:
                yield f"{place}: {key!r} is not known"
    if isinstance(x, list):
        if len(x) < schema.get("minItems", 0):
            yield f"{place}: {len(x)} entries, at least {schema['minItems']} are due"
        for i, value in enumerate(x):
            if "items" in schema:
                yield from _problems(value, schema["items"], root, f"{place}[{i}]")
        if "contains" in schema and all(list(_problems(v, schema["contains"], root, place)) for v in x):
            yield f"{place}: no entry has {_short(schema['contains'].get('properties', schema['contains']))}"


def _is(x: Any, kinds: str | list[str]) -> bool:
    """Whether `x` is of one of the kinds; a truth value is no number."""
    named = _listed(kinds)
    return any(isinstance(x, KINDS[kind]) and (kind == "boolean" or not isinstance(x, bool)) for kind in named)


def _listed(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."
