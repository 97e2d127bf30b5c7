"""The same outputs in other encodings give the same numbers, or the loss is said with its share."""

import re

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from undertow.audits.membership.evidence import SignalSet, check_evidence
from undertow.audits.membership.score import audit_score
from undertow.engine.design import Design
from undertow.rng import stream
from undertow.signals import label_confidence, scaled_logits

MODELS, RECORDS, CLASSES = 16, 200, 10
TRUTH = np.stack([s.member for s in Design(0, RECORDS, MODELS, 1, RECORDS).slots("shadow")])


def confident():
    """float32 logits of models that are sure of most records (margins 5 to 40), surer of members; labels."""
    rng = stream(0, "encodings")
    labels = rng.integers(CLASSES, size=RECORDS)
    z = rng.normal(size=(MODELS, RECORDS, CLASSES))
    surer = 5 + rng.gamma(3, 3, size=RECORDS) + 3 * TRUTH * rng.exponential(size=RECORDS)
    z[:, np.arange(RECORDS), labels] += surer + rng.normal(size=(MODELS, RECORDS))
    return z.astype(np.float32), labels


Z, LABELS = confident()
P32 = softmax(Z, -1)
KEEP = {
    "float64 probabilities": ("probabilities", softmax(Z.astype(float), -1)),
    "float32 probabilities": ("probabilities", P32),
    "float32 probabilities as logits": ("logits", P32),
    "float32 log-probabilities": ("logits", log_softmax(Z, -1)),
    "float16 logits": ("logits", Z.astype(np.float16)),
}
LOSE = {
    "clipped at 1e-7": ("probabilities", np.clip(P32, 1e-7, 1 - 1e-7), r"% of .* end of the scale \(clipped: .* 1e-07"),
    "logarithms of that": ("logits", np.log(np.clip(P32, 1e-7, 1 - 1e-7)), r"% of .* end of the scale \(clipped"),
    "float16": ("probabilities", P32.astype(np.float16), "end of the scale .probabilities of exactly 0 or 1"),
    "four decimals": ("probabilities", P32.round(4), "end of the scale .probabilities of exactly 0 or 1"),
    "one probability": ("values", P32[:, np.arange(RECORDS), LABELS], "end of the scale .the same extreme value"),
}  # fmt: skip


def audited(key, outputs):
    labels = {} if key == "values" else {"labels": LABELS}
    return audit_score(SignalSet("s", "", {"member": TRUTH, key: outputs, **labels}), ["lira"])


@pytest.fixture(scope="module")
def truth():
    result = audited("logits", Z)
    assert result.warnings == ()
    return result


def test_the_models_are_so_sure_that_float32_saturates():
    assert (P32.max(-1) == 1).mean() > 0.2


@pytest.mark.parametrize("encoding", KEEP)
def test_encodings_that_keep_the_order_agree(truth, encoding):
    result = audited(*KEEP[encoding])
    exact = "float16" not in encoding  # its logits are rounded to 1/64 at 16 to 32, a tenth of their spread at most
    scores, expected = result.scores[0].values, truth.scores[0].values
    np.testing.assert_allclose(scores, expected, atol=1e-4 if exact else 1.0)
    for metric, fpr in (("auc", None), ("tpr", 0.01)):
        found, right = (r.find("lira", metric, fpr).value for r in (result, truth))
        assert found == pytest.approx(right, abs=1e-4 if exact else 0.005)
    assert not any("order" in warning for warning in result.warnings)


@pytest.mark.parametrize("encoding", LOSE)
def test_encodings_that_lose_the_order_say_so(truth, encoding):
    key, outputs, says = LOSE[encoding]
    result = audited(key, outputs)
    said = next(warning for warning in result.warnings if "end of the scale" in warning)
    assert re.search(says, said)
    assert "understates the leak" in said
    share = float(re.search(r"([\d.]+)% of the \(model", said)[1])
    assert share == pytest.approx(100 * lost(outputs).mean(), abs=0.06)
    assert result.find("lira", "tpr", 0.01).value < 0.8 * truth.find("lira", "tpr", 0.01).value


