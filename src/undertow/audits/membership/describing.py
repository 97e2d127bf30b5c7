"""Numbers that describe records without any model: what the blind baseline and the test of distribution shift see."""

import zlib
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from undertow.rng import stream
from undertow.types import Array

WIDE = 1024  # numbers per record, beyond which they are mixed into SKETCH
SKETCH = 256
NARROW = 64  # numbers per record up to which their squares are looked at, too: a shift of the spread
WORDS = 256  # buckets of words, and as many again of letter pairs
CLASSES = 100  # labels up to which each is a number of its own


def describe(x: Any, y: Array | None, seed: int) -> Array | None:
    """Features (N, D) of numbers, images or texts, and which label each has; None where records are something else."""
    found = _of(x, seed)
    if found is None:
        return None
    parts = [found] if y is None else [found, _of_labels(y)]
    return np.concatenate(parts, 1)


def _of(x: Any, seed: int) -> Array | None:
    if isinstance(x, np.ndarray):
        return _numbers(np.asarray(x, float).reshape(len(x), -1), seed)
    if all(isinstance(one, str) for one in x):
        return _texts(x)
    arrays = [np.asarray(one, float).ravel() for one in x if hasattr(one, "shape")]
    if len(arrays) == len(x) and all(len(one) for one in arrays):  # images of several sizes
        return np.array([[one.mean(), one.std(), one.min(), one.max(), np.log(len(one))] for one in arrays])
    return None


def _numbers(flat: Array, seed: int) -> Array:
    own = flat
    if flat.shape[1] > WIDE:
        rng, width = stream(seed, "sketch"), flat.shape[1]
        mixed = csr_matrix((rng.choice([-1.0, 1.0], width), (np.arange(width), rng.integers(SKETCH, size=width))))
        own = np.asarray(flat @ mixed)
    whole = np.stack([flat.mean(1), flat.std(1)], 1)
    squares = [np.square(flat - flat.mean(0))] if flat.shape[1] <= NARROW else []
    return np.concatenate([own, whole, *squares], 1)


def _texts(x: list[str]) -> Array:
    """Buckets of words and of letter pairs (square roots of counts), lengths, and the share of capitals and digits."""
    found = np.zeros((len(x), 2 * WORDS + 4))
    for row, text in zip(found, x, strict=True):
        words = text.lower().split()
        for word in words:
            row[zlib.crc32(word.encode("utf8", "replace")) % WORDS] += 1
        for a, b in pairwise(text):
            row[WORDS + zlib.crc32((a + b).encode("utf8", "replace")) % WORDS] += 1
        row[:-4] = np.sqrt(row[:-4])
        size = max(len(text), 1)
        row[-4:] = (
            np.log1p(len(text)),
            np.log1p(len(words)),
            _share(text, str.isupper, size),
            _share(text, str.isdigit, size),
        )
    return found


def _share(text: str, test: Any, size: int) -> float:
    return float(sum(map(test, text)) / size)


def _of_labels(y: Array) -> Array:
    labels, place = np.unique(y, return_inverse=True)
    if len(labels) > CLASSES:
        return place[:, None].astype(float)
    one_hot: Array = (place[:, None] == np.arange(len(labels))).astype(float)
    return one_hot
