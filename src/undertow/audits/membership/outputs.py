"""Outputs of models as a file may hold them (logits or probabilities, with or without axes) made logits and labels."""

from collections.abc import Mapping

import numpy as np
from scipy.special import logsumexp

from undertow.audits.membership.precision import lost_order
from undertow.signals import at_label, label_confidence, scaled_logits
from undertow.types import Array, BadInput

ROUNDING = 0.02  # how far from 1 sums of rows may be to be taken for probabilities: float16 and two decimals are
CLIPPED = 0.1  # the same where the file says that they are probabilities: rounded in many classes, or clipped


def numbers(name: str, key: str, values: Array, minus_infinity: bool = False) -> Array:
    """`values` (M, N, ...) as finite floats (whole numbers stay); BadInput names the first entry that is not."""
    if values.dtype.kind not in "fiu":
        raise BadInput(f"{name}: {key} holds {values.dtype}; it must be numbers")
    bad = ~np.isfinite(values)
    if minus_infinity:
        bad &= ~np.isneginf(values)
    if bad.any():
        first = np.argwhere(bad)[0]
        place = f"model {first[0]}, record {first[1]}" if len(values) > 1 else f"record {first[1]}"
        raise BadInput(
            f"{name}: {key} of {place} is {values[tuple(first)]} ({int(bad.sum())} such in all); "
            "mend it, or leave its record out of the file"
        )
    return values.astype(np.float32) if values.dtype == np.float16 else values


def aligned(name: str, key: str, values: Array, shape: tuple[int, ...]) -> Array:
    """`values` (M, N, ...), the models' axis added where there is one model; BadInput says how shapes differ."""
    models, count = shape
    scalar = key.endswith("values")
    if values.shape[:2] != shape and models == 1 and values.shape[:1] == (count,):
        values = values[None]
    if scalar and values.shape == (*shape, 1):
        values = values[..., 0]
    if values.shape[:2] != shape:
        fix = "the first two axes must agree"
        if values.shape[:2] == shape[::-1]:
            fix = f"its axes are swapped: save np.swapaxes({key}, 0, 1)"
        elif models > 1 and values.shape[:1] == (count,):
            fix = f"{fix}: the axis of the {models} models comes first"
        elif models == 1:
            swapped = values.ndim > 1 and values.shape[-1] == count
            fix = f"the axis of the {count} records comes first{f': save {key}.T' if swapped else ''}"
        of = shape if models > 1 else shape[1:]
        raise BadInput(f"{name}: {key} has shape {values.shape}, member {of}; {fix}")
    if scalar and values.ndim != 2:
        raise BadInput(
            f"{name}: {key} has shape {values.shape}; it must be one number per model and record, {shape}; outputs of "
            "several classes are `logits` or `probabilities`"
        )
    return values


def outputs(
    name: str, stage: str, arrays: Mapping[str, Array], shape: tuple[int, ...], told: list[str]
) -> dict[str, Array]:
    """The logits (M, N, A, C) and labels (N,) of one `stage` ("" or "pretrained_"), those of them that are there."""
    key, labels = f"{stage}logits", arrays.get(f"{stage}labels")
    given = arrays.get(key)
    if given is None:
        key = f"{stage}probabilities"
        given = arrays.get(key)
    elif f"{stage}probabilities" in arrays:
        told.append(f"`{stage}probabilities` were not used, as `{key}` hold more")
    if given is None:
        return {} if labels is None else {f"{stage}labels": _whole(name, f"{stage}labels", labels)}
    z = _per_view(name, key, aligned(name, key, given, shape), labels, told)
    found = {}
    if labels is not None:
        labels = found[f"{stage}labels"] = _classes(name, f"{stage}labels", labels, z.shape[-1], told)
    logits, ends = _as_logits(name, key, z, labels, told)
    found[f"{stage}logits"] = logits
    sure = scaled_logits(logits).max(-1).mean(2) if labels is None else label_confidence(logits, labels)
    told.extend(lost_order(key, sure, given, ends))
    if labels is not None:
        _check_accuracy(key, logits, labels, told)
    return found


def _per_view(name: str, key: str, values: Array, labels: Array | None, told: list[str]) -> Array:
    """Outputs as (M, N, A, C), C >= 2; one logit of two classes becomes (0, z)."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim not in (3, 4) or 0 in values.shape:
        raise BadInput(f"{name}: {key} has shape {values.shape}; it must be (M, N, C) or (M, N, views, C), C >= 2")
    values = values if values.ndim == 4 else values[:, :, None]
    if values.shape[-1] > 1:
        return values
    if key.endswith("probabilities"):
        raise BadInput(
            f"{name}: {key} hold one number per record, shape {values.shape}; give all classes, or the label's as "
            "values=np.log(p / (1 - p))"
        )
    if labels is None or not np.isin(_whole(name, "labels", labels), (0, 1)).all():
        raise BadInput(
            f"{name}: {key} hold one number per record; C >= 2 classes can be made of it only with labels 0 and 1 "
            "(the logit of class 1); else give one column per class, or the signal as `values`"
        )
    told.append(f"`{key}` hold one number per record: read as the logit of class 1 of two classes")
    return np.concatenate([np.zeros_like(values), values], -1)


def _as_logits(name: str, key: str, values: Array, labels: Array | None, told: list[str]) -> tuple[Array, Array | None]:
    """Logits (M, N, A, C), and True (M, N) where the label's probability lies at an end of its scale, if any does."""
    given = key.endswith("probabilities")
    values = numbers(name, key, values, minus_infinity=not given)
    if given or _are_probabilities(values):
        _check_probabilities(name, key, values)
        if not given:
            told.append(f"`{key}` are probabilities (every row is in 0..1 and sums to 1): their logarithms were used")
        with np.errstate(divide="ignore"):
            values = np.log(values.astype(float))
    elif values.max() > ROUNDING or np.abs(logsumexp(values.astype(float), -1)).max() > ROUNDING:
        if np.isneginf(values).any():
            m, q = np.argwhere(np.isneginf(values))[0][:2]
            raise BadInput(
                f"{name}: {key} of model {m}, record {q} is -inf ({int(np.isneginf(values).sum())} such in all); only "
                "logarithms of probabilities may be; save the logits before any mask"
            )
        return values, None
    logits, least = _floored(key, values, told)
    return logits, _ends(least, labels) if least.any() else None


