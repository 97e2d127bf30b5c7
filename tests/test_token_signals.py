"""Token signals: equal to the slow definitions, aligned by token, blind to pads, and higher for members."""

import numpy as np
import pytest
from scipy.special import log_softmax
from tests.oracles import token_signals as oracle

from undertow import token_signals as ts
from undertow.rng import stream
from undertow.texts import PAD, next_tokens
from undertow.types import IGNORED, BadInput

VOCABULARY = 12
LENGTHS = (2, 3, 9, 30, 60)
TEXTS = [("ab" * n)[:n] + str(n) for n in LENGTHS]


def texts(width=60):
    """Token ids (5, width) of several lengths, 1..V-1, padded."""
    ids = stream(0, "ids").integers(1, VOCABULARY, (len(LENGTHS), width))
    return np.where(np.arange(width) < np.array(LENGTHS)[:, None], ids, PAD)


def outputs(*name, width=60):
    return 2 * stream(0, *name).normal(size=(len(LENGTHS), width, VOCABULARY))


def seen(logits, ids):
    return ts.token_statistics(logits, next_tokens(ids))


def everything(logits, reference, ids):
    return ts.text_signals(seen(logits, ids), seen(reference, ids), ts.zlib_bytes(TEXTS))


def test_signals_are_those_of_the_slow_definitions():
    ids, logits, reference = texts(), outputs("model"), outputs("base")
    found = everything(logits, reference, ids)
    for i, n in enumerate(LENGTHS):
        slow = oracle.signals(
            logits[i, : n - 1].tolist(), ids[i, 1:n].tolist(), reference[i, : n - 1].tolist(), TEXTS[i]
        )
        assert set(slow) == set(found)
        for name, value in slow.items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-12, atol=1e-13, err_msg=name)


def test_statistics_are_those_of_the_slow_definitions():
    ids, logits = texts(), outputs("model")
    found = seen(logits, ids)
    names = ("log_p", "scaled", "mean", "std", "rank")
    for i, n in enumerate(LENGTHS):
        slow = np.array(oracle.statistics(logits[i, : n - 1].tolist(), ids[i, 1:n].tolist()))
        fast = np.stack([getattr(found, name)[i, : n - 1] for name in names], -1)
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-13)
        assert not any(getattr(found, name)[i, n - 1 :].any() for name in (*names, "inside"))


def test_place_t_predicts_token_t_plus_1():
    """A model that copies the text is certain of it; one that repeats the token it has just read is not."""
    ids = np.array([[3, 1, 4, 2, 5, 0]])
    eye = 30 * np.eye(VOCABULARY)
    copies, echoes = eye[next_tokens(ids).clip(0)], eye[ids]
    aligned, shifted = (ts.text_signals(seen(z, ids)) for z in (copies, echoes))
    assert aligned["loss"] > -1e-10
    assert aligned["hit_rate"] == 1
    assert shifted["loss"] < -29
    assert shifted["hit_rate"] == 0
    assert all(aligned[name] > shifted[name] for name in aligned)


