"""Rules over token statistics against slow versions of them, and their null."""

import math
import zlib

import numpy as np
import pytest

from undertow.attacks import language as rules
from undertow.metrics import auc
from undertow.rng import stream
from undertow.token_signals import TokenStatistics, zlib_bytes
from undertow.types import BadInput

VOCABULARY = 11


def _both(seed=0, count=40, longest=14):
    """Two models on the same texts of several lengths, with the statistics of real distributions."""
    rng = stream(seed, "two models")
    size = rng.integers(3, longest + 1, count)
    inside = np.arange(longest) < size[:, None]
    ids = rng.integers(0, VOCABULARY, (count, longest))
    return [_statistics(rng.normal(0, 2, (count, longest, VOCABULARY)), ids, inside) for _ in range(2)]


def _statistics(logits, ids, inside):
    log_all = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    p = np.exp(log_all)
    log_p = np.take_along_axis(log_all, ids[..., None], -1)[..., 0]
    mean = (p * log_all).sum(-1)
    std = np.sqrt((p * (log_all - mean[..., None]) ** 2).sum(-1))
    rank = (log_all > log_p[..., None]).sum(-1)
    scaled = log_p - np.log1p(-np.exp(log_p))
    return TokenStatistics(inside, *(np.where(inside, v, 0) for v in (log_p, scaled, mean, std, rank)))


def _tokens(statistics, q):
    keep = statistics.inside[q]
    return [getattr(statistics, name)[q][keep].tolist() for name in ("log_p", "mean", "std", "rank")]


def test_the_scores_of_one_model():
    seen, _ = _both()
    texts = ["word " * (q + 1) for q in range(len(seen.log_p))]
    found = rules.alone(seen, zlib_bytes(texts))
    for q, text in enumerate(texts):
        log_p, mean, std, _ = _tokens(seen, q)
        few = max(1, math.floor(0.2 * len(log_p)))
        loss = sum(log_p) / len(log_p)
        scaled = [(v - m) / s for v, m, s in zip(log_p, mean, std, strict=True)]
        assert found["loss"][q] == pytest.approx(loss)
        assert found["zlib"][q] == pytest.approx(loss / len(zlib.compress(text.encode())))
        assert found["min-k"][q] == pytest.approx(sum(sorted(log_p)[:few]) / few)
        assert found["min-k++"][q] == pytest.approx(sum(sorted(scaled)[:few]) / few)


def test_the_scores_beside_a_base():
    seen, base = _both(1)
    found = rules.beside(seen, base)
    for q in range(len(seen.log_p)):
        log_p, _, _, rank = _tokens(seen, q)
        gap = [a - b for a, b in zip(log_p, _tokens(base, q)[0], strict=True)]
        assert found["ratio"][q] == pytest.approx(sum(gap) / len(gap))
        wrong = [g for g, r in zip(gap, rank, strict=True) if r > 0]
        up, down = sum(g for g in wrong if g > 0), -sum(g for g in wrong if g < 0)
        expected = up / (up + down) if wrong else 1.0
        assert found["ez"][q] == pytest.approx(expected)
        shares = []
        for window in rules.WINDOWS:
            w = min(window, len(gap))
            votes = [sum(gap[i : i + w]) > 0 for i in range(len(gap) - w + 1)]
            shares.append(sum(votes) / len(votes))
        assert found["wbc"][q] == pytest.approx(sum(shares) / len(shares))


def test_recall_is_higher_where_the_prefix_makes_the_text_less_likely():
    plain, after = np.array([-2.0, -2.0, 0.0]), np.array([-3.0, -1.0, 0.0])
    assert rules.recall(after, plain).tolist() == [1.5, 0.5, 0.0]


def test_halves_hold_both_sides_and_keep_groups_together():
    member = np.arange(60) < 30
    groups = np.arange(60) // 3
    for given in (None, groups):
        half = rules.halves(member, given, 5)
        for side in (member, ~member):
            assert abs((half[side] == 0).sum() - (half[side] == 1).sum()) <= 3
    assert all(len(set(half[groups == g])) == 1 for g in range(20))
    with pytest.raises(BadInput):
        rules.halves(np.arange(12) < 6, None, 0)  # 3 non-members in a half


