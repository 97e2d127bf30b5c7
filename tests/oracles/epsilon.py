"""Epsilon bounds from their definitions, slowly: searches, integrals, sums and a linear programme."""

import math

import numpy as np
from scipy.optimize import linprog
from scipy.stats import binom, norm


def upper_rate(hits, trials, error):
    """The rate at which so few hits have probability `error`."""
    if hits == trials:
        return 1.0
    return search(lambda p: binom.cdf(hits, trials, p) > error, 0.0, 1.0)


def search(holds, low, high, rounds=200):
    """The point up to which `holds` is true."""
    for _ in range(rounds):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def least_epsilon(tpr, fpr, delta):
    """The smallest epsilon of which both inequalities of differential privacy hold."""

    def broken(epsilon):
        e = math.exp(epsilon)
        return tpr > e * fpr + delta or 1 - fpr > e * (1 - tpr) + delta

    return search(broken, 0.0, 50.0) if broken(0.0) else 0.0


def gaussian_delta(epsilon, mu):
    """The integral of what N(mu, 1) has over e^epsilon N(0, 1)."""
    x = np.linspace(-12, 12 + mu, 400_001)
    return float(np.trapezoid(np.maximum(norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x), 0), x))


def credible_epsilon(tp, fn, fp, tn, delta, confidence, rng, draws=400_000):
    """The quantile of epsilon over draws from the two Jeffreys posteriors."""
    fpr, fnr = rng.beta(fp + 0.5, tn + 0.5, draws), rng.beta(fn + 0.5, tp + 0.5, draws)
    tpr = 1 - fnr
    with np.errstate(divide="ignore"):
        one = np.log(np.maximum(tpr - delta, 0) / fpr)
        two = np.log(np.maximum(1 - fpr - delta, 0) / fnr)
    return float(np.quantile(np.maximum(np.maximum(one, two), 0), 1 - confidence))


def one_run_p(m, r, v, epsilon, delta):
    """Steinke, Nasr and Jagielski 2023, their p-value term by term."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    tail = sum(binom.pmf(j, r, q) for j in range(v, r + 1))
    worst = max((sum(binom.pmf(j, r, q) for j in range(v - i, v)) / i for i in range(1, v + 1)), default=0.0)
    return min(tail + 2 * m * delta * worst, 1.0)


def likeliest(m, r, v, lines):
    """The largest P(at least v of r guesses right) that f-DP allows, f given by its tangents.

    lines: (slope, height) with least FPR g(TPR) = max(0, slope TPR + height). A linear programme over the
    distribution p_0..p_r of the number of right guesses: wrong_{i-1} >= g(right_i) for every i.
    """
    j = np.arange(r + 1)
    rows, limits = [], []
    for i in range(1, r + 1):
        right, wrong = (j >= i) * j / m, (j >= i - 1) * (r - j) / m
        for slope, height in lines:
            rows.append(slope * right - wrong)
            limits.append(-height)
    done = linprog(-(j >= v).astype(float), np.array(rows), limits, np.ones((1, r + 1)), [1.0], bounds=(0, 1))
    return float(-done.fun)


def wealth_by_hand(outcomes, epsilon, delta):
    """The betting game one guess at a time."""
    e, right, wrong, money, path = math.exp(epsilon), 0.5, 0.5, 1.0, []
    for outcome in outcomes:
        stake = min(max((right - wrong * e) / (e * (right + wrong)), 0.0), 0.999 / (e + delta))
        money *= 1 + stake * {1: 1 - delta, -1: -(e + delta), 0: -delta}[int(outcome)]
        right, wrong = right + (outcome == 1), wrong + (outcome == -1)
        path.append(money)
    return path
