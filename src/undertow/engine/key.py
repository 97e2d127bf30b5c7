"""Resume is a hash chain: what a model is made from decides its name in the store."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from undertow.registry import OURS
from undertow.types import Array, Slot, Stage

PACKAGES = ("numpy", "torch")  # whose code decides the bits of every model; a stage may declare more


def canonical(value: Any) -> Any:
    """`value` as JSON-able data in which every field that matters shows; arrays by content.

    >>> canonical((1, 0.5, None))
    [1, 0.5, None]
    """
    if is_dataclass(value) and not isinstance(value, type):
        shown = {f.name: canonical(getattr(value, f.name)) for f in fields(value)}
        return {"type": _class_name(type(value)), **shown}
    if isinstance(value, np.ndarray):
        return {"array": fingerprint(value)}
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [canonical(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a stage may not hold {type(value).__name__}: it could not be named in the store")


def _class_name(kind: type) -> str:
    """Without its module: a class may move and keeps its models; with the package where that is another than ours."""
    package = kind.__module__.partition(".")[0]
    return kind.__qualname__ if package == OURS else f"{package}:{kind.__qualname__}"


def fingerprint(*arrays: Array) -> str:
    """sha256 of the content, dtype and shape of the arrays, in hexadecimal."""
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(f"{a.dtype.str}{a.shape}".encode())
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


def digest(value: Any) -> str:
    """sha256 of the canonical form of `value`, in hexadecimal."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def installed(package: str) -> str:
    """The version of a package, or "absent"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def code_versions(libraries: Iterable[str] = ()) -> dict[str, str]:
    """Versions of PACKAGES and of the given libraries, by name."""
    return {package: installed(package) for package in sorted({*PACKAGES, *libraries})}


def libraries_of(value: Any) -> frozenset[str]:
    """The packages that a stage, and whatever it is made of (stages, architectures), declares as its `libraries`."""
    if not is_dataclass(value) or isinstance(value, type):
        return frozenset()
    own = frozenset(getattr(value, "libraries", ()))
    return own.union(*(libraries_of(getattr(value, f.name)) for f in fields(value)))


def stage_digest(stage: Stage) -> str:
    """What every model of a stage has in common: its fields, its version, and the code below it.

    That code is named by the versions of the libraries that the stage and its parts declare.
    """
    return digest([canonical(stage), stage.name, stage.version, code_versions(libraries_of(stage))])


def model_key(stage: str, slot: Slot, before: str) -> str:
    """The name of one model's result: stage digest, previous result, and what the model was dealt."""
    secret = None if slot.member is None else fingerprint(slot.member)
    return digest([stage, before, slot.role, slot.index, slot.seed, secret])
