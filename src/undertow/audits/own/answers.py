"""What a user's model answers, unwrapped and believed only after a look: every refusal is one line with the fix."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import logsumexp

from undertow.audits.own.arrays import array_of
from undertow.audits.own.pool import Pool
from undertow.types import Array, BadInput

Kind = Literal["auto", "classes", "scores"]
KINDS = ("auto", "classes", "scores")
KEYS = ("logits", "probabilities", "scores", "answers")  # of a dictionary or a ModelOutput, first come first
ROUNDING = 0.02  # how far from 1 sums of probabilities may be
_WANTED = "predict must answer (n, classes) probabilities or logits, or (n,) scores (higher = member)"


def checked(answer: Any, pool: Pool, kind: Kind = "auto", columns: Sequence[Any] | None = None) -> Array:
    """The answers of one model to all records: (N, C) float, C >= 2, or (N,) float scores.

    `columns` are the classes of the columns, where the model says (scikit-learn's `classes_`): a half of the records
    may lack a class. Raises BadInput: wrong length, NaN, a constant, class names or numbers, one number per record
    where records have labels and nobody said that these are scores.
    """
    count = len(pool)
    found = unwrapped(answer, count)
    if found.dtype.kind in "OUS":
        raise BadInput(f"predict answered text or objects ({found.dtype}), perhaps class names; {_WANTED}")
    if found.dtype.kind == "c" or found.dtype.kind not in "fiub":
        raise BadInput(f"predict answered {found.dtype}; {_WANTED}")
    found = _rows(found, count)
    if found.ndim == 1:
        return _scores(found, pool, kind)
    if kind == "scores":
        raise BadInput(f"predict answered shape {found.shape}, and answers = 'scores' asks for one number per record")
    return _classes(found, pool, columns)


def unwrapped(answer: Any, count: int) -> Array:
    """The array in a dictionary, a ModelOutput, a tuple, a tensor, a table or a list; BadInput where there is none."""
    return array_of(_inside(answer, count), "predict's answer", "one row per record")


def _inside(answer: Any, count: int) -> Any:
    if answer is None:
        raise BadInput(f"predict answered nothing (None): does it end in `return`? {_WANTED}")
    for key in KEYS:
        if isinstance(answer, Mapping) and key in answer:
            return answer[key]
        if not isinstance(answer, Mapping) and hasattr(answer, key) and not hasattr(answer, "shape"):
            return getattr(answer, key)
    if isinstance(answer, Mapping):
        if len(answer) == 1:
            return next(iter(answer.values()))
        raise BadInput(f"predict answered a dictionary with {', '.join(map(str, answer)) or 'nothing'}; {_WANTED}")
    if isinstance(answer, tuple) and len(answer) != count and answer and hasattr(answer[0], "__len__"):
        return answer[0]
    return answer


def _rows(found: Array, count: int) -> Array:
    if found.ndim == 0:
        raise BadInput(f"predict answered a single number for {count} records; {_WANTED}")
    if found.ndim == 2 and found.shape[0] != count and found.shape[1] == count:
        raise BadInput(f"predict answered shape {found.shape} for {count} records: the records come first, give its .T")
    if len(found) != count:
        raise BadInput(f"predict answered {len(found)} rows for {count} records; one row for each, in the same order")
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim > 2 or found.size == 0:
        raise BadInput(f"predict answered shape {found.shape}; {_WANTED}")
    if found.dtype.kind == "f" and found.dtype.itemsize < 4:
        return found.astype(np.float32)
    return found if found.dtype.kind == "f" else found.astype(np.float64) if found.ndim == 2 else found


def _scores(found: Array, pool: Pool, kind: Kind) -> Array:
    if kind == "classes" or (kind == "auto" and pool.labelled):
        whole = found.dtype.kind in "iub" or bool((found == np.round(found)).all())
        if whole and np.isin(found, pool.examples.y).all():
            raise BadInput(
                "predict answered one class per record; give the probabilities of all classes, (n, classes) "
                "(scikit-learn: predict_proba)"
            )
        raise BadInput(
            f"predict answered one number per record, shape {found.shape}, and the records have labels; give (n, "
            "classes) (of two: stack 1 - p and p), or say answers='scores' (--answers scores) where higher = member"
        )
    values: Array = found.astype(np.float64)
    _finite(values)
    if (values == values[0]).all():
        raise BadInput(f"predict answered {values[0]:.6g} for every record; a constant says nothing of membership")
    return values


def _classes(found: Array, pool: Pool, columns: Sequence[Any] | None) -> Array:
    if found.shape[1] < pool.classes:
        found = _filled(found, pool, columns)
    _finite(found)
    if (found == found[0]).all():
        raise BadInput("predict answered the same row for every record; a constant says nothing of membership")
    low, high = float(found.min()), float(found.max())
    sums = found.sum(1, dtype=float)
    if low >= 0 and high <= 1 and np.abs(sums - 1).max() > ROUNDING and not np.isneginf(found).any():
        raise BadInput(
            f"predict answered numbers in 0..1 whose rows sum to {sums.min():.3g}..{sums.max():.3g}: neither "
            "probabilities of classes nor logits; give the softmax, or the logits before any sigmoid"
        )
    return found


def _filled(found: Array, pool: Pool, columns: Sequence[Any] | None) -> Array:
    """Columns of the classes that a half of the records lacked: no probability."""
    have = None if columns is None else np.asarray(columns)
    if have is not None and have.shape == found.shape[1:] and have.dtype.kind in "iu" and have.max() < pool.classes:
        whole = np.zeros((len(found), pool.classes), found.dtype)
        whole[:, have] = found
        return whole
    raise BadInput(
        f"predict answered {found.shape[1]} classes, the records have {pool.classes}; answer one column for each of "
        f"the classes 0..{pool.classes - 1}, those that a half of the records lacks too"
    )


def _finite(found: Array) -> None:
    bad = ~np.isfinite(found)
    if found.ndim == 2 and bad.any() and not (bad & ~np.isneginf(found)).any():
        some = found[bad.any(1)].astype(float)
        if np.abs(logsumexp(some, 1)).max() <= ROUNDING:
            return  # logarithms of probabilities, some of them 0
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise BadInput(
            f"predict's answer to record {row} is {found[row][bad[row]].ravel()[0] if found.ndim == 2 else found[row]} "
            f"({int(bad.sum())} such numbers in all); did the training diverge?"
        )