def test_pads_and_what_stands_there_change_nothing():
    ids, logits, reference = texts(), outputs("model"), outputs("base")
    before = everything(logits, reference, ids)
    wide = np.pad(ids, ((0, 0), (0, 7)))
    logits, reference = (np.pad(z, ((0, 0), (0, 7), (0, 0))) for z in (logits, reference))
    for z in (logits, reference):
        z[next_tokens(wide) == IGNORED] = np.nan
    for name, values in everything(logits, reference, wide).items():
        np.testing.assert_allclose(values, before[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_values_outside_are_never_read():
    ids = texts()
    a, b = seen(outputs("model"), ids), seen(outputs("base"), ids)
    before = ts.text_signals(a, b)
    for part in (a, b):
        for name in ("log_p", "scaled", "mean", "std"):
            getattr(part, name)[~a.inside] = np.nan
        part.rank[~a.inside] = 10**6
    for name, values in ts.text_signals(a, b).items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)


def test_an_unpredicted_beginning_is_passed_over():
    """A masked prompt: the signals are those of the answer alone."""
    ids, logits, reference = texts()[-1:], outputs("model")[-1:], outputs("base")[-1:]
    following = next_tokens(ids)
    following[:, :20] = IGNORED
    masked = ts.text_signals(*(ts.token_statistics(z, following) for z in (logits, reference)))
    alone = ts.text_signals(*(ts.token_statistics(z[:, 20:], following[:, 20:]) for z in (logits, reference)))
    for name, values in masked.items():
        np.testing.assert_allclose(values, alone[name], rtol=1e-12, err_msg=name)


def test_leading_axes_are_kept_and_do_not_mix():
    ids = texts()
    models = np.stack([outputs("model"), outputs("other")])
    both = ts.text_signals(ts.token_statistics(models, next_tokens(np.stack([ids, ids]))), None, ts.zlib_bytes(TEXTS))
    for m, logits in enumerate(models):
        one = ts.text_signals(seen(logits, ids), None, ts.zlib_bytes(TEXTS))
        for name, values in one.items():
            np.testing.assert_array_equal(both[name][m], values)


def test_models_may_share_one_inside():
    ids, inside = texts(), next_tokens(texts()) != IGNORED
    a, b = (np.stack([seen(outputs(*n), ids).log_p for n in names]) for names in ((("x",), ("y",)), (("z",), ("w",))))
    for signal in (ts.loss_difference, ts.wbc_style):
        assert signal(a, b, inside).shape == (2, len(LENGTHS))
    np.testing.assert_array_equal(ts.min_k(a, inside)[1], ts.min_k(a[1], inside))


def test_logits_are_known_up_to_a_constant_and_tokens_up_to_their_names():
    ids, logits, reference = texts(), outputs("model"), outputs("base")
    before = everything(logits, reference, ids)
    names = np.concatenate([[0], 1 + stream(0, "names").permutation(VOCABULARY - 1)])
    renamed = [np.empty_like(z) for z in (logits, reference)]
    for new, old in zip(renamed, (logits, reference), strict=True):
        new[..., names] = old + 100 * stream(0, "constant").normal(size=(*old.shape[:2], 1))
    for name, values in everything(*renamed, names[ids]).items():
        np.testing.assert_allclose(values, before[name], rtol=1e-9, atol=1e-11, err_msg=name)


def test_what_was_trained_on_is_higher_in_every_signal():
    """Raising the logits of a text's own tokens (harder where the base knows least) raises its signals."""
    ids, base = texts()[2:], outputs("base")[2:]
    lift = np.eye(VOCABULARY)[next_tokens(ids).clip(0)]
    member, other = base + 3 * lift, base - 0.5 * lift
    size = ts.zlib_bytes(TEXTS[2:])
    high, low = (ts.text_signals(seen(z, ids), seen(base, ids), size) for z in (member, other))
    assert len(high) == 10
    for name in high:
        assert (high[name] > low[name]).all(), name


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e15])
def test_extreme_logits_give_finite_signals(scale):
    ids = texts()
    logits, reference = scale * outputs("model"), scale * outputs("base")
    for name, values in everything(logits, reference, ids).items():
        assert np.isfinite(values).all(), name
    found = seen(logits, ids)
    np.testing.assert_allclose(found.log_p, np.minimum(found.scaled, 0) * found.inside, atol=1.0)


@pytest.mark.parametrize("token", [1, 2])
def test_uniform_and_certain_predictions_have_a_finite_z_score(token):
    certain = np.array([[[0.0, 1e4, 0.0]]])
    stats = ts.token_statistics(certain, np.array([[token]]))
    z = ts.min_k_plus_plus(stats.log_p, stats.mean, stats.std, stats.inside)
    assert z[0] == (0 if token == 1 else pytest.approx(-1e4 / ts.NARROW))
    flat = ts.token_statistics(np.zeros((1, 1, 7)), np.array([[token]]))
    assert abs(ts.min_k_plus_plus(flat.log_p, flat.mean, flat.std, flat.inside)[0]) < 1e-6


def test_a_token_that_cannot_be_drawn_does_not_spoil_the_others():
    stats = ts.token_statistics(np.array([[[1.0, 2.0, -np.inf]]]), np.array([[0]]))
    plain = ts.token_statistics(np.array([[[1.0, 2.0]]]), np.array([[0]]))
    for name in ("log_p", "scaled", "mean", "std", "rank"):
        np.testing.assert_allclose(getattr(stats, name), getattr(plain, name))


def test_single_precision_is_read_in_double():
    logits = outputs("model").astype(np.float32)
    np.testing.assert_array_equal(seen(logits, texts()).log_p, seen(logits.astype(float), texts()).log_p)


def test_short_texts_still_have_a_lowest_token():
    inside = np.array([[True, False, False], [True, True, False]])
    log_p = np.array([[-1.0, 9, 9], [-1.0, -3.0, 9]])
    assert ts.min_k(log_p, inside, 0.1).tolist() == [-1, -3]
    assert ts.min_k(log_p, inside, 1.0).tolist() == [-1, -2]
    with pytest.raises(BadInput, match="share = 0"):
        ts.min_k(log_p, inside, 0)


def test_ties_at_the_last_shown_probability_are_shown():
    logits = np.array([[[3.0, 2, 1, 1, 1]]])
    stats = ts.token_statistics(logits, np.array([[4]]))
    assert stats.rank == 2
    p = np.exp(log_softmax(logits[0, 0]))[4]
    assert ts.top_probability(stats.log_p, stats.rank, stats.inside, top=3) == pytest.approx(p)
    assert ts.top_probability(stats.log_p, stats.rank, stats.inside, top=2) == 0


def test_windows_by_hand():
    one = np.ones((1, 4), bool)
    d = np.array([[1.0, -3.0, 1.0, 1.0]])
    assert ts.wbc_style(d, 0 * d, one, (2, 9)) == pytest.approx(1 / 3)  # -2, -2, 2
    assert ts.wbc_style(d, 0 * d, one, (2, 4)) == pytest.approx((1 / 3 + 1 / 2) / 2)  # the whole is a draw
    assert ts.wbc_style(d[:, :1], 0 * d[:, :1], one[:, :1], (2,)) == 1  # none fits: the whole
    assert ts.wbc_style(d, d, one) == 0.5


