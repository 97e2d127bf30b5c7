"""Scores of texts against one finetuned language model, with its base or without; NumPy only, higher = member.

Every rule reads token statistics (Q, L) as `undertow.token_signals` aligns them and gives (Q,). None trains a model.
Three of them need texts that are known not to be members (ReCaLL as a prefix, nm-token and nm-text to learn what
finetuning does to any text of the domain). They are cross-fitted: the texts are dealt into two halves, and a text is
scored by what was learnt from the non-members of the other half. Scores of two halves are not compared; each text gets
its rank in its half, so that a model that leaks nothing gives AUC .5 on average.
"""

from collections.abc import Sequence

import numpy as np

from undertow.rng import stream
from undertow.token_signals import (
    TokenStatistics,
    ez_mia_style,
    loss_difference,
    mean_inside,
    min_k,
    min_k_plus_plus,
    negative_loss,
    predicted,
    zlib_ratio,
)
from undertow.types import Array, BadInput

WINDOWS = (2, 3, 4, 6, 9, 13, 18, 25, 32, 40)  # tokens; those of the released code of WBC
RIDGE = 1e-3  # of standardised features, per observation
LEAST_SPREAD = 0.1  # an expected residual below this share of the mean one is taken to be this share
FEWEST = 4  # non-members in each half
ALONE = ("loss", "zlib", "min-k", "min-k++")
WITH_BASE = ("ratio", "ez", "wbc", "nm-token", "nm-text")


def alone(seen: TokenStatistics, size: Array) -> dict[str, Array]:
    """The scores (Q,) that one model gives by itself; `size` (Q,) is `token_signals.zlib_bytes`."""
    return {
        "loss": negative_loss(seen.log_p, seen.inside),
        "zlib": zlib_ratio(seen.log_p, seen.inside, size),
        "min-k": min_k(seen.log_p, seen.inside),
        "min-k++": min_k_plus_plus(seen.log_p, seen.mean, seen.std, seen.inside),
    }


def beside(seen: TokenStatistics, base: TokenStatistics) -> dict[str, Array]:
    """The scores (Q,) that need the base model and no known non-members."""
    return {
        "ratio": loss_difference(seen.log_p, base.log_p, seen.inside),
        "ez": ez_mia_style(seen.log_p, base.log_p, seen.rank, seen.inside),
        "wbc": wbc(seen.log_p, base.log_p, seen.inside),
    }


def wbc(log_p: Array, reference: Array, inside: Array, windows: Sequence[int] = WINDOWS) -> Array:
    """Mean over window sizes of the share of windows that are likelier than under the base; in [0, 1].

    WBC (arXiv:2601.02751) as released: a draw is no vote, and a size longer than the text becomes the whole text.
    """
    count = predicted(inside)
    found = np.zeros(len(log_p))
    for q, (gap, keep) in enumerate(zip(log_p - reference, inside, strict=True)):
        total = np.concatenate([[0.0], gap[keep].cumsum()])
        sizes = np.minimum(windows, count[q])
        found[q] = np.mean([(total[w:] > total[:-w]).mean() for w in sizes])
    return found


def recall(conditional: Array, plain: Array) -> Array:
    """Mean log-likelihood (Q,) after a prefix of non-members, over that without: ReCaLL (Xie et al., arXiv:2406.15968).

    Both are nats per token and negative. The prefix makes a member less likely in proportion, so the ratio is higher.
    """
    result: Array = np.minimum(conditional, 0) / np.minimum(plain, -1e-12)
    return result


