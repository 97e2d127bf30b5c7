"""Abascal et al. (PoPETs 2024), point by point and view by view; metaclassifiers by torch in float64."""

import numpy as np
from scipy.stats import multivariate_normal
from tests.oracles.lira import lira_by_hand
from tests.oracles.metaclassifier import odds_with_torch, train_with_torch

from undertow.attacks.metaclassifier import draw
from undertow.types import Signals


def phi(logits):
    """log p - log(1 - p) of every class, with probabilities: for moderate logits only."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p = p / p.sum(-1, keepdims=True)
    return np.log(p) - np.log(1 - p)


def clip(vector):
    return vector / max(1.0, np.sqrt((vector**2).sum()))


def one_hot(logits):
    result = np.zeros(len(logits))
    result[int(np.argmax(logits))] = 1
    return result


def top_k_phi(logits, k):
    p = np.exp(logits) / np.exp(logits).sum()
    kept = np.argsort(-p)[:k]
    spread = np.full(len(p), (1 - p[kept].sum()) / (len(p) - k))
    spread[kept] = p[kept]
    return clip(np.log(spread) - np.log(1 - spread))


def metaclassifier_odds(features, member, asked, recipe, rng):
    """Log-odds (T, Q, A) of `asked`, one torch network per point, each with its own child generator."""
    models, points, views, size = features.shape
    result = np.zeros(asked.shape[:3])
    for q, child in enumerate(rng.spawn(points)):
        rows = np.array([features[m, q, a] for m in range(models) for a in range(views)])
        labels = np.array([member[m, q] for m in range(models) for a in range(views)])
        weights = train_with_torch(rows, labels, recipe, draw(child, len(rows), size, recipe))
        for t in range(len(asked)):
            result[t, q] = odds_with_torch(weights, asked[t, q])
    return result


def every(function, logits):
    """`function` of the logits of every model, point and view."""
    return np.array([[[function(view) for view in point] for point in model] for model in logits])


def tmi_by_hand(shadow, target, recipe, rng, feature=lambda z: clip(phi(z))):
    odds = metaclassifier_odds(every(feature, shadow.values), shadow.member, every(feature, target), recipe, rng)
    return (1 / (1 + np.exp(-odds))).mean(-1)


def tmi_averaged_by_hand(shadow, target, recipe, rng):
    rows, asked = phi(shadow.values).mean(2), phi(target).mean(2)
    mean, std = rows.mean(0), rows.std(0, ddof=1)
    rows, asked = (rows - mean) / std, (asked - mean) / std
    return metaclassifier_odds(rows[:, :, None], shadow.member, asked[:, :, None], recipe, rng)[..., 0]


def tmi_global_by_hand(shadow, target, recipe, rng):
    rows, asked = phi(shadow.values).mean(2), phi(target).mean(2)
    models, points, classes = rows.shape
    centre = rows.mean(0)

    def describe(values, q):
        order = sorted(range(classes), key=lambda c: -centre[q, c])
        return [values[q, c] - centre[q, c] for c in order] + [centre[q, c] for c in order]

    x = np.array([describe(rows[m], q) for m in range(models) for q in range(points)])
    y = np.array([shadow.member[m, q] for m in range(models) for q in range(points)])
    mean, std = x.mean(0), x.std(0)
    child = rng.spawn(1)[0]
    weights = train_with_torch((x - mean) / std, y, recipe, draw(child, len(x), x.shape[1], recipe))
    asked = np.array([[describe(values, q) for q in range(points)] for values in asked])
    return np.array([odds_with_torch(weights, (values - mean) / std) for values in asked])


def tmi_lda_by_hand(shadow, target, ridge):
    rows, asked = phi(shadow.values).mean(2), phi(target).mean(2)
    result = np.zeros(asked.shape[:2])
    for q in range(rows.shape[1]):
        inside, outside = rows[shadow.member[:, q], q], rows[~shadow.member[:, q], q]
        shared = (np.cov(inside.T) + np.cov(outside.T)) / 2
        shared = shared + ridge * np.diag(shared).mean() * np.eye(len(shared))
        for t in range(len(asked)):
            result[t, q] = multivariate_normal.logpdf(asked[t, q], inside.mean(0), shared)
            result[t, q] -= multivariate_normal.logpdf(asked[t, q], outside.mean(0), shared)
    return result


def tmi_knn_by_hand(shadow, target, k):
    """Without ties."""
    models, points, views = shadow.values.shape[:3]
    rows, asked = every(lambda z: clip(phi(z)), shadow.values), every(lambda z: clip(phi(z)), target)
    result = np.zeros(asked.shape[:2])
    for t in range(len(asked)):
        for q in range(points):
            for view in asked[t, q]:
                near = sorted(
                    (np.linalg.norm(view - rows[m, q, a]), shadow.member[m, q])
                    for m in range(models)
                    for a in range(views)
                )
                result[t, q] += np.mean([inside for _, inside in near[:k]]) / views
    return result


def adapted_lira_by_hand(shadow, target, ridge):
    rows, asked = phi(shadow.values), phi(target)
    views = rows.shape[2]
    result = np.zeros(asked.shape[:2])
    for t in range(len(asked)):
        for q in range(rows.shape[1]):
            label = [int(np.argmax(asked[t, q, a])) for a in range(views)]
            x = [asked[t, q, a, label[a]] for a in range(views)]
            for side, sign in ((True, 1), (False, -1)):
                models = [m for m in range(len(rows)) if shadow.member[m, q] == side]
                values = np.array([[rows[m, q, a, label[a]] for a in range(views)] for m in models])
                covariance = np.atleast_2d(np.cov(values.T))
                covariance = covariance + ridge * np.diag(covariance).mean() * np.eye(views)
                result[t, q] += sign * multivariate_normal.logpdf(x, values.mean(0), covariance)
    return result


def adapted_lira_averaged_by_hand(shadow, target, per_example):
    rows, asked = phi(shadow.values).mean(2), phi(target).mean(2)
    result = np.zeros(asked.shape[:2])
    for t in range(len(asked)):
        label = [int(np.argmax(asked[t, q])) for q in range(rows.shape[1])]
        values = np.array([[rows[m, q, c] for q, c in enumerate(label)] for m in range(len(rows))])
        x = np.array([[asked[t, q, c] for q, c in enumerate(label)]])
        result[t] = lira_by_hand(Signals(values, shadow.member), x, per_example)[0]
    return result
