"""The area under the ROC curve by its meaning: how often a member outscores a non-member."""

import numpy as np


def auc(scores, member):
    """Share of (member, non-member) pairs in the right order, ties half; from pooled scores and truth."""
    _, inverse, count = np.unique(np.asarray(scores).ravel(), return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2  # mid-rank, from 1
    truth = np.asarray(member).ravel()
    inside, outside = truth.sum(), (~truth).sum()
    return (middle[inverse.ravel()][truth].sum() - inside * (inside + 1) / 2) / (inside * outside)
