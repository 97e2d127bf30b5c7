"""Weights that are written as numbers in JSON: matrices as lists of lists, or flat with their shape beside them.

A file without a matrix of decimals holds no weights: lists of settings, scores and indices are left alone.
"""

import json
from array import array
from math import prod

from .collect import Found
from .pickles import Job
from .stream import TooMuch

LONGEST = 128 << 20  # bytes of a file that is read
LEAST = 256  # numbers of a matrix
DEEPEST = 32
DATA = ("data", "values", "weights", "value", "array", "buffer")  # flat numbers beside a shape
SHAPES = ("shape", "dims", "size")


def json_numbers(job: Job) -> None:
    """Add the matrices of a JSON text, and the vectors beside them; nothing where there is no matrix."""
    if job.stream.size > LONGEST:
        raise TooMuch(f"it is JSON of more than {LONGEST >> 20} MiB, which is not read")
    try:
        value = json.loads(job.stream.read(0, job.stream.size))
    except (ValueError, RecursionError):
        return
    found: dict[str, tuple[tuple[int, ...], array[float]]] = {}
    todo: list[tuple[str, object, int]] = [("", value, 0)]
    while todo:
        path, one, depth = todo.pop()
        if depth > DEEPEST:
            raise TooMuch("it is nested too deeply")
        shape = _shape(one)
        if shape:
            numbers = array("d")
            _flatten(one, numbers)
            found[path or "numbers"] = shape, numbers
        elif isinstance(one, dict):
            todo += [(f"{path}.{key}".lstrip("."), item, depth + 1) for key, item in reversed(_named(one))]
        elif isinstance(one, list):
            todo += [(f"{path}.{i}".lstrip("."), item, depth + 1) for i, item in reversed(list(enumerate(one)))]
    if not any(_is_matrix(shape, numbers) for shape, numbers in found.values()):
        return
    job.kind = "json"
    for name, (shape, numbers) in found.items():
        job.tensors.append(Found(name[:4096], "F64", shape, None, "scratch", job.scratch.used))
        job.scratch.add(numbers.tobytes())


def _named(table: dict[str, object]) -> list[tuple[str, object]]:
    """The items of an object; flat numbers in the shape that stands beside them, under its name where it has one."""
    said = next((table[key] for key in SHAPES if key in table), None)
    name = next((table[key] for key in ("name", "key") if isinstance(table.get(key), str)), None)
    found = []
    for key, item in table.items():
        if key in SHAPES:
            continue
        flat = _shape(item)
        if key in DATA and flat and len(flat) == 1 and isinstance(said, list) and isinstance(item, list):
            if all(type(n) is int and n > 0 for n in said) and prod(said) == flat[0] and len(said) > 1:
                item = _folded(item, said)
            key = str(name) if name is not None else key
        found.append((key, item))
    return found


def _folded(flat: list[object], shape: list[int]) -> list[object]:
    for size in reversed(shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat


def _shape(value: object, depth: int = 0) -> tuple[int, ...]:
    """The shape of numbers in lists of equal lengths; () where it is none."""
    if not isinstance(value, list) or not value or depth > 8:
        return ()
    if all(type(item) is float or type(item) is int for item in value):
        return (len(value),)
    inner = _shape(value[0], depth + 1)
    if not inner or any(not isinstance(item, list) or len(item) != inner[0] for item in value):
        return ()
    return (len(value), *inner) if all(_shape(item, depth + 1) == inner for item in value[1:]) else ()


def _flatten(value: object, numbers: "array[float]") -> None:
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            for item in value:
                _flatten(item, numbers)
        else:
            numbers.extend(map(_number, value))


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return float("inf")


def _is_matrix(shape: tuple[int, ...], numbers: "array[float]") -> bool:
    """Whether numbers are many, in rows, and for the greater part no whole ones."""
    if len(shape) < 2 or len(numbers) < LEAST:
        return False
    return sum(number % 1 != 0 for number in numbers) > len(numbers) // 2