def test_ranks_are_those_within_the_half():
    scores, half = np.array([5.0, 1.0, 1.0, 9.0, 8.0]), np.array([0, 0, 0, 1, 1])
    assert rules.ranked(scores, half).tolist() == [5 / 6, 2 / 6, 2 / 6, 3 / 4, 1 / 4]


def _ridge_slowly(x, y):
    """Minimises |y - offset - z w|^2 + RIDGE n |w|^2 as least squares with the penalty as further rows."""
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-9, scale, np.inf)
    z, n = (x - mean) / scale, len(x)
    rows = np.concatenate([z, math.sqrt(rules.RIDGE * n) * np.eye(x.shape[1])])
    weight = np.linalg.lstsq(rows, np.concatenate([y - y.mean(), np.zeros(x.shape[1])]), rcond=None)[0]
    return lambda v: float(((v - mean) / scale) @ weight + y.mean())


def test_nm_token_slowly():
    seen, base = _both(2)
    member = np.arange(len(seen.log_p)) % 2 == 0
    half = rules.halves(member, None, 0)
    expected = np.empty(len(member))

    def row(q, t):
        s = -base.log_p[q, t]
        return [s, math.sqrt(s), base.mean[q, t], base.std[q, t], math.log1p(base.rank[q, t]), math.log1p(t)]

    for h in (0, 1):
        places = [(q, t) for q in range(len(member)) if not member[q] and half[q] != h
                  for t in range(seen.inside.shape[1]) if seen.inside[q, t]]  # fmt: skip
        x = np.array([row(q, t) for q, t in places])
        y = np.array([seen.log_p[q, t] - base.log_p[q, t] for q, t in places])
        gain = _ridge_slowly(x, y)
        off = np.array([abs(v - gain(f)) for f, v in zip(x, y, strict=True)])
        spread = _ridge_slowly(x, off)
        for q in np.flatnonzero(half == h):
            votes = []
            for t in np.flatnonzero(seen.inside[q]):
                f = np.array(row(q, t))
                gap = seen.log_p[q, t] - base.log_p[q, t]
                votes.append((gap - gain(f)) / max(spread(f), rules.LEAST_SPREAD * off.mean()))
            expected[q] = sum(votes) / len(votes)
    np.testing.assert_allclose(rules.nm_token(seen, base, member, half), rules.ranked(expected, half), atol=1e-12)


def test_nm_text_slowly():
    seen, base = _both(3)
    member = np.arange(len(seen.log_p)) % 2 == 0
    half = rules.halves(member, None, 0)
    x, gap = [], []
    for q in range(len(member)):
        log_p, mean, std, _ = _tokens(base, q)
        x.append([np.mean(log_p), np.mean(mean), np.mean(std), math.log(len(log_p))])
        gap.append(np.mean(_tokens(seen, q)[0]) - np.mean(log_p))
    x, gap, expected = np.array(x), np.array(gap), np.empty(len(member))
    for h in (0, 1):
        learn = ~member & (half != h)
        gain = _ridge_slowly(x[learn], gap[learn])
        for q in np.flatnonzero(half == h):
            expected[q] = gap[q] - gain(x[q])
    np.testing.assert_allclose(rules.nm_text(seen, base, member, half), rules.ranked(expected, half), atol=1e-12)


def test_nm_rules_are_at_chance_where_membership_is_random():
    seen, base = _both(4, count=60)
    rng, found = stream(0, "null"), {"nm-token": [], "nm-text": []}
    for draw in range(60):
        member = np.zeros(60, bool)
        member[rng.permutation(60)[:30]] = True
        half = rules.halves(member, None, draw)
        found["nm-token"].append(auc(rules.nm_token(seen, base, member, half)[None], member[None]))
        found["nm-text"].append(auc(rules.nm_text(seen, base, member, half)[None], member[None]))
    for name, values in found.items():
        error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values) - 0.5) < 4 * error, (name, np.mean(values), error)


def test_members_that_gain_more_are_found():
    seen, base = _both(5, count=60)
    member = np.arange(60) % 2 == 0
    gained = np.where(seen.inside & member[:, None], seen.log_p + 3.0, seen.log_p)
    seen = TokenStatistics(seen.inside, gained, seen.scaled, seen.mean, seen.std, seen.rank)
    half = rules.halves(member, None, 0)
    for rule in (rules.nm_token, rules.nm_text):
        assert auc(rule(seen, base, member, half)[None], member[None]) > 0.9
