"""Membership signals of a text from what a language model says token by token. NumPy only; higher = member.

Place t of a text holds what the model, having read tokens 0..t, says of token t + 1; `undertow.texts.next_tokens`
gives that token, IGNORED (-100) where there is none. Every quantity here is aligned by that rule. The released code
of Wen et al. 2024 gathers two of its statistics with token t instead, so they say nothing of the prediction.

`inside` (..., L) bool marks the places that count; values elsewhere are never read. A text without any raises
BadInput. Shapes: (..., L) in, (...) out; `inside` may lack leading axes (models).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp

from undertow.rng import stream
from undertow.types import IGNORED, Array, BadInput

TOP = 5  # probabilities that the narrow interface shows
LOWEST = 0.2  # share of tokens in Min-K%; Shi et al. 2024 use 20 %, the code of Wen et al. 10 %
STATISTICS = ("log_p", "scaled", "mean", "std", "rank")  # what is kept of a distribution over the next token
NARROW = 1e-6  # nats; a distribution of log p narrower than this is taken to be this wide
WINDOWS = (2, 3, 4, 5, 8, 11, 15, 21, 29, 40)  # 2 to 40 in ten geometric steps, rounded


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """What is kept of a model's distributions over the next token; each (..., L), 0 where `inside` is False."""

    inside: Array  # bool
    log_p: Array  # nats, log-probability of the next token
    scaled: Array  # nats, log p - log(1 - p) of it
    mean: Array  # nats, mean of log p(v) over tokens v drawn from the model: minus the entropy
    std: Array  # nats, standard deviation of the same
    rank: Array  # int, how many tokens the model finds strictly likelier


def token_statistics(logits: Array, next_ids: Array) -> TokenStatistics:
    """The statistics of logits (..., L, V), whose place t predicts next_ids (..., L); text by text, in float64.

    The logits need not be kept afterwards. Raises BadInput where a token lies outside the vocabulary or the model
    has diverged.
    """
    if logits.shape[:-1] != next_ids.shape or logits.shape[-1] < 2:
        raise BadInput(f"logits {logits.shape} must be (..., L, V) for next tokens {next_ids.shape}, V at least 2")
    inside = next_ids != IGNORED
    if (inside & ((next_ids < 0) | (next_ids >= logits.shape[-1]))).any():
        raise BadInput(
            f"tokens reach {next_ids.max()} but the model knows {logits.shape[-1]}; give the tokenizer of this model"
        )
    count, length = int(np.prod(next_ids.shape[:-1], dtype=int)), next_ids.shape[-1]
    out = {name: np.zeros((count, length)) for name in STATISTICS}
    flat, ids, keep = logits.reshape(count, length, -1), next_ids.reshape(count, -1), inside.reshape(count, -1)
    for row in range(count):
        for name, values in _of_places(flat[row, keep[row]], ids[row, keep[row]]).items():
            if not np.isfinite(values).all():
                raise BadInput(f"text {row}: the model's logits are not finite; it has diverged")
            out[name][row, keep[row]] = values
    shaped = {name: values.reshape(next_ids.shape) for name, values in out.items()}
    return TokenStatistics(inside, **{**shaped, "rank": shaped["rank"].astype(np.int64)})


def _of_places(logits: Array, ids: Array) -> dict[str, Array]:
    """The statistics (P,) of logits (P, V) for the tokens `ids` (P,)."""
    z = np.asarray(logits, float)
    own = z[np.arange(len(ids)), ids]
    others = z.copy()
    others[np.arange(len(ids)), ids] = -np.inf
    log_all = log_softmax(z, -1)
    p = np.exp(log_all)
    surprise = np.where(p > 0, log_all, 0)  # a token that is never drawn has no weight, whatever its log p
    mean = (p * surprise).sum(-1)
    return {
        "log_p": log_all[np.arange(len(ids)), ids],
        "scaled": own - logsumexp(others, -1),
        "mean": mean,
        "std": np.sqrt((p * (surprise - mean[:, None]) ** 2).sum(-1)),
        "rank": (z > own[:, None]).sum(-1),
    }


def predicted(inside: Array) -> Array:
    """How many tokens of each text are predicted, (...) int; BadInput for a text that has none."""
    count: Array = inside.sum(-1)
    if not count.all():
        where = ", ".join(str(int(i)) for i in np.argwhere(count == 0)[0])
        raise BadInput(f"text {where or 0} has no token to predict; leave out texts shorter than two tokens")
    return count


def mean_inside(values: Array, inside: Array) -> Array:
    """Mean (...) of values (..., L) over the places inside."""
    result: Array = np.where(inside, values, 0).sum(-1) / predicted(inside)
    return result


def negative_loss(log_p: Array, inside: Array) -> Array:
    """Minus the mean cross-entropy, nats per token. Yeom et al. 2018 (arXiv:1709.01604) for texts."""
    return mean_inside(log_p, inside)