def test_saturation_is_said_without_labels():
    signals = SignalSet("s", "", {"member": TRUTH, "probabilities": P32.astype(np.float16)})
    assert "probabilities of exactly 0 or 1" in " ".join(check_evidence(signals)[2])
    assert check_evidence(SignalSet("s", "", {"member": TRUTH, "probabilities": P32}))[2] == ()


def lost(outputs):
    """True where all that is left of a pair is that it lies at the end, (M, N), counted entry by entry."""
    if outputs.ndim == 2:
        return outputs == outputs.max()
    least = outputs[outputs > 0].min() if outputs.min() >= 0 else outputs.min()
    others = np.arange(CLASSES) != LABELS[:, None]
    sure = np.where(others, outputs <= least, True).all(-1)
    return sure | (outputs[:, np.arange(RECORDS), LABELS] <= least)


def test_zeros_are_read_as_the_smallest_seen_of_their_class():
    p = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [0.0, 0.9, 0.1], [0.25, 0.25, 0.5]])
    signals = SignalSet(
        "s", "", {"member": np.array([1, 0, 1, 0]), "probabilities": p, "labels": np.array([0, 0, 1, 2])}
    )
    evidence, _, said = check_evidence(signals)
    np.testing.assert_allclose(np.exp(evidence.logits[0, 1, 0]), [1, 0.25, 0.1])
    np.testing.assert_allclose(np.exp(evidence.logits[0, 2, 0]), [0.25, 0.9, 0.1])
    assert "25% of the probabilities are exactly 0" in said[0]


def test_logarithms_of_zero_are_read_the_same_way():
    p = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [0.0, 0.9, 0.1], [0.25, 0.25, 0.5]])
    both = []
    for key, given in (("probabilities", p), ("logits", np.where(p > 0, np.log(np.where(p > 0, p, 1)), -np.inf))):
        both.append(check_evidence(SignalSet("s", "", {"member": np.array([1, 0, 1, 0]), key: given}))[0].logits)
    np.testing.assert_allclose(*both)


def test_rounding_that_ties_two_classes_is_said():
    rng = stream(0, "two classes")
    truth, labels = np.arange(2000) % 2 == 0, rng.integers(2, size=2000)
    z = np.zeros((2000, 2), np.float32)
    z[np.arange(2000), labels] = 6 + rng.normal(size=2000) + truth
    exact = check_evidence(SignalSet("s", "", {"member": truth, "logits": z, "labels": labels}))[2]
    half = check_evidence(SignalSet("s", "", {"member": truth, "logits": z.astype(np.float16), "labels": labels}))[2]
    stored = check_evidence(
        SignalSet("s", "", {"member": truth, "logits": z.astype(np.float16).astype(np.float32), "labels": labels})
    )[2]
    assert exact == ()
    assert half == stored
    _, place, count = np.unique(z.astype(np.float16).max(-1), return_inverse=True, return_counts=True)
    share = (count[place] > 1).mean()
    assert (
        f"{100 * share:.3g}% of the (model, record) pairs have exactly the value of another record (float16)" in half[0]
    )


def test_rounded_values_are_said():
    rng = stream(0, "decimals")
    truth = np.arange(2000) % 2 == 0
    values = (rng.normal(size=2000) + truth).round(2)
    said = check_evidence(SignalSet("s", "", {"member": truth, "values": values}))[2]
    assert "rounded to 2 decimals" in said[0]


def test_a_model_that_says_the_same_of_every_record():
    z = np.tile(np.array([3.0, 1.0, 0.0]), (40, 1))
    signals = SignalSet("s", "", {"member": np.arange(40) % 2, "logits": z, "labels": np.zeros(40, int)})
    assert check_evidence(signals)[2] == (
        "`logits`: every (model, record) pair has the same value, so they say nothing about membership",
    )


def test_log_probabilities_in_float32_keep_what_one_minus_p_loses():
    """The others' probabilities say how far from 1 the label's is, where 1 - p is 0."""
    outputs = np.log(P32.astype(float))
    np.testing.assert_allclose(scaled_logits(outputs), scaled_logits(Z), rtol=2e-6, atol=2e-6)
    given, right = (label_confidence(z[:, :, None], LABELS) for z in (outputs, Z))
    np.testing.assert_allclose(given, right, rtol=2e-6, atol=2e-6)