def halves(member: Array, groups: Array | None, seed: int) -> Array:
    """The half (Q,) of each text, 0 or 1, with its share of members and of non-members; a group stays together.

    BadInput where a half has fewer than FEWEST non-members, or no member.
    """
    names, place = np.unique(np.arange(len(member)) if groups is None else groups, return_inverse=True)
    share = np.bincount(place, member) / np.bincount(place)
    rng, half = stream(seed, "halves of texts"), np.zeros(len(names), int)
    order = np.concatenate([rng.permutation(np.flatnonzero(side)) for side in (share >= 0.5, share < 0.5)])
    half[order] = np.arange(len(names)) % 2
    found: Array = half[place]
    for h in (0, 1):
        if (~member & (found == h)).sum() < FEWEST or not (member & (found == h)).any():
            raise BadInput(f"fewer than {2 * FEWEST} non-members or 2 members that can be dealt into two halves")
    return found


def ranked(scores: Array, half: Array) -> Array:
    """The middle rank of each score (Q,) in its half, in 0..1."""
    result = np.empty(len(scores))
    for h in np.unique(half):
        values = scores[half == h]
        ordered = np.sort(values)
        below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
        result[half == h] = (below + upto) / (2 * len(values))
    return result


def nm_token(seen: TokenStatistics, base: TokenStatistics, member: Array, half: Array) -> Array:
    """Mean over tokens of (gap - expected gap) / expected residual, ranked in each half, (Q,).

    The gap is log p less that of the base. What a token of a non-member is expected to gain, and how far it lies from
    that, are ridge regressions on what the base says of the place, learnt on the non-members of the other half.
    """
    gap, found = seen.log_p - base.log_p, np.zeros(len(member))
    features = _of_tokens(base)
    for h in (0, 1):
        learn = seen.inside & (~member & (half != h))[:, None]
        x, y = features[learn], gap[learn]
        expected = _Ridge(x, y)
        off = np.abs(y - expected(x))
        spread, floor = _Ridge(x, off), max(LEAST_SPREAD * float(off.mean()), 1e-9)
        own = half == h
        inside, some = seen.inside[own], features[own]
        scaled = (gap[own] - expected(some)) / np.maximum(spread(some), floor)
        found[own] = mean_inside(np.where(inside, scaled, 0), inside)
    return ranked(found, half)


def nm_text(seen: TokenStatistics, base: TokenStatistics, member: Array, half: Array) -> Array:
    """The mean gap of a text to the base, less that expected of a non-member, ranked in each half, (Q,).

    The expectation is a ridge regression on what the base says of the text, learnt on the non-members of the other
    half.
    """
    gap = loss_difference(seen.log_p, base.log_p, seen.inside)
    features, found = _of_texts(base), np.zeros(len(member))
    for h in (0, 1):
        learn, own = ~member & (half != h), half == h
        found[own] = gap[own] - _Ridge(features[learn], gap[learn])(features[own])
    return ranked(found, half)


def _of_tokens(base: TokenStatistics) -> Array:
    """What the base says of each place, (Q, L, 6)."""
    place = np.broadcast_to(np.log1p(np.arange(base.log_p.shape[-1])), base.log_p.shape)
    surprise = -base.log_p
    return np.stack([surprise, np.sqrt(np.maximum(surprise, 0)), base.mean, base.std, np.log1p(base.rank), place], -1)


def _of_texts(base: TokenStatistics) -> Array:
    """What the base says of each text, (Q, 4)."""
    inside = base.inside
    parts = [mean_inside(values, inside) for values in (base.log_p, base.mean, base.std)]
    return np.stack([*parts, np.log(predicted(inside))], -1)


class _Ridge:
    """Ridge regression of y (n,) on standardised x (n, F); called with (..., F), gives (...)."""

    def __init__(self, x: Array, y: Array) -> None:
        self.mean, deviation = x.mean(0), x.std(0)
        self.scale = np.where(deviation > 1e-9, deviation, np.inf)  # a constant says nothing
        z = (x - self.mean) / self.scale
        self.offset = y.mean()
        penalty = RIDGE * len(x) * np.eye(x.shape[1])
        self.weight = np.linalg.solve(z.T @ z + penalty, z.T @ (y - self.offset))

    def __call__(self, x: Array) -> Array:
        result: Array = (x - self.mean) / self.scale @ self.weight + self.offset
        return result
