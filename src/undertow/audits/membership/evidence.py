"""Signals brought from anywhere: believed only after a look at types, shapes, numbers and labels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from undertow.types import Array, BadInput, Evidence


@dataclass(frozen=True, eq=False)
class SignalSet:
    """What a signals file holds, before it is believed."""

    name: str
    sha256: str
    arrays: Mapping[str, Array]
    ids: tuple[str, ...] | None = None


def check_evidence(signals: SignalSet) -> Evidence:
    """Believe the arrays, or say what is wrong with which: type, shape, NaN, label range, emptiness."""
    arrays = {k: v for k, v in signals.arrays.items() if k != "target"}
    member = arrays.get("member")
    if member is None:
        raise BadInput(f"{signals.name}: key 'member' is missing; it is bool (M models, N examples)")
    if member.ndim != 2 or member.size == 0:
        raise BadInput(f"{signals.name}: member has shape {member.shape}; it must be (M, N), neither 0")
    if member.dtype != bool:
        raise BadInput(f"{signals.name}: member is {member.dtype}, not bool; save it as member.astype(bool)")
    if member.all() or not member.any():
        raise BadInput(f"{signals.name}: every entry of member is {bool(member.flat[0])}; both classes are needed")
    for key in ("values", "pretrained_values", "logits", "pretrained_logits"):
        if key in arrays:
            arrays[key] = _check_numbers(signals.name, key, arrays[key], member.shape)
    for key in ("labels", "pretrained_labels"):
        if key in arrays:
            _check_labels(signals.name, key, arrays, member.shape[1])
    if "features" in arrays:
        flat = arrays["features"].reshape(len(arrays["features"]), -1)
        arrays["features"] = _check_numbers(signals.name, "features", flat[None], (1, member.shape[1]))[0]
    if signals.ids is not None and len(signals.ids) != member.shape[1]:
        raise BadInput(f"{signals.name}: id names {len(signals.ids)} examples, member has {member.shape[1]}")
    return Evidence(**({k: v for k, v in arrays.items() if k != "group"} | ({"groups": arrays["group"]} if "group" in arrays else {})))


def _check_numbers(name: str, key: str, values: Array, shape: tuple[int, ...]) -> Array:
    if values.dtype.kind not in "fiu":
        raise BadInput(f"{name}: {key} holds {values.dtype}; it must be numbers")
    if values.shape[:2] != shape:
        raise BadInput(f"{name}: {key} has shape {values.shape}, member {shape}; the first two axes must agree")
    if key.endswith("logits"):
        if values.ndim not in (3, 4) or values.shape[-1] < 2:
            raise BadInput(f"{name}: {key} has shape {values.shape}; it must be (M, N, C) or (M, N, views, C), C >= 2")
        values = values if values.ndim == 4 else values[:, :, None]
    elif key.endswith("values") and values.ndim != 2:
        raise BadInput(f"{name}: {key} has shape {values.shape}; it must be (M, N)")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        m, q = bad[0][:2]
        raise BadInput(f"{name}: {key} of model {m}, example {q} is {values[tuple(bad[0])]} ({len(bad)} such in all)")
    return values


def _check_labels(name: str, key: str, arrays: Mapping[str, Array], count: int) -> None:
    labels, logits = arrays[key], arrays.get("pretrained_logits" if key.startswith("pre") else "logits")
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise BadInput(f"{name}: {key} is {labels.dtype} {labels.shape}; it must be whole numbers ({count},)")
    top = int(labels.max()) if logits is None else logits.shape[-1] - 1
    bad = np.flatnonzero((labels < 0) | (labels > top))
    if len(bad):
        raise BadInput(f"{name}: {key} of example {bad[0]} is {labels[bad[0]]}; the logits have classes 0..{top}")


def without_duplicates(signals: SignalSet, drop: bool) -> tuple[SignalSet, tuple[str, ...]]:
    """Examples with bit-identical logits under every model, on both sides of the boundary.

    Only the outputs are at hand, so this is a suspicion, reported; `drop` removes the later ones.
    """
    logits, member = signals.arrays.get("logits"), signals.arrays.get("member")
    if logits is None or member is None or logits.ndim < 3 or logits.shape[:2] != member.shape:
        return signals, ()
    first: dict[bytes, int] = {}
    bad = []
    for q in range(member.shape[1]):
        other = first.setdefault(np.ascontiguousarray(logits[:, q]).tobytes(), q)
        if other != q and (member[:, q] != member[:, other]).any():
            bad.append(q)
    if not bad or len(first) == 1:  # a constant model is no sign of duplicates
        return signals, ()
    said = f"{len(bad)} examples have exactly the outputs of another one with different membership (first: {bad[0]})"
    if not drop:
        return signals, (f"{said}: probably duplicates across the member boundary; --drop-duplicates removes them",)
    keep = np.setdiff1d(np.arange(member.shape[1]), bad)
    arrays = {k: _take(k, v, keep) for k, v in signals.arrays.items()}
    ids = signals.ids or tuple(str(i) for i in range(member.shape[1]))
    return replace(signals, arrays=arrays, ids=tuple(ids[i] for i in keep)), (f"{said}: removed",)


def _take(key: str, values: Array, keep: Array) -> Array:
    if key == "target":
        return values
    return values[keep] if key in ("labels", "pretrained_labels", "features") else values[:, keep]
