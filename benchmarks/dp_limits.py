"""What no valid bound can exceed: limits of one-run audits, and of final models of subsampled training.

    python benchmarks/dp_limits.py one-run [--canaries 400] [--epsilon 8]
    python benchmarks/dp_limits.py final [--epsilon 8] [--rate .01] [--steps 1000] [--runs 500]

one-run: an adversary's mechanism that is mu-GDP in every coin, and looks on some days like one of the claimed epsilon.
A bound that assumes nothing else has to allow it. final: the least error of any unbiased reading of the noise.
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from scipy.optimize import linprog
from scipy.special import expit, log_expit
from scipy.stats import norm

from undertow.metrics.ceiling import final_iterate_epsilon
from undertow.metrics.epsilon import gdp_delta, gdp_mu
from undertow.rng import stream
from undertow.training.privacy import Privacy, least_noise
from undertow.types import Array

DELTA, ERROR = 1e-5, 0.05
CAPS = np.array([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8.0])  # of a day's privacy losses
EPSILONS = np.linspace(0, CAPS.max(), 161)
GAMES, FRESH = 3000, 20_000  # simulated to find the worst mixture of days; to measure it
MOST = 50.0  # logarithm of a likelihood ratio


def day_deltas(mu: float) -> Array:
    """(C, E) delta at each epsilon of N(0, 1) against N(mu, 1) whose privacy losses are cut at each cap."""
    loss = np.linspace(0, mu**2 / 2 + 9 * mu, 6001)
    density = norm.pdf(loss, mu**2 / 2, mu) + norm.pdf(-loss, mu**2 / 2, mu)
    kept = np.minimum(loss, CAPS[:, None])
    gain = 1 - np.exp(np.minimum(EPSILONS[:, None, None] - kept, 0))
    return np.asarray(np.trapezoid(density * expit(kept) * gain, loss, axis=2).T)


def ratios(games: int, canaries: int, mu: float, seed: int) -> Array:
    """(games, C) likelihood under each day over that under N(0, 1) against N(mu, 1), where the latter is played."""
    loss = mu**2 / 2 + mu * stream(seed, "limits").standard_normal((games, canaries))  # of the true coin
    size, right, true = np.abs(loss), np.sign(loss), log_expit(loss)
    logs = [(log_expit(right * np.minimum(size, cap)) - true).sum(1) for cap in CAPS]
    return np.exp(np.minimum(np.stack(logs, 1), MOST))


def most_power(epsilon: float, deltas: Array, games: Array, fresh: Array) -> float:
    """How often, at most, a test of error 5 % refuses "mu-GDP of that epsilon" where the claimed epsilon is true.

    Minimises error * l + mean max(0, 1 - sum_c u_c ratio_c) over l and days u (sum l) that are mu-GDP together; for
    any feasible l and u the value is a bound (Neyman and Pearson), so it is measured on fresh games.
    """
    allowed = gdp_delta(EPSILONS, float(gdp_mu(epsilon, DELTA)))
    days, n = CAPS.size, len(games)
    cost = np.concatenate([[ERROR], np.zeros(days), np.full(n, 1 / n)])
    short = np.hstack([np.zeros((n, 1)), -games, -np.eye(n)])
    unit = np.maximum(allowed, 1e-12)[:, None]  # of a row, for the solver's sake
    private = np.hstack([-allowed[:, None] / unit, deltas.T / unit, np.zeros((EPSILONS.size, n))])
    whole = np.concatenate([[-1.0], np.ones(days), np.zeros(n)])[None]
    limits = np.concatenate([-np.ones(n), np.zeros(EPSILONS.size)])
    found = linprog(cost, np.vstack([short, private]), limits, whole, [0.0], method="highs")
    price, days_of = found.x[0], np.maximum(found.x[1 : 1 + days], 0)
    if price > 0:  # rounding of the solver: a little less of every day but the one that tells nothing
        days_of *= min(1.0, 1 / float(np.max(days_of @ deltas / np.maximum(price * allowed, 1e-300))))
        days_of[0] += price - days_of.sum()
    return float(min(1.0, price * ERROR + np.maximum(1 - fresh @ days_of, 0).mean()))


def one_run(options: argparse.Namespace) -> None:
    mu = float(gdp_mu(options.epsilon, DELTA))
    deltas = day_deltas(mu)
    games, fresh = (ratios(n, options.canaries, mu, seed) for seed, n in enumerate((GAMES, FRESH)))
    print("| the bound is at least | in at most |\n|---|---|")
    levels = np.concatenate([np.arange(0.5, 1, 0.05) * options.epsilon, [5.41]])
    for epsilon in np.sort(levels):
        print(f"| {epsilon:g} | {100 * most_power(epsilon, deltas, games, fresh):.0f} % of audits |", flush=True)


def final(options: argparse.Namespace) -> None:
    """The best reading of a shift over a spread, scale and baseline unknown, has variance (2 + t^2 / 4) / runs."""
    noise = least_noise(Privacy(options.epsilon, DELTA), options.rate, options.steps, 1.001).multiplier
    shift = options.rate * options.steps**0.5 / noise
    print(f"noise {noise:.4f}, shift over spread {shift:.3f}, {options.runs} + {options.runs} runs")
    print("| what is known | noise at most, typically | epsilon of the final model |\n|---|---|---|")
    error = ((2 + shift**2 / 4) / options.runs) ** 0.5
    rows = (("everything", 1.0), ("the unit", 1 + norm.isf(ERROR) / (2 * options.runs) ** 0.5),
            ("rate and steps only", shift / (shift - norm.isf(ERROR) * error)))  # fmt: skip
    for known, times in rows:
        epsilon = final_iterate_epsilon(noise * times, options.rate, options.steps, DELTA)
        print(f"| {known} | {noise * times:.3f} | {epsilon:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("one-run", "final"))
    parser.add_argument("--canaries", type=int, default=400)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    {"one-run": one_run, "final": final}[options.mode](options)


if __name__ == "__main__":
    main()
