"""From a model's outputs to numbers a rule can use. NumPy only; every signal is higher for members."""

import numpy as np
from scipy.special import log_softmax, logsumexp

from undertow.types import Array


def scaled_logits(logits: Array) -> Array:
    """log p_c - log(1 - p_c) for every class c, shape of `logits` (..., C), float64; finite at any margin.

    Carlini et al. 2022 (arXiv:2112.03570), in the stable form z_c - logsumexp of the other logits:
    no epsilon, no saturation. Close to normal across models, which raw losses are not.

    >>> scaled_logits(np.array([100.0, 0.0]))
    array([ 100., -100.])
    """
    z = np.asarray(logits, float)
    top = z.argmax(-1)[..., None]
    others = z.copy()
    np.put_along_axis(others, top, -np.inf, -1)
    highest, second = np.take_along_axis(z, top, -1), others.max(-1, keepdims=True)
    below = np.exp(others - second)  # the largest class is 0 here, the next one 1: the sum neither over- nor underflows
    rest = np.log(below.sum(-1, keepdims=True)) + second  # logsumexp of all but the largest class
    out: Array = z - highest - np.log1p(np.exp(rest - highest) - np.exp(others - highest))
    np.put_along_axis(out, top, highest - rest, -1)
    return out


def at_label(values: Array, labels: Array) -> Array:
    """values (M, Q, ..., C) at each point's class, (M, Q, ...)."""
    index = labels.reshape((1, -1) + (1,) * (values.ndim - 2))
    return np.take_along_axis(values, np.broadcast_to(index, (*values.shape[:-1], 1)), -1)[..., 0]


def label_confidence(logits: Array, labels: Array) -> Array:
    """Scaled logit of the label, averaged over views, (M, Q), from logits (M, Q, A, C); higher = member."""
    z = np.asarray(logits, float)
    own = at_label(z, labels)
    others = np.where(np.arange(z.shape[-1]) == labels.reshape(1, -1, 1, 1), -np.inf, z)
    result: Array = (own - logsumexp(others, -1)).mean(2)
    return result


def label_log_probability(logits: Array, labels: Array) -> Array:
    """log of the label's probability (averaged over views as probabilities), (M, Q); higher = member."""
    log_p = at_label(log_softmax(np.asarray(logits, float), -1), labels)
    result: Array = logsumexp(log_p, -1) - np.log(log_p.shape[-1])
    return result


def negative_loss(logits: Array, labels: Array) -> Array:
    """Minus the cross-entropy of the label, averaged over views, (M, Q); higher = member.

    Yeom et al. 2018 (arXiv:1709.01604), the loss threshold attack.
    """
    result: Array = at_label(log_softmax(np.asarray(logits, float), -1), labels).mean(2)
    return result


def confidence(logits: Array) -> Array:
    """Largest class log-probability, averaged over views, (M, Q); higher = member. Needs no label.

    In logs: the largest probability itself saturates at 1 and would tie confident points.
    """
    result: Array = log_softmax(np.asarray(logits, float), -1).max(-1).mean(2)
    return result


def negative_entropy(logits: Array) -> Array:
    """Minus the entropy (nats) of the prediction, averaged over views, (M, Q); higher = member."""
    log_p = log_softmax(np.asarray(logits, float), -1)
    result: Array = (np.exp(log_p) * log_p).sum(-1).mean(2)
    return result


def margin(logits: Array, labels: Array) -> Array:
    """Logit of the label minus the largest other, averaged over views, (M, Q); higher = member."""
    z = np.asarray(logits, float)
    others = np.where(np.arange(z.shape[-1]) == labels.reshape(1, -1, 1, 1), -np.inf, z)
    result: Array = (at_label(z, labels) - others.max(-1)).mean(2)
    return result


def modified_entropy(logits: Array, labels: Array) -> Array:
    """Minus the modified entropy of the prediction, averaged over views, (M, Q); higher = member.

    Song and Mittal 2021 (arXiv:2003.10595), eq. 6: -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i). Small
    only where the model is sure and right; the plain entropy is as small where it is sure and wrong.
    """
    z = np.asarray(logits, float)
    log_p = log_softmax(z, -1)
    log_rest = log_p - scaled_logits(z)  # log(1 - p), without cancellation
    own = np.exp(at_label(log_rest, labels)) * at_label(log_p, labels)
    terms = np.where(np.arange(z.shape[-1]) == labels.reshape(1, -1, 1, 1), 0.0, np.exp(log_p) * log_rest)
    result: Array = (own + terms.sum(-1)).mean(2)
    return result
