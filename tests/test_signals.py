"""From outputs to signals: the stable forms equal the textbook ones, and every signal points the same way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax

from undertow import signals
from undertow.rng import stream

LOGITS = arrays(float, st.tuples(st.integers(1, 3), st.integers(2, 6)), elements=st.floats(-30, 30))


@given(LOGITS)
def test_scaled_logits_are_log_p_over_one_minus_p(z):
    slow = np.stack([z[..., c] - logsumexp(np.delete(z, c, -1), -1) for c in range(z.shape[-1])], -1)
    np.testing.assert_allclose(signals.scaled_logits(z), slow, atol=1e-9)


@pytest.mark.parametrize("margin", [40.0, 1e3, 1e5])
def test_scaled_logits_stay_finite_and_exact_at_any_margin(margin):
    z = np.array([margin, 0.0, -margin])
    expected = [z[c] - logsumexp(np.delete(z, c)) for c in range(3)]
    np.testing.assert_allclose(signals.scaled_logits(z), expected, rtol=1e-12)


def test_float16_and_float32_are_read_in_float64():
    assert signals.scaled_logits(np.zeros((2, 3), np.float16)).dtype == np.float64


def outputs(strength):
    """Two models, five points, three views, four classes; the label's logit raised by `strength`."""
    z = stream(0, "signals").normal(size=(2, 5, 3, 4))
    labels = np.array([0, 1, 2, 3, 0])
    z += strength * (np.arange(4) == labels[:, None])[None, :, None, :]
    return z, labels


LABELLED = [
    signals.label_confidence,
    signals.label_log_probability,
    signals.negative_loss,
    signals.margin,
    signals.modified_entropy,
]


@pytest.mark.parametrize("signal", LABELLED)
def test_more_confidence_in_the_label_is_higher(signal):
    low, high = (signal(*outputs(strength)) for strength in (0, 5))
    assert low.shape == (2, 5)
    assert (high > low).all()


@pytest.mark.parametrize("signal", [signals.confidence, signals.negative_entropy])
def test_a_surer_prediction_is_higher(signal):
    z, _ = outputs(0)
    assert (signal(3 * z) > signal(z)).all()


def test_signals_by_hand():
    z, labels = outputs(1)
    p = softmax(z, -1)
    own = p[:, np.arange(5), :, labels].transpose(1, 0, 2)
    np.testing.assert_allclose(signals.label_confidence(z, labels), np.log(own / (1 - own)).mean(2))
    np.testing.assert_allclose(signals.label_log_probability(z, labels), np.log(own.mean(2)))
    np.testing.assert_allclose(signals.negative_loss(z, labels), np.log(own).mean(2))
    np.testing.assert_allclose(signals.confidence(z), np.log(p.max(-1)).mean(2))
    np.testing.assert_allclose(signals.negative_entropy(z), (p * np.log(p)).sum(-1).mean(2))


def test_modified_entropy_is_the_formula_written_slowly():
    rng = stream(5, "test")
    z, y = rng.normal(size=(2, 6, 1, 4)), rng.integers(4, size=6)
    for m in range(2):
        for q in range(6):
            p = np.exp(z[m, q, 0]) / np.exp(z[m, q, 0]).sum()
            slow = -(1 - p[y[q]]) * np.log(p[y[q]])
            slow -= sum(p[i] * np.log(1 - p[i]) for i in range(4) if i != y[q])
            assert abs(signals.modified_entropy(z, y)[m, q] + slow) < 1e-12
