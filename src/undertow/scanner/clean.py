"""Neutralise what a scan named: edits of weights, in NumPy. Architecture, names, shapes and dtypes stay.

A named unit is edited whole: its weights, its bias, and the weights of the layer that reads it. What takes their place
comes from the same layer's other units. Dims of the residual stream that hold planted constants are emptied in every
block. With a trusted parent, its blocks take the place of those that were found or rewritten. All else is not touched.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from undertow.scanner.affine import GAIN
from undertow.scanner.findings import Finding
from undertow.scanner.layers import hidden_of, layers_of
from undertow.scanner.restore import restored
from undertow.scanner.statistics import statistics
from undertow.scanner.stream import emptied, stream_width, taken
from undertow.scanner.tensors import of_arrays
from undertow.types import Array, BadInput, Params

How = Literal["reinit", "rescale", "clip", "prune", "noise", "average"]
Done = Literal["reinit", "rescale", "clip", "prune", "noise", "average", "parent", "emptied", "fitted", "silenced"]
KEPT = 0.999  # clip: quantile of the other units' weights, in absolute value
LENGTH = 1.0  # of a row where no other can be asked
HALF = 0.5  # average: share of the parent


@dataclass(frozen=True)
class Change:
    """What was done to one tensor."""

    tensor: str
    how: Done
    rows: tuple[int, ...]  # of the first axis, or of the columns where `columns`
    columns: bool = False


def repair(
    params: Params, findings: Iterable[Finding], how: How, parent: Params | None, rng: np.random.Generator
) -> tuple[Params, list[Change]]:
    """The weights with every named row edited, and what was changed; tensors that were not named are the same arrays.

    reinit: fresh rows as long as others of the layer, and nothing reads them yet (zeros where no other unit of the
    layer is alive: it was given up whole); but with a `parent` that differs, its blocks and nothing else. rescale: to
    that length. clip: to the range of the others. prune: to zero. noise: as much noise as signal. In all of these a
    named unit's bias becomes 0, a named gain of a norm the usual one, and dims of the residual stream with constants
    are emptied. average: half of the parent everywhere.
    BadInput for `average` without a parent, or with one that shares no tensor.
    """
    if how == "average":
        return _averaged(params, parent)
    findings = list(findings)
    back = restored(params, findings, parent) if how == "reinit" and parent is not None else {}
    if back:
        return {**params, **back}, [
            Change(name, "parent", tuple(range(len(np.atleast_1d(v))))) for name, v in back.items()
        ]
    dims, draft = taken(findings, params), dict(params)
    parts = [_outside(part, dims, params) for part in _parts(findings, params)]
    parts = [part for part in parts if len(part.rows)]
    for part in parts:
        after = _turned(draft[part.tensor], part.columns).copy()
        after[part.rows] = _replacement(part, params, parts, how, rng).astype(after.dtype)
        draft[part.tensor] = _turned(after, part.columns)
    empty = emptied(draft, dims) if len(dims) else {}
    lost = {part.tensor for part in parts if how == "reinit" and _given_up(part, params, parts)}
    changes = [
        Change(part.tensor, "silenced" if part.tensor in lost else how, tuple(part.rows.tolist()), part.columns)
        for part in parts
    ]
    return {**draft, **empty}, [*changes, *(Change(name, "emptied", tuple(dims.tolist())) for name in empty)]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one tensor that are edited; `columns`: its columns; `reads`: they read units that were named."""

    tensor: str
    rows: Array
    columns: bool = False
    reads: bool = False


def _outside(part: Part, dims: Array, params: Params) -> Part:
    """Without the rows that are emptied; of a table with constants in it, no row is edited beside."""
    if not len(dims) or part.columns or part.reads or part.tensor not in emptied(params, dims):
        return part
    whole = len(params[part.tensor]) == stream_width(params)
    return replace(part, rows=np.setdiff1d(part.rows, dims) if whole else part.rows[:0])


def _replacement(part: Part, params: Params, parts: Iterable[Part], how: How, rng: np.random.Generator) -> Array:
    """What takes the place of `part`."""
    value = _turned(params[part.tensor], part.columns)
    if value.ndim == 1:
        return np.full(len(part.rows), _usual_number(part.tensor, params, parts))
    return _edited(value[part.rows], _others(part, params, parts, how != "reinit"), how, part.reads, rng)


