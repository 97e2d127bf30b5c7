"""Carlini et al. 2022, Algorithm 1 and its offline form, point by point."""

import numpy as np
from scipy.stats import norm


def sides(shadow, q):
    """The values of point q in the models that saw it, and in the others."""
    models = range(len(shadow.member))
    inside = [shadow.values[m, q] for m in models if shadow.member[m, q]]
    outside = [shadow.values[m, q] for m in models if not shadow.member[m, q]]
    return np.array(inside), np.array(outside)


def pooled(shadow, side):
    """One standard deviation for all points: residuals about each point's own mean."""
    squares, freedom = 0.0, 0
    for q in range(shadow.member.shape[1]):
        values = sides(shadow, q)[side]
        squares += ((values - values.mean()) ** 2).sum()
        freedom += len(values) - 1
    return np.sqrt(squares / freedom)


def lira_by_hand(shadow, target, per_example):
    result = np.zeros(target.shape)
    for t in range(len(target)):
        for q in range(target.shape[1]):
            inside, outside = sides(shadow, q)
            std_in = inside.std(ddof=1) if per_example else pooled(shadow, 0)
            std_out = outside.std(ddof=1) if per_example else pooled(shadow, 1)
            x = target[t, q]
            result[t, q] = norm.logpdf(x, inside.mean(), std_in) - norm.logpdf(x, outside.mean(), std_out)
    return result


def lira_offline_by_hand(shadow, target, per_example):
    result = np.zeros(target.shape)
    for t in range(len(target)):
        for q in range(target.shape[1]):
            outside = sides(shadow, q)[1]
            std = outside.std(ddof=1) if per_example else pooled(shadow, 1)
            result[t, q] = -np.log(1 - norm.cdf(target[t, q], outside.mean(), std))
    return result
