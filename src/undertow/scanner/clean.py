"""Neutralise what a scan named: edits of weights, in NumPy. What was not named is not touched.

A named unit is edited whole: its weights, its bias, and the weights of the layer that reads it. What takes their place
comes from the same layer's other units, or from a trusted parent. Architecture, names, shapes and dtypes stay.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from undertow.scanner.findings import Finding
from undertow.scanner.layers import Hidden, hidden_of, layers_of
from undertow.scanner.statistics import statistics
from undertow.scanner.tensors import of_arrays
from undertow.types import Array, BadInput, Params

How = Literal["reinit", "rescale", "clip", "prune", "noise", "average"]
KEPT = 0.999  # clip: quantile of the other units' weights, in absolute value
HALF = 0.5  # average: share of the parent


@dataclass(frozen=True)
class Change:
    """What was done to one tensor."""

    tensor: str
    how: How
    rows: tuple[int, ...]  # of the first axis, or of the columns where `columns`
    columns: bool = False


def repair(
    params: Params, findings: Iterable[Finding], how: How, parent: Params | None, rng: np.random.Generator
) -> tuple[Params, list[Change]]:
    """The weights with every named row edited, and what was changed; tensors that were not named are the same arrays.

    reinit: the parent's rows, where there is one, else fresh ones of the size of the layer's other units, not read by
    anybody yet. rescale: to that size. clip: to the range of the other units. prune: to zero. noise: as much noise as
    signal. In all of these a named unit's bias, or a named number of a vector, becomes the median of the others. average: half of the parent everywhere. BadInput for `average` without a parent, or one of another shape.
    """
    if how == "average":
        return _averaged(params, parent)
    draft = dict(params)
    changes: list[Change] = []
    hidden = {f"{one.layer.name}.weight".lstrip("."): one for one in _hidden(params)}
    for name, rows in _named(findings, params).items():
        one = hidden.get(name)
        parts = [(name, rows, one is not None and one.layer.transposed)]
        parts += _beside(one, rows, params) if one is not None else []
        for tensor, units, columns in parts:
            before = params[tensor].swapaxes(0, 1) if columns else params[tensor]
            after = (draft[tensor].swapaxes(0, 1) if columns else draft[tensor]).copy()
            trusted = _rows_of(parent, tensor, params[tensor].shape, columns)
            read = one is not None and tensor.startswith(f"{one.reader.name}." if one.reader else "\0")
            after[units] = _edited(before, units, how, trusted, read, rng).astype(after.dtype)
            draft[tensor] = after.swapaxes(0, 1) if columns else after
            changes.append(Change(tensor, how, tuple(units.tolist()), columns))
    return draft, changes


def _named(findings: Iterable[Finding], params: Params) -> dict[str, Array]:
    """Tensor -> the rows that findings name in it."""
    rows: dict[str, set[int]] = {}
    for found in findings:
        if found.severity == "critical" and found.rows and found.tensor in params:
            rows.setdefault(found.tensor, set()).update(found.rows)
    return {name: np.array(sorted(found), int) for name, found in rows.items()}


def _hidden(params: Params) -> list[Hidden]:
    floats = {name: value for name, value in params.items() if value.dtype.kind == "f"}
    return hidden_of(layers_of({name: statistics(one) for name, one in of_arrays(floats).items()}))


def _beside(one: Hidden, units: Array, params: Params) -> list[tuple[str, Array, bool]]:
    """The bias of named units, and the columns of the layer that reads them: (tensor, indices, whether columns)."""
    parts = [(f"{one.layer.name}.bias", units, False)] if one.layer.bias is not None else []
    if one.reader is None:
        return parts
    name = next(n for n in (f"{one.reader.name}.weight", f"{one.reader.name}.kernel") if n in params)
    spread = one.reader.inputs // one.layer.units
    inputs = (units[:, None] * spread + np.arange(spread)).ravel()
    return [*parts, (name, inputs, not one.reader.transposed)]


def _edited(
    value: Array, rows: Array, how: How, trusted: Array | None, reads: bool, rng: np.random.Generator
) -> Array:
    """What replaces the named rows of `value` (R, ...); `reads`: it is the layer that reads named units."""
    named = value[rows].astype(np.float64)
    others = np.delete(value.astype(np.float64), rows, 0)
    others = others[np.abs(others).reshape(len(others), -1).max(1, initial=0) > 0] if value.ndim > 1 else others
    size = _length(others) if len(others) else np.zeros(1)
    usual = float(np.median(size)) / np.sqrt(max(1, named[0].size))
    if how == "reinit" and trusted is not None:
        return trusted[rows].astype(np.float64)
    if how == "prune" or (how == "reinit" and reads):
        return np.zeros_like(named)
    if value.ndim == 1:
        middle = float(np.median(others)) if len(others) else 0.0
        return np.full_like(named, middle)
    if how == "reinit":
        return rng.normal(0, usual, named.shape)
    if how == "noise":
        own = _length(named) / np.sqrt(max(1, named[0].size))
        return named + rng.normal(0, 1, named.shape) * own.reshape(-1, *[1] * (named.ndim - 1))
    if how == "clip":
        most = float(np.quantile(np.abs(others), KEPT)) if len(others) else 0.0
        return np.clip(named, -most, most)
    scale = np.minimum(1.0, float(np.median(size)) / np.maximum(_length(named), 1e-300))
    return named * scale.reshape(-1, *[1] * (named.ndim - 1))


def _length(rows: Array) -> Array:
    length: Array = np.linalg.norm(rows.reshape(len(rows), -1), axis=1)
    return length


def _rows_of(parent: Params | None, tensor: str, shape: tuple[int, ...], columns: bool) -> Array | None:
    """The parent's tensor, turned as the draft is; None where it has none of this shape."""
    if parent is None or tensor not in parent or parent[tensor].shape != shape:
        return None
    return parent[tensor].swapaxes(0, 1) if columns else parent[tensor]


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
