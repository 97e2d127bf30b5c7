"""Where canaries stand in rows of token ids. NumPy."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from undertow.types import Array

_PIECE = 4  # tokens of a canary's head or tail by which a cut or altered one is recognised


class Matcher:
    """Finds whole sequences in a row by a hash of every window, verified token by token."""

    def __init__(self, sequences: Array) -> None:
        self.sequences = np.asarray(sequences, np.int64)  # (m, L)
        odd = np.arange(1, 2 * self.sequences.shape[1], 2, dtype=np.uint64)
        self._weights = odd * np.uint64(0x9E3779B97F4A7C15) + np.uint64(2)
        self._weights = self._weights | np.uint64(1)
        hashes = (self.sequences.astype(np.uint64) * self._weights).sum(1, dtype=np.uint64)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, row: Array) -> list[tuple[int, int]]:
        """(index, offset) of every occurrence in `row` (S,)."""
        length = self.sequences.shape[1]
        if row.size < length:
            return []
        windows = sliding_window_view(np.asarray(row, np.int64), length)
        hashes = (windows.astype(np.uint64) * self._weights).sum(1, dtype=np.uint64)
        left = np.searchsorted(self._hashes, hashes, "left")
        right = np.searchsorted(self._hashes, hashes, "right")
        found = []
        for at in np.flatnonzero(right > left):
            for i in self._order[left[at] : right[at]]:
                if (windows[at] == self.sequences[i]).all():
                    found.append((int(i), int(at)))
        return found


class CanaryMatcher:
    """Whole canaries, and pieces of them: the first or last few tokens, as truncation or packing leave them."""

    def __init__(self, tokens: Array) -> None:
        piece = min(_PIECE, tokens.shape[1])
        self.whole = Matcher(tokens)
        self._pieces = (Matcher(tokens[:, :piece]), Matcher(tokens[:, -piece:]))

    def pieces(self, row: Array) -> set[int]:
        """Canaries of which the head or the tail is in `row` (S,)."""
        return {i for matcher in self._pieces for i, _ in matcher.find(row)}


def rows_of(ids: object) -> Sequence[Array]:
    """Rows of a batch's `input_ids`: a tensor or array (B, S) or (S,), or lists."""
    if hasattr(ids, "detach"):
        ids = ids.detach().cpu().numpy()
    if isinstance(ids, np.ndarray):
        return list(np.atleast_2d(ids))
    if isinstance(ids, (list, tuple)) and ids and not hasattr(ids[0], "__len__"):
        return [np.asarray(ids)]
    return [np.asarray(row) for row in ids]  # type: ignore[attr-defined]