def mean_scaled_logit(scaled: Array, inside: Array) -> Array:
    """Mean over tokens of log p - log(1 - p), nats: the classifiers' statistic of LiRA, token by token."""
    return mean_inside(scaled, inside)


def min_k(values: Array, inside: Array, share: float = LOWEST) -> Array:
    """Mean of the lowest `share` of the values, at least one of them. Of log p: Min-K% (Shi et al., arXiv:2310.16789).

    A text with n tokens counts its floor(share * n) least likely ones, as the released codes do; those give NaN where
    that is none.
    """
    if not 0 < share <= 1:
        raise BadInput(f"share = {share}: Min-K% counts a share of the tokens above 0 and at most 1")
    lowest = np.sort(np.where(inside, values, np.inf), -1)
    count = np.maximum((predicted(inside) * share).astype(int), 1)
    return mean_inside(lowest, np.arange(values.shape[-1]) < count[..., None])


def min_k_plus_plus(log_p: Array, mean: Array, std: Array, inside: Array, share: float = LOWEST) -> Array:
    """Min-K% of (log p - mean) / std, in standard deviations: Min-K%++ (Zhang et al., arXiv:2404.02936).

    Mean and deviation are those of log p under the model's own distribution at that place. Where that is narrower
    than NARROW (all tokens alike, or one certain) the score would be 0/0; it is divided by NARROW instead.
    """
    return min_k((log_p - mean) / np.maximum(std, NARROW), inside, share)


def zlib_bytes(texts: Sequence[str]) -> Array:
    """Length in bytes of each text compressed by zlib, (Q,) int: how much it says to someone who knows nothing.

    >>> zlib_bytes(["a" * 100, "quite another thing"])
    array([12, 27])
    """
    return np.array([len(zlib.compress(text.encode("utf8"))) for text in texts], dtype=np.int64)


def zlib_ratio(log_p: Array, inside: Array, size: Array) -> Array:
    """Minus the mean loss over `size`, the text's bytes under zlib, nats per token and byte.

    `size` (Q,) broadcasts against (..., Q). Carlini et al. 2021 (arXiv:2012.07805), in the form of the released code
    of Min-K%++.
    """
    return mean_inside(log_p, inside) / size


def top_probability(log_p: Array, rank: Array, inside: Array, top: int = TOP) -> Array:
    """Mean probability of the next token, 0 where it is not among the `top` likeliest: all that such an API shows.

    A token that ties with the last one shown counts as shown. As in the code of Wen et al. 2024.
    """
    return mean_inside(np.where(inside & (rank < top), np.exp(np.minimum(log_p, 0)), 0), inside)


def hit_rate(rank: Array, inside: Array) -> Array:
    """Share of tokens that the model would have said itself: all that greedy answers without numbers show."""
    return mean_inside(rank == 0, inside)


def loss_difference(log_p: Array, reference: Array, inside: Array) -> Array:
    """How much less the loss is than under a reference model, nats per token.

    `reference` is log p of the same tokens under the base checkpoint. Difficulty calibration, Watson et al. 2022
    (arXiv:2111.08440).
    """
    return mean_inside(np.where(inside, log_p - reference, 0), inside)


def ez_mia_style(log_p: Array, reference: Array, rank: Array, inside: Array) -> Array:
    """Share of the movement of log p against the reference that is upward, where the model errs; in [0, 1].

    In the manner of EZ-MIA (arXiv:2601.12104; only its abstract was read): training raises the probability even of
    tokens that the model still gets wrong. Over the places with rank > 0, rises sum to P and falls to N, in nats. The
    paper's score, as LeakPro's port restates it, is P / N; this is P / (P + N), which ranks alike and stays finite.
    Derived here: a text without errors scores 1, as does one without falls; one that did not move at all, 1/2.
    """
    predicted(inside)
    wrong = inside & (rank > 0)
    moved = np.where(wrong, log_p - reference, 0)
    up, down = np.maximum(moved, 0).sum(-1), np.maximum(-moved, 0).sum(-1)
    still = np.where(wrong.any(-1), 0.5, 1.0)
    result: Array = np.divide(up, up + down, out=still, where=up + down > 0)
    return result


def wbc_style(log_p: Array, reference: Array, inside: Array, windows: Sequence[int] = WINDOWS) -> Array:
    """Share of windows of neighbouring tokens that are likelier than under the reference; in [0, 1].

    In the manner of WBC (arXiv:2601.02751; only its abstract was read): windows of several sizes slide over the text,
    each votes by the sign of the summed difference, and the votes' share is averaged over sizes. The sizes are those
    that LeakPro's port gives. Derived here: a draw is half a vote; sizes longer than the text do not vote; where none
    fits, the whole text is the window. Places not inside are passed over, not counted as zero.
    """
    inside = np.broadcast_to(inside, log_p.shape)
    length = predicted(inside)
    order = np.argsort(~inside, -1, kind="stable")
    difference = np.take_along_axis(np.where(inside, log_p - reference, 0), order, -1)
    total = np.concatenate([np.zeros((*length.shape, 1)), difference.cumsum(-1)], -1)
    votes, voting = np.zeros(length.shape), np.zeros(length.shape)
    for size in (w for w in windows if w < total.shape[-1]):
        vote = (np.sign(total[..., size:] - total[..., :-size]) + 1) / 2
        fits = np.arange(vote.shape[-1]) + size <= length[..., None]
        votes += np.where(fits, vote, 0).sum(-1) / np.maximum(fits.sum(-1), 1)
        voting += fits.any(-1)
    whole = (np.sign(total[..., -1]) + 1) / 2
    result: Array = np.divide(votes, voting, out=whole, where=voting > 0)
    return result


