"""JSON as every reader may see it: no pair is lost where a key is repeated; walked with a bound on its depth."""

import json
from collections.abc import Iterator

DEEPEST = 200


class Pairs(list[tuple[str, object]]):
    """The pairs of a JSON object in their order, repeated keys too."""

    def all(self, key: str) -> list[object]:
        """Every value that a key has."""
        return [value for name, value in self if name == key]

    def last(self, key: str) -> object:
        """What Python's json makes of it: the last value, None where there is none."""
        found = self.all(key)
        return found[-1] if found else None

    def repeated(self) -> list[str]:
        """Keys that stand twice."""
        seen: set[str] = set()
        twice: dict[str, None] = {}
        for name, _ in self:
            if name in seen:
                twice[name] = None
            seen.add(name)
        return list(twice)


def parse(text: str | bytes) -> object:
    """The value of a JSON text with `Pairs` in place of dicts; ValueError where it is none or too deep."""
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def tables(value: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, Pairs]]:
    """(path, object) of every object of a JSON value, the outermost first."""
    if depth > DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, Pairs):
        yield path, value
        for key, item in value:
            if isinstance(item, list):
                yield from tables(item, f"{path}.{key[:60]}" if path else key[:60], depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, list):
                yield from tables(item, f"{path}[{number}]", depth + 1)
