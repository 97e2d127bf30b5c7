"""Zarifzadeh et al. 2024, with probabilities and loops."""

import numpy as np


def rmia_share(shadow, target, gamma, a=None):
    """The raw share; online where `a` is None."""
    models, points = shadow.member.shape
    p_x = np.zeros(points)
    for q in range(points):
        p = np.exp(shadow.values[:, q])
        p_in = [p[m] for m in range(models) if shadow.member[m, q]]
        p_out = [p[m] for m in range(models) if not shadow.member[m, q]]
        p_x[q] = (np.mean(p_in) + np.mean(p_out)) / 2 if a is None else ((1 + a) * np.mean(p_out) + 1 - a) / 2
    result = np.zeros(target.shape)
    for t in range(len(target)):
        ratio = np.exp(target[t]) / p_x
        for q in range(points):
            others = [z for z in range(points) if z != q]
            result[t, q] = np.mean([ratio[q] / ratio[z] >= gamma for z in others])
    return result