def test_error_zone_by_hand():
    one, zero = np.ones((1, 3), bool), np.zeros((1, 3))
    d = np.array([[2.0, -1.0, 50.0]])
    assert ts.ez_mia_style(d, zero, np.array([[1, 3, 0]]), one) == pytest.approx(2 / 3)
    assert ts.ez_mia_style(d, zero, np.array([[0, 0, 0]]), one) == 1
    assert ts.ez_mia_style(d, d, np.array([[1, 1, 0]]), one) == 0.5


def test_style_scores_do_not_tell_direction_where_nothing_was_learnt():
    """Two unrelated models: above and below one half equally often."""
    ids = np.tile(texts()[-1:], (200, 1))
    a, b = (seen(stream(0, n).normal(size=(200, 60, VOCABULARY)), ids) for n in "ab")
    swapped = ts.wbc_style(b.log_p, a.log_p, a.inside)
    scores = ts.wbc_style(a.log_p, b.log_p, a.inside)
    np.testing.assert_allclose(scores + swapped, 1)
    assert abs(scores.mean() - 0.5) < 3 * scores.std() / np.sqrt(200)


def test_no_tokens_is_said_and_not_averaged():
    ids = np.array([[3, 4, 5], [3, PAD, PAD]])
    stats = seen(outputs("model")[:2, :3], ids)
    for name in ("loss", "min_k", "ez", "wbc"):
        with pytest.raises(BadInput, match="text 1 has no token to predict"):
            {
                "loss": lambda: ts.negative_loss(stats.log_p, stats.inside),
                "min_k": lambda: ts.min_k(stats.log_p, stats.inside),
                "ez": lambda: ts.ez_mia_style(stats.log_p, stats.log_p, stats.rank, stats.inside),
                "wbc": lambda: ts.wbc_style(stats.log_p, stats.log_p, stats.inside),
            }[name]()


def test_a_foreign_tokenizer_and_a_diverged_model_are_refused():
    with pytest.raises(BadInput, match="tokens reach 12 but the model knows 12"):
        seen(outputs("model", width=2)[:1], np.array([[1, 12]]))
    broken = outputs("model")
    broken[3, 4] = np.nan
    with pytest.raises(BadInput, match="text 3: the model's logits are not finite"):
        seen(broken, texts())
    with pytest.raises(BadInput, match="must be"):
        ts.token_statistics(np.zeros((2, 3)), np.zeros((2, 3), int))


def test_a_watermark_is_half_the_vocabulary_and_repeats_by_name():
    split = ts.green_split(101, 0, 3, "text")
    assert split.sum() == 50
    np.testing.assert_array_equal(split, ts.green_split(101, 0, 3, "text"))
    others = [ts.green_split(101, 0, 4, "text"), ts.green_split(101, 1, 3, "text"), ts.green_split(101, 0)]
    assert all((split != other).any() for other in others)


def test_the_keyed_green_list_is_a_function_of_key_and_last_token():
    ids = np.array([[3, 5, 3], [5, 5, 0]])
    green = ts.keyed_green(ids, 40, key=7)
    assert green.shape == (2, 3, 40)
    assert (green.sum(-1) == 20).all()
    np.testing.assert_array_equal(green[0, 0], green[0, 2])
    np.testing.assert_array_equal(green[0, 1], green[1, 0])
    assert (green[0, 0] != green[0, 1]).any()
    assert (green != ts.keyed_green(ids, 40, key=8)).any()
    np.testing.assert_array_equal(green[0, :1], ts.keyed_green(np.array([3]), 40, key=7))


def test_a_watermark_moves_probability_to_green_by_twice_delta():
    logits, green = outputs("model"), ts.green_split(VOCABULARY, 0)
    marked, upward = (log_softmax(z, -1) for z in (ts.watermarked(logits, green, 1.5), logits + 3 * green))
    np.testing.assert_allclose(marked, upward, atol=1e-12)
    np.testing.assert_array_equal(ts.watermarked(logits, green, 0.0), logits)


def test_a_watermark_blurs_the_loss_but_does_not_hide_it():
    """It shifts a text's loss by chance, not by membership; on average it costs likelihood."""
    ids = texts()
    plain = outputs("model")
    marked = np.stack([ts.watermarked(plain, ts.green_split(VOCABULARY, 0, i)) for i in range(40)])
    losses = np.stack([ts.text_signals(seen(z, ids))["loss"] for z in marked])
    assert (losses.std(0) > 0).all()
    assert (losses.mean(0)[2:] < ts.text_signals(seen(plain, ids))["loss"][2:]).all()


def test_zlib_calibration_ranks_equal_losses_by_how_little_the_text_says():
    stats = seen(outputs("model")[-1:], texts()[-1:])
    size = ts.zlib_bytes(["a" * 400, "".join(chr(33 + i) for i in stream(0, "z").integers(0, 90, 400))])
    dull, rich = ts.zlib_ratio(stats.log_p, stats.inside, size)
    assert dull < rich < 0
