"""Layers of a network by structure: which axis of a matrix its units are, which vector is its bias, who reads it.

Names are asked first (`layers`); where they say nothing, shapes do: the bias has one number a unit, and the rows of one
layer are the columns of the next. What is guessed so is marked, and is judged by limits of its own.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from undertow.scanner.statistics import Statistics

LAST = re.compile(r"[._](weight|kernel|w|W|weights|matrix)$")  # behind the name of a layer
BIASES = {"weight": "bias", "kernel": "bias", "w": "b", "W": "b", "weights": "biases", "matrix": "vector"}
GUESSED = 4096  # layers of which readers are looked for by shape


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sorts "layers.10" behind "layers.9"."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def stem_of(name: str) -> str:
    """The name of the layer that a matrix is of.

    >>> [stem_of(n) for n in ("1.weight", "fc_w", "arr_0", "lstm.weight_ih_l0")]
    ['1', 'fc', 'arr_0', 'lstm.weight_ih_l0']
    """
    return LAST.sub("", name)


def bias_of(name: str, found: Mapping[str, Statistics], order: Mapping[str, int], names: Sequence[str]) -> str | None:
    """The name of a matrix' bias: by its own name, else the next vector behind it that is as long as a side of it."""
    place = LAST.search(name)
    guesses = [f"{name[: place.start(1)]}{BIASES[place[1]]}", f"{stem_of(name)}.bias"] if place else [f"{name}_bias"]
    guesses += [re.sub(r"weight(?!.*weight)", "bias", name), re.sub(r"_w(_|$)", r"_b\1", name)]
    shape = _sides(found[name].shape)
    for guess in guesses:
        one = found.get(guess)
        if guess != name and one is not None and len(one.shape) == 1 and one.shape[0] in shape:
            return guess
    if conventional(name):
        return None
    following = found[names[order[name] + 1]] if order[name] + 1 < len(names) else None
    return following.name if following and len(following.shape) == 1 and following.shape[0] in shape else None


def conventional(name: str) -> bool:
    """Whether a name says how its matrix is stored, as torch and Flax write them."""
    return name.endswith((".weight", ".kernel")) or name in ("weight", "kernel")


def turned(shapes: Sequence[tuple[int, ...]], known: Sequence[bool | None]) -> list[bool | None]:
    """Which matrices of a chain have their units on columns; None where nothing says.

    `known`: what names and biases say. The rest go with how they chain: columns of one are rows of the next.
    """
    result = list(known)
    plain = sum(_chains(a, b, False) and not _chains(a, b, True) for a, b in pairwise(shapes))
    other = sum(_chains(a, b, True) and not _chains(a, b, False) for a, b in pairwise(shapes))
    if plain == other:
        return result
    way = other > plain
    for i, known_way in enumerate(known):
        near = [pair for pair in (shapes[i - 1 : i + 1] if i else [], shapes[i : i + 2]) if len(pair) == 2]
        if known_way is None and any(_chains(a, b, way) for a, b in near):
            result[i] = way
    return result


def _chains(first: tuple[int, ...], second: tuple[int, ...], transposed: bool) -> bool:
    if len(first) != 2 or len(second) != 2:
        return False
    return first[1] == second[0] if transposed else first[0] == second[1]


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if len(shape) == 2 else shape[:1]
