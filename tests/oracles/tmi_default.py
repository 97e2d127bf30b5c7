"""The default rule, model by model and point by point: conditional normals, then two normals per point."""

import numpy as np
from scipy.stats import multivariate_normal
from tests.oracles.tmi import phi


def tmi_default_by_hand(shadow, target, models_of_kernel, freedom, ridge):
    rows, asked = phi(shadow.values).mean(2), phi(target).mean(2)
    seen, heard = surprise_by_hand(rows, asked, shadow.member, models_of_kernel)
    return ratio_by_hand(seen, heard, shadow.member, shadow.labels, freedom, ridge)


def sides_by_hand(rows, member):
    """Middle (Q, C), gap (Q, C), residual (M, Q, C) and unit (Q,), in units of the output."""
    models, points, classes = rows.shape
    middle, gap = np.zeros((points, classes)), np.zeros((points, classes))
    residual, unit = rows.copy(), np.zeros(points)
    for q in range(points):
        inside, outside = rows[member[:, q], q].mean(0), rows[~member[:, q], q].mean(0)
        middle[q], gap[q] = (inside + outside) / 2, inside - outside
        for m in range(models):
            residual[m, q] -= inside if member[m, q] else outside
        unit[q] = np.sqrt((residual[:, q] ** 2).sum() / ((models - 2) * classes))
    return middle, gap, residual, unit


def surprise_by_hand(rows, asked, member, models_of_kernel):
    middle, gap, residual, unit = sides_by_hand(rows, member)
    models, points, classes = rows.shape
    share = models / (models + models_of_kernel)
    centred = middle - middle.mean(1, keepdims=True)
    direction = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    kernel = np.exp(direction @ direction.T - 1)

    def sample(some):
        """Covariance of points over the residuals of `some` shadows, in units of the points."""
        scaled = residual / unit[:, None]
        return sum(scaled[m] @ scaled[m].T for m in some) / ((models - 2) * classes)

    off = ~np.eye(points, dtype=bool)
    fit = np.clip((sample(range(models)) * kernel)[off].sum() / (kernel**2)[off].sum(), 0, 0.95)

    def rest(x, some):
        """x (Q, C) less the conditional mean of each point given the others."""
        covariance = share * sample(some) + (1 - share) * fit * kernel
        for q in range(points):
            lost = share * (sample(range(models)) - sample(some))[q, q]
            covariance[q, q] = 1 - lost + ((gap[q] / unit[q]) ** 2).mean() / 4
        z, result = (x - middle) / unit[:, None], np.zeros_like(x)
        for q in range(points):
            others = np.arange(points) != q
            weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, q])
            result[q] = z[q] - weights @ z[others]
        return result * unit[:, None] + middle

    everyone = list(range(models))
    left = np.array([rest(rows[m], [other for other in everyone if other != m]) for m in everyone])
    return left, np.array([rest(x, everyone) for x in asked])


def ratio_by_hand(rows, asked, member, labels, freedom, ridge):
    middle, gap, residual, unit = sides_by_hand(rows, member)
    models, points, classes = rows.shape
    own = [residual[:, q].T @ residual[:, q] / unit[q] ** 2 / (models - 2) for q in range(points)]
    mean = np.mean(own, 0)
    inverted = mean + ridge * np.diag(mean).mean() * np.eye(classes)
    weight = (freedom + classes) / (freedom + classes + models - 2)
    covariance = [(1 - weight) * c + weight * inverted for c in own]
    error = [1 / member[:, q].sum() + 1 / (~member[:, q]).sum() for q in range(points)]
    prior = np.zeros((points, classes))
    for q in range(points):
        same = [] if labels is None else [gap[p] for p in range(points) if p != q and labels[p] == labels[q]]
        prior[q] = np.mean([*same, gap.mean(0)], 0) / unit[q]
    off = gap / unit[:, None] - prior
    between = off.T @ off / points - np.mean([e * c for e, c in zip(error, own)], 0)
    values, vectors = np.linalg.eigh(between)
    between = sum(max(value, 0) * np.outer(v, v) for value, v in zip(values, vectors.T))
    result = np.zeros(asked.shape[:2])
    for q in range(points):
        shrunk = prior[q] + between @ np.linalg.inv(between + error[q] * covariance[q]) @ off[q]
        for t in range(len(asked)):
            x, centre = asked[t, q] / unit[q], middle[q] / unit[q]
            result[t, q] = multivariate_normal.logpdf(x, centre + shrunk / 2, covariance[q])
            result[t, q] -= multivariate_normal.logpdf(x, centre - shrunk / 2, covariance[q])
    return result
