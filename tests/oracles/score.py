"""The attacks of `undertow score`, target by target and record by record, from the papers; nothing of undertow is used.

`dealing.Game` says who learns from whom. Every attack takes single signals or logits of all models, one target and the
K points at which it can be attacked, and gives (K,) scores, higher = member. What is pooled over points (variances,
priors, populations) is pooled over these K. Constants of the package (gamma, counts, ridges) are arguments.
"""

import math
from fractions import Fraction

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

STEP = 2.0**-23  # of a float32 number between 1 and 2: no spread below it is believed


# --- signals: logits (M, N, A, C) to one number or a vector per model and point


def log_probabilities(logits):
    z = np.asarray(logits, np.float64)
    return z - np.logaddexp.reduce(z, -1)[..., None]


def at_label(values, labels):
    return np.stack([values[:, q, :, label] for q, label in enumerate(labels)], 1)


def loss(logits, labels):
    return at_label(log_probabilities(logits), labels).mean(-1)


def confidence(logits):
    return np.sort(log_probabilities(logits), -1)[..., -1].mean(-1)


def entropy(logits):
    log_p = log_probabilities(logits)
    total = np.zeros(log_p.shape[:-1])
    for c in range(log_p.shape[-1]):
        total += log_p[..., c] * np.exp(log_p[..., c])
    return total.mean(-1)


def margin(logits, labels):
    z, found = np.asarray(logits, np.float64), []
    for q, label in enumerate(labels):
        found.append((z[:, q, :, label] - np.delete(z[:, q], label, -1).max(-1)).mean(-1))
    return np.stack(found, 1)


def phi(logits):
    """log p - log(1 - p) of every class: its logit less the logarithm of the sum over the others."""
    z = np.asarray(logits, np.float64)
    every = [z[..., c] - np.logaddexp.reduce(np.delete(z, c, -1), -1) for c in range(z.shape[-1])]
    return np.stack(every, -1)


def scaled_logit(logits, labels):
    return at_label(phi(logits), labels).mean(-1)


def log_probability(logits, labels):
    """log of the label's probability, averaged over views as probabilities."""
    log_p = at_label(log_probabilities(logits), labels)
    return np.logaddexp.reduce(log_p, -1) - math.log(log_p.shape[-1])


# --- rules


def moments(v):
    """Mean, sample variance (at least the rounding of a float32 signal, squared) and count."""
    mean = math.fsum(v) / len(v)
    variance = math.fsum((x - mean) ** 2 for x in v) / (len(v) - 1)
    return mean, max(variance, (STEP * max(1.0, abs(mean))) ** 2), len(v)


def described(values, game, t, points, side):
    """Moments of one side (0 IN, 1 OUT) of every point for target t."""
    return [moments([float(values[m, q]) for m in game.sides[t, q][side]]) for q in points]


def pooled(side):
    return math.fsum((n - 1) * v for _, v, n in side) / sum(n - 1 for _, _, n in side)


def log_normal(x, mean, variance):
    return -((x - mean) ** 2) / (2 * variance) - math.log(2 * math.pi * variance) / 2


def lira(values, game, t, points, per_example):
    """Carlini et al. 2022, Algorithm 1; own variances where every point has `per_example` models on each side."""
    sides = [described(values, game, t, points, side) for side in (0, 1)]
    own = min(n for side in sides for _, _, n in side) >= per_example
    shared = [pooled(side) for side in sides]
    row = []
    for k, q in enumerate(points):
        log_p = [log_normal(values[t, q], s[k][0], s[k][1] if own else v) for s, v in zip(sides, shared)]
        row.append(log_p[0] - log_p[1])
    return np.array(row)


def log_survival(z):
    """log of the normal tail beyond z."""
    if z < 25:
        return math.log(math.erfc(z / math.sqrt(2)) / 2)
    series = 1 - z**-2 + 3 * z**-4 - 15 * z**-6 + 105 * z**-8 - 945 * z**-10
    return -(z**2) / 2 - math.log(z * math.sqrt(2 * math.pi)) + math.log(series)


def lira_offline(values, game, t, points, per_example):
    """-log(1 - Phi(z)) with z standardised by the OUT models."""
    side = described(values, game, t, points, 1)
    own, shared = min(n for _, _, n in side) >= per_example, pooled(side)
    row = []
    for k, q in enumerate(points):
        mean, variance, _ = side[k]
        row.append(-log_survival((values[t, q] - mean) / math.sqrt(variance if own else shared)))
    return np.array(row)


def prior(side):
    """(d0, s0^2) of a scaled inverse chi-squared law of the variances, from the moments of their logarithms."""
    e = [math.log(v) - digamma((n - 1) / 2) + math.log((n - 1) / 2) for _, v, n in side]
    noise = math.fsum(polygamma(1, (n - 1) / 2) for _, _, n in side) / len(side)
    mean = math.fsum(e) / len(e)
    excess = math.fsum((x - mean) ** 2 for x in e) / (len(e) - 1) - noise if len(e) > 1 else 0.0
    if excess <= 0:
        return math.inf, pooled(side)
    half = math.exp(brentq(lambda u: math.log(polygamma(1, math.exp(u)) / excess), -40, 40, xtol=1e-15, rtol=1e-15))
    return 2 * half, math.exp(mean + digamma(half) - math.log(half))


def log_predictive(x, mean, variance, n, d0, s0):
    """Log-density at x given n values: Student's t, or the normal where the variance is known (d0 infinite)."""
    if math.isinf(d0):
        return log_normal(x, mean, s0 * (1 + 1 / n))
    nu = d0 + n - 1
    scale = (d0 * s0 + (n - 1) * variance) / nu * (1 + 1 / n)
    constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - math.log(nu * math.pi * scale) / 2
    return constant - (nu + 1) / 2 * math.log1p((x - mean) ** 2 / (nu * scale))