def green_split(vocabulary: int, seed: int, *query: str | int) -> Array:
    """A random half of the vocabulary, (V,) bool, of a server that draws one split for each query.

    `query` names it: (model, text) for a split of its own each time, as in the code of Wen et al. 2024 (whose splits
    come from the global generator); nothing for one split for ever.
    """
    return stream(seed, "watermark", *query).permutation(vocabulary) < vocabulary // 2


def keyed_green(ids: Array, vocabulary: int, key: int) -> Array:
    """The green list (..., L, V) bool after each token of ids (..., L), a function of the key and that token alone.

    The watermark of Kirchenbauer et al. 2023 (arXiv:2301.10226) with half the vocabulary green and the last token as
    the seed; whoever has the key can test for it.
    """
    tokens, place = np.unique(ids, return_inverse=True)
    lists = np.stack([green_split(vocabulary, key, "after", int(token)) for token in tokens])
    result: Array = lists[place.reshape(ids.shape)]
    return result


def watermarked(logits: Array, green: Array, delta: float = 2.0) -> Array:
    """Logits (..., V) with `delta` more on green tokens and as much less on the others; `green` broadcasts.

    The default is that of Wen et al. 2024. It is the same distribution as 2 * delta on green tokens alone.
    """
    result: Array = logits + np.where(green, delta, -delta)
    return result


def text_signals(
    seen: TokenStatistics, reference: TokenStatistics | None = None, size: Array | None = None
) -> dict[str, Array]:
    """Every signal (...) by name that can be computed; `reference` is the base checkpoint, `size` `zlib_bytes`."""
    log_p, inside = seen.log_p, seen.inside
    found = {
        "loss": negative_loss(log_p, inside),
        "scaled_logit": mean_scaled_logit(seen.scaled, inside),
        "min_k": min_k(log_p, inside),
        "min_k_plus_plus": min_k_plus_plus(log_p, seen.mean, seen.std, inside),
        "top_probability": top_probability(log_p, seen.rank, inside),
        "hit_rate": hit_rate(seen.rank, inside),
    }
    if size is not None:
        found["zlib_ratio"] = zlib_ratio(log_p, inside, size)
    if reference is not None:
        found["loss_difference"] = loss_difference(log_p, reference.log_p, inside)
        found["ez_mia_style"] = ez_mia_style(log_p, reference.log_p, seen.rank, inside)
        found["wbc_style"] = wbc_style(log_p, reference.log_p, inside)
    return found


def view_signals(
    arrays: Mapping[str, Array], view: str, reference: Mapping[str, Array] | None = None, size: Array | None = None
) -> dict[str, Array]:
    """The signals (..., Q) of one view of interrogated models, by the names that reports use; higher = member.

    `arrays` are those of `stages.interrogate` ("inside", "{view}/log_p", ...), (..., Q, L); `reference` those of the
    base checkpoint, `size` (Q,) `zlib_bytes`. `top-5` shows the likeliest probabilities alone and `label` the
    likeliest token: each allows one signal, read off "exact".
    """
    shown = "exact" if view in NARROW_VIEWS else view
    statistics = {name: arrays[f"{shown}/{name}"] for name in STATISTICS}
    seen = TokenStatistics(arrays["inside"], **statistics)
    if view in NARROW_VIEWS:
        name = NARROW_VIEWS[view]
        return {REPORTED[name]: text_signals(seen)[name]}
    known = None
    if reference is not None:
        known = TokenStatistics(arrays["inside"], **{name: reference[f"{shown}/{name}"] for name in STATISTICS})
    found = text_signals(seen, known, size)
    return {REPORTED[name]: values for name, values in found.items() if name not in NARROW_VIEWS.values()}


NARROW_VIEWS = {"top-5": "top_probability", "label": "hit_rate"}
REPORTED = {
    "loss": "loss",
    "scaled_logit": "scaled-logit",
    "min_k": "min-k",
    "min_k_plus_plus": "min-k++",
    "top_probability": "top-probability",
    "hit_rate": "hit-rate",
    "zlib_ratio": "zlib",
    "loss_difference": "loss-difference",
    "ez_mia_style": "ez-mia-style",
    "wbc_style": "wbc-style",
}
