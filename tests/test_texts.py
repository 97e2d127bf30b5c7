"""Token ids: where a text ends, what follows each token, and views that end earlier."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from undertow.rng import stream
from undertow.texts import PAD, end_earlier, is_text, lengths, next_tokens, token_counts, views
from undertow.types import IGNORED

ROWS = st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=6), min_size=1, max_size=5)


def padded(rows, width=7):
    ids = np.full((len(rows), width), PAD)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids


def text(row):
    """A row as the list it came from."""
    return [int(i) for i in row[: int(lengths(row[None])[0])]]


@given(ROWS)
def test_next_tokens_are_those_of_a_slow_loop(rows):
    targets = next_tokens(padded(rows))
    for tokens, found in zip(rows, targets, strict=True):
        assert found.tolist() == tokens[1:] + [IGNORED] * (7 - len(tokens) + 1)


def test_the_token_after_a_row_is_its_last_target():
    ids = np.array([[5, 7, 9], [5, 7, 9], [5, 0, 0]])
    assert next_tokens(ids, np.array([4, PAD, PAD])).tolist() == [[7, 9, 4], [7, 9, IGNORED], [IGNORED] * 3]


@given(ROWS, st.integers(0, 8))
def test_a_text_that_ends_earlier_is_its_own_beginning(rows, offset):
    ids = padded(rows)
    for tokens, moved in zip(rows, end_earlier(ids, np.full(len(ids), offset)), strict=True):
        assert text(moved) == tokens[: max(len(tokens) - offset, 2)]  # two tokens are left, so one can be predicted
        assert not moved[len(text(moved)) :].any()


def test_views_are_the_same_again_and_the_first_is_the_text():
    ids = padded([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]] * 10)
    a, b = (views(ids, 4, 3, stream(0, "views")) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a[:, 0], ids)
    lost = {6 - int(n) for n in lengths(a[:, 1:]).ravel()}
    assert lost == {0, 1, 2, 3}
    np.testing.assert_array_equal(views(ids, 4, 0, stream(0, "views")), np.repeat(ids[:, None], 4, 1))


@given(ROWS)
def test_token_counts_are_those_of_a_slow_loop(rows):
    counts = token_counts(padded(rows), 10)
    for tokens, found in zip(rows, counts, strict=True):
        assert found.tolist() == [tokens.count(token) if token else 0 for token in range(10)]


def test_ids_are_texts_and_measurements_are_not():
    assert is_text(np.zeros((2, 3), np.int64))
    assert not is_text(np.zeros((2, 3), np.float32))
