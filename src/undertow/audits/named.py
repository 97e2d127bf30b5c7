"""Names that a user may give wrongly."""

from collections.abc import Iterable
from difflib import get_close_matches

from undertow.types import ConfigError


def check_named(what: str, names: Iterable[str], known: Iterable[str], option: str) -> None:
    """ConfigError, with the nearest of `known`, unless every name is one of them."""
    every = list(known)
    for name in names:
        if name not in every:
            near = get_close_matches(name, every, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(every)}"
            raise ConfigError(f"no {what} {name!r}; {hint} ({option})")