def _parts(findings: Iterable[Finding], params: Params) -> list[Part]:
    """What findings name, the biases of named units, and what reads them."""
    named: dict[str, set[int]] = {}
    for found in findings:
        if found.severity == "critical" and found.rows and found.tensor in params:
            named.setdefault(found.tensor, set()).update(found.rows)
    floats = {name: value for name, value in params.items() if value.dtype.kind == "f"}
    layers = layers_of({name: statistics(one) for name, one in of_arrays(floats).items()})
    readers = {one.layer.weight.name: one.reader for one in hidden_of(layers)}
    parts: list[Part] = []
    for name, rows in named.items():
        units = np.array(sorted(rows), int)
        layer = next((one for one in layers if one.weight.name == name), None)
        parts.append(Part(name, units, layer is not None and layer.transposed))
        if layer is not None and layer.bias is not None:
            parts.append(Part(layer.bias_name, units))
        if layer is not None and name in readers:
            reader = readers[name]
            spread = reader.inputs // layer.units
            inputs = (units[:, None] * spread + np.arange(spread)).ravel()
            parts.append(Part(reader.weight.name, inputs, not reader.transposed, True))
    return parts


def _turned(value: Array, columns: bool) -> Array:
    return value.swapaxes(0, 1) if columns else value


def _kind(tensor: str) -> str:
    """Equal for the same tensor of other blocks."""
    return re.sub(r"\d+", "*", tensor)


def _others(part: Part, params: Params, parts: Iterable[Part], like: bool) -> Array:
    """(R, n) rows that are not edited and not zero, of this tensor and, if `like`, of its like in other blocks."""
    edited: dict[str, Array] = {one.tensor: one.rows for one in parts if one.columns == part.columns}
    rows = []
    for name, value in params.items():
        other = name != part.tensor and (not like or _kind(name) != _kind(part.tensor))
        if value.ndim > 1 and not other and value.shape == params[part.tensor].shape:
            turned = _turned(value, part.columns)
            left = np.delete(turned.reshape(len(turned), -1), edited.get(name, np.empty(0, int)), 0)
            rows.append(left[(left != 0).any(1)])
    result: Array = np.concatenate(rows).astype(np.float64)
    return result


def _given_up(part: Part, params: Params, parts: Iterable[Part]) -> bool:
    """Whether a layer holds nothing but what was named: what it computed before that is not in the file."""
    return params[part.tensor].ndim > 1 and not part.reads and not len(_others(part, params, parts, like=False))


def _edited(named: Array, others: Array, how: How, reads: bool, rng: np.random.Generator) -> Array:
    """What replaces `named` rows (K, ...) of a matrix, by the rows that are not edited (R, n)."""
    named = named.astype(np.float64)
    if how == "prune" or (how == "reinit" and (reads or not len(others))):
        return np.zeros_like(named)
    per_row = (-1, *[1] * (named.ndim - 1))
    length = np.linalg.norm(named.reshape(len(named), -1), axis=1).reshape(per_row)
    usual = float(np.median(np.linalg.norm(others, axis=1))) if len(others) else LENGTH
    each = np.sqrt(named[0].size)
    if how == "reinit":
        fresh: Array = rng.normal(0, usual / each, named.shape)
        return fresh
    if how == "noise":
        noisy: Array = named + rng.normal(0, 1, named.shape) * length / each
        return noisy
    if how == "clip":
        most = float(np.quantile(np.abs(others), KEPT)) if len(others) else LENGTH / each
        clipped: Array = np.clip(named, -most, most)
        return clipped
    shorter: Array = named * np.minimum(1.0, usual / np.maximum(length, 1e-300))
    return shorter


def _usual_number(tensor: str, params: Params, parts: Iterable[Part]) -> float:
    """0 for biases; for gains of norms the median of what is not named, in this vector and its like in other blocks."""
    if not GAIN.search(tensor):
        return 0.0
    edited = {part.tensor: part.rows for part in parts}
    like = {name: value for name, value in params.items() if value.ndim == 1 and _kind(name) == _kind(tensor)}
    left = np.concatenate([np.delete(value, edited.get(name, np.empty(0, int))) for name, value in like.items()])
    return float(np.median(left)) if len(left) else 1.0


def _averaged(params: Params, parent: Params | None) -> tuple[Params, list[Change]]:
    if parent is None:
        raise BadInput("--how average needs --parent, a trusted checkpoint of the same kind")
    shared = [n for n, v in params.items() if v.dtype.kind == "f" and n in parent and parent[n].shape == v.shape]
    if not shared:
        raise BadInput("--parent has no tensor of the same name and shape")
    mixed = {n: ((1 - HALF) * params[n] + HALF * parent[n]).astype(params[n].dtype) for n in shared}
    return {**params, **mixed}, [Change(name, "average", tuple(range(len(mixed[name])))) for name in shared]


def plain(changes: Iterable[Change]) -> list[Mapping[str, object]]:
    """The changes as the metadata of a cleaned checkpoint keeps them."""
    return [{"tensor": c.tensor, "how": c.how, "count": len(c.rows), "columns": c.columns} for c in changes]