def bavaria(values, game, t, points):
    """Ratio of the predictive densities of IN and OUT with a prior on the variance that all points share."""
    sides = [described(values, game, t, points, side) for side in (0, 1)]
    priors = [prior(side) for side in sides]
    row = []
    for k, q in enumerate(points):
        log_p = [log_predictive(values[t, q], *s[k], *p) for s, p in zip(sides, priors)]
        row.append(log_p[0] - log_p[1])
    return np.array(row)


def rmia(log_p, game, t, points, gamma, a=None, tie=1e-11):
    """Zarifzadeh et al. 2024, online, or (with `a`) offline; (3, K): scores, scores at least, scores at most.

    The count of points that are beaten, plus a number below 1 that grows with the own ratio, over all points. Ratios
    as close as `tie` are equal; the bounds are those of a tenth and of ten times that.
    """
    expected = []
    for q in points:
        means = [math.fsum(math.exp(log_p[m, q]) for m in side) / max(len(side), 1) for side in game.sides[t, q]]
        expected.append(sum(means) / 2 if a is None else ((1 + a) * means[1] + 1 - a) / 2)
    ratio = np.array([math.exp(log_p[t, q]) / p for q, p in zip(points, expected)])
    # A ratio of logs, so that probabilities below the smallest float keep their order.
    own = np.array([log_p[t, q] - math.log(p) for q, p in zip(points, expected)])
    fraction = [(1 + r / (1 + abs(r))) / 2 for r in own]
    row = []
    for k in range(len(points)):
        others = np.delete(ratio, k)
        beaten = [int((ratio[k] >= gamma * others * (1 - s)).sum()) for s in (tie, tie / 10, tie * 10)]
        row.append([(b + fraction[k]) / len(points) for b in beaten])
    return np.array(row).T


def tmi_lda(logits, game, t, points, ridge):
    """Log-likelihood ratio of two normals with one covariance on phi averaged over views."""
    every = phi(logits).mean(2)
    row = []
    for q in points:
        inside, outside = (np.array([every[m, q] for m in side]) for side in game.sides[t, q])
        means = inside.mean(0), outside.mean(0)
        covariance = (np.cov(inside.T) + np.cov(outside.T)) / 2
        floor = (STEP * max(1.0, np.abs(means[1]).max())) ** 2
        covariance += (ridge * np.diag(covariance).mean() + floor) * np.eye(len(covariance))
        inverse = np.linalg.inv(covariance)
        quadratic = [(every[t, q] - mean) @ inverse @ (every[t, q] - mean) for mean in means]
        row.append((quadratic[1] - quadratic[0]) / 2)
    return np.array(row)


def adapted_lira(logits, game, t, points, ridge):
    """LiRA on the vector of views of phi, at the class where the target's is largest in each view."""
    every = phi(logits)
    row = []
    for q in points:
        label = every[t, q].argmax(-1)
        x = np.array([every[t, q, a, c] for a, c in enumerate(label)])
        log_p = []
        for side in game.sides[t, q]:
            values = np.array([[every[m, q, a, c] for a, c in enumerate(label)] for m in side])
            mean, covariance = values.mean(0), np.atleast_2d(np.cov(values.T))
            floor = (STEP * max(1.0, np.abs(mean).max())) ** 2
            covariance = covariance + (ridge * np.diag(covariance).mean() + floor) * np.eye(len(x))
            quadratic = (x - mean) @ np.linalg.inv(covariance) @ (x - mean)
            log_p.append(-quadratic / 2 - np.linalg.slogdet(covariance)[1] / 2)
        row.append(log_p[0] - log_p[1])
    return np.array(row)


def adapted_lira_averaged(logits, game, t, points, per_example):
    """LiRA on phi averaged over views, at the class where the target's is largest."""
    every = phi(logits).mean(2)
    label = every[t].argmax(-1)
    values = np.array([[every[m, q, label[q]] for q in range(every.shape[1])] for m in range(len(every))])
    return lira(values, game, t, points, per_example)


def tmi_knn(logits, game, t, points, k=15, tie=1e-12):
    """Share of IN among the k nearest shadow outputs on phi clipped to the unit ball; those as far share the rest."""
    every = phi(logits)
    every = every / np.maximum(1, np.sqrt((every**2).sum(-1, keepdims=True)))
    row = []
    for q in points:
        inside, outside = game.sides[t, q]
        rows = np.concatenate([every[m, q] for m in (*inside, *outside)])
        truth = np.repeat([1.0] * len(inside) + [0.0] * len(outside), every.shape[2])
        few, share = max(1, min(k, len(rows) // 2)), []
        for view in every[t, q]:
            far = ((rows - view) ** 2).sum(-1)
            last = np.sort(far)[few - 1]
            equal = np.abs(far - last) <= tie
            near = (far < last) & ~equal
            share.append((truth[near].sum() + (few - near.sum()) * truth[equal].mean()) / few)
        row.append(np.mean(share))
    return np.array(row)


# --- metrics


def auc(values, member):
    """Share of (member, non-member) pairs in the right order, ties half: every pair is looked at."""
    inside, outside = values[member], values[~member]
    won = sum(2 * int((x > outside).sum()) + int((x == outside).sum()) for x in inside)
    return won / (2 * len(inside) * len(outside))


def tpr(values, member, fpr):
    """The largest share of members above any threshold above which at most floor(n fpr) non-members lie."""
    inside, outside = values[member], values[~member]
    allowed = math.floor(len(outside) * Fraction(str(fpr)))
    best = 0.0
    for level in (-math.inf, *np.unique(values)):
        if int((outside > level).sum()) <= allowed:
            best = max(best, int((inside > level).sum()) / len(inside))
    return best
