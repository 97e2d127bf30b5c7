"""Texts as token ids. NumPy only.

A text is one row of int64 ids, cut or padded on the right to one length L; it ends before its first `PAD`.
"""

import numpy as np

from undertow.types import IGNORED, Array

PAD = 0


def is_text(x: Array) -> bool:
    """Whether records are token ids: whole numbers are ids, everything else is measured."""
    return x.dtype.kind in "iu"


def lengths(ids: Array) -> Array:
    """Tokens before the first pad, (...) int, of ids (..., L).

    >>> lengths(np.array([[5, 7, 0], [5, 7, 9]]))
    array([2, 3])
    """
    count: Array = np.cumprod(ids != PAD, -1).sum(-1)
    return count


def next_tokens(ids: Array, after: Array | None = None) -> Array:
    """What follows each place, of the shape of `ids` (..., L); IGNORED where nothing does, and at pads.

    `after` (...) are the tokens that follow whole rows, PAD where the text ends with its row.

    >>> next_tokens(np.array([[5, 7, 0]])), next_tokens(np.array([[5, 7]]), np.array([9]))
    (array([[   7, -100, -100]]), array([[7, 9]]))
    """
    last = np.full(ids.shape[:-1], PAD) if after is None else after
    whole = np.concatenate([ids, last[..., None]], -1)
    place = np.arange(ids.shape[-1])
    return np.where(place + 1 < lengths(whole)[..., None], whole[..., 1:], IGNORED)


def end_earlier(ids: Array, offset: Array) -> Array:
    """The texts (..., L) without their last `offset` (...) tokens; at least 2 tokens stay.

    A causal model says of the tokens that stay exactly what it says of the whole text: no position moves.

    >>> end_earlier(np.array([[5, 7, 9, 3]]), np.array([1]))
    array([[5, 7, 9, 0]])
    """
    size = lengths(ids)
    left = size - np.minimum(offset, np.maximum(size - 2, 0))
    return np.where(np.arange(ids.shape[-1]) < left[..., None], ids, PAD)


def views(ids: Array, count: int, shift: int, rng: np.random.Generator) -> Array:
    """`count` views (Q, A, L) of the texts (Q, L): each ends 0 to `shift` tokens earlier, the first unchanged."""
    offset = rng.integers(0, shift + 1, (len(ids), count))
    offset[:, 0] = 0
    return end_earlier(np.broadcast_to(ids[:, None], (len(ids), count, ids.shape[1])), offset)


def token_counts(ids: Array, vocabulary: int) -> Array:
    """How often each token occurs in each text, (N, vocabulary) float; pads count for nothing.

    >>> token_counts(np.array([[2, 1, 2, 0]]), 4)
    array([[0., 1., 2., 0.]])
    """
    counts = np.zeros((len(ids), vocabulary))
    inside = np.arange(ids.shape[1]) < lengths(ids)[:, None]
    np.add.at(counts, (np.nonzero(inside)[0], ids[inside]), 1)
    return counts