def _are_probabilities(z: Array) -> bool:
    if z.min() < 0 or z.max() > 1 + ROUNDING:
        return False
    return bool(np.abs(z.sum(-1, dtype=float) - 1).max() <= ROUNDING)


def _check_probabilities(name: str, key: str, p: Array) -> None:
    sums = p.sum(-1, dtype=float)
    low, high = float(p.min()), float(p.max())
    if low < 0 or high > 1 + ROUNDING:
        as_logits = f"give them as {key.replace('probabilities', 'logits')}"
        percent = low >= 0 and np.abs(sums - 100).max() <= 100 * CLIPPED
        hint = "they are percent: divide by 100" if percent else f"if they are logits or log-probabilities, {as_logits}"
        raise BadInput(f"{name}: {key} run from {low:.4g} to {high:.4g}, not within 0..1; {hint}")
    if np.abs(sums - 1).max() > CLIPPED:
        raise BadInput(
            f"{name}: rows of {key} sum to {sums.min():.4g}..{sums.max():.4g}, not 1; give the softmax over all "
            "classes, or one signal per record as `values`"
        )


def _floored(key: str, z: Array, told: list[str]) -> tuple[Array, Array]:
    """Log-probabilities with each zero at the smallest positive one of its class (else of all), and what is smallest.

    What an encoding can tell from 0 differs: 1e-45 in float32 softmax, 1e-16 in 1 - p, 0.01 in the votes of 100
    trees. The smallest that was seen is of that size; the smallest of the data type would make outliers of votes.
    """
    zero = np.isneginf(z)
    if not zero.any():
        return z, z == z.min()
    told.append(
        f"`{key}`: {100 * float(zero.mean()):.2g}% of the probabilities are exactly 0; each was read as the smallest "
        "positive probability of its class in the file"
    )
    seen = np.where(zero, np.inf, z).min(axis=tuple(range(z.ndim - 1)))  # (C,)
    seen = np.where(np.isfinite(seen), seen, seen.min())
    floored = np.where(zero, seen, z)
    return floored, floored == seen


def _ends(least: Array, labels: Array | None) -> Array:
    """True (M, N) where, in some view, the label has the least probability there is, or all others have.

    Where no label is known, that of the surest class counts.
    """
    ends: Array = (least.sum(-1) == least.shape[-1] - 1).any(2)
    if labels is not None:
        ends |= at_label(least, labels).any(2)
    return ends


def whole_floats(values: Array) -> bool:
    """Whether `values` are floats that are all whole numbers."""
    with np.errstate(invalid="ignore"):
        return values.dtype.kind == "f" and bool((np.mod(values, 1) == 0).all())


def _whole(name: str, key: str, labels: Array) -> Array:
    """Labels as whole numbers; text that is not whole numbers is numbered in sorted order."""
    if labels.dtype.kind in "US":
        words = np.char.decode(labels, "latin1") if labels.dtype.kind == "S" else labels
        try:
            return words.astype(int)
        except ValueError:
            return np.unique(words, return_inverse=True)[1].astype(int)
    if labels.dtype == bool or whole_floats(labels):
        return labels.astype(int)
    if labels.dtype.kind not in "iu":
        raise BadInput(f"{name}: {key} holds {labels.dtype}; it must be whole numbers, one class per record")
    return labels


def _classes(name: str, key: str, labels: Array, classes: int, told: list[str]) -> Array:
    """Labels 0..C-1 of C columns; BadInput where they number something else."""
    whole = _whole(name, key, labels)
    if labels.dtype.kind in "US" and not np.array_equal(whole.astype(str), labels.astype(str)):
        words = np.unique(labels.astype(str))
        if len(words) != classes:
            raise BadInput(
                f"{name}: {key} are text with {len(words)} different values, the outputs have {classes} classes, so "
                f"which is which is not known; save numbers 0..{classes - 1}, the columns of the outputs"
            )
        mapping = ", ".join(f"{word} = {i}" for i, word in enumerate(words[:6])) + (", ..." if classes > 6 else "")
        told.append(f"`{key}` are text: numbered in sorted order as the columns of the outputs ({mapping})")
    low, top = int(whole.min()), int(whole.max())
    if low >= 0 and top < classes:
        return whole
    found = f"{name}: {key} run from {low} to {top}, the outputs have classes 0..{classes - 1}"
    if (low, top) == (1, classes):
        raise BadInput(f"{found}; subtract 1 from the labels")
    row = int(np.flatnonzero((whole < 0) | (whole >= classes))[0])
    raise BadInput(f"{found}; the first is {whole[row]}, of record {row}: save the column of each record's class")


def _check_accuracy(key: str, logits: Array, labels: Array, told: list[str]) -> None:
    """A model that is right less than half as often as guessing was given labels of another order."""
    right = float((logits.mean(2).argmax(-1) == labels).mean())
    if right < 0.5 / logits.shape[-1] and labels.size * len(logits) >= 20 * logits.shape[-1]:
        told.append(
            f"the label has the largest of the `{key}` for only {100 * right:.1f}% of the (model, record) pairs, less "
            f"than guessing among {logits.shape[-1]} classes: check that labels number the columns"
        )
