"""ROUGE-L against the definition, written slowly."""

from itertools import combinations

import pytest

from undertow.rng import stream
from undertow.traps.text.rouge import common, rouge_l


def slow_common(one, other):
    """The longest of all subsequences of `one` that is one of `other`."""
    subsequences = {tuple(c) for n in range(len(other) + 1) for c in combinations(other, n)}
    return max(n for n in range(len(one) + 1) for c in combinations(one, n) if c in subsequences)


@pytest.mark.parametrize("seed", range(12))
def test_the_longest_common_subsequence(seed):
    rng = stream(seed, "rouge")
    one, other = (rng.integers(0, 4, rng.integers(0, 8)).tolist() for _ in range(2))
    assert common(one, other) == slow_common(one, other) == common(other, one)


def test_the_example_of_the_paper():
    """Lin 2004, section 3.1: "police killed the gunman" against two candidates."""
    police, killed, the, gunman, kill = range(5)
    truth = [police, killed, the, gunman]
    assert rouge_l([police, kill, the, gunman], truth) == 0.75
    assert rouge_l([the, gunman, kill, police], truth) == 0.5


def test_its_ends():
    assert rouge_l([1, 2, 3], [1, 2, 3]) == 1.0
    assert rouge_l([4, 5], [1, 2, 3]) == rouge_l([], []) == 0.0
