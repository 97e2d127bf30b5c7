"""How often does each epsilon bound exceed the truth? Simulated audits of mechanisms whose epsilon is known.

    python benchmarks/epsilon_coverage.py [--audits 2000] [--seed 0] [--only NAME]

One row per bound, way to fix its threshold, mechanism and true epsilon (at delta 1e-5): how many of the audits gave a
95 % bound above the truth, with the exact 95 % interval of that share, and the median bound. A row passes where the
share is at most .05 + 2 standard errors. Mechanisms, each meeting what the bound assumes:

- response: randomised response, the tight case of (epsilon, 0)-DP, with noise that breaks ties;
- gaussian: N(0, 1) against N(mu, 1);
- subsampled: 20 Poisson-subsampled Gaussian steps at rate .1, read by their likelihood ratio.

`uncorrected (not offered)` takes the largest bound over all thresholds, as one much-cited tool does. No bound of ours.
"""

import argparse
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.stats import beta

from undertow.metrics.epsilon import (
    Bound,
    Guesses,
    Trials,
    claimed_family,
    clopper_pearson,
    from_scores,
    gdp,
    gdp_accuracy,
    gdp_mu,
    joint_beta,
    one_run,
    one_run_from_scores,
    sequential,
    subsampled_gaussian_epsilon,
    subsampled_gaussian_family,
)
from undertow.rng import stream

DELTA, CONFIDENCE = 1e-5, 0.95
TRUE = (0.0, 0.5, 1.0, 4.0)
WORLD = 500  # trials with the record, and as many without
RATE, STEPS = 0.1, 20
Play = Callable[[np.random.Generator, np.ndarray, float], np.ndarray]  # members (n,), epsilon -> scores (n,)


def response(rng: np.random.Generator, member: np.ndarray, epsilon: float) -> np.ndarray:
    honest = rng.random(member.size) < 1 / (1 + np.exp(-epsilon))
    return (honest == member) + 0.5 * rng.random(member.size)


def gaussian(rng: np.random.Generator, member: np.ndarray, epsilon: float) -> np.ndarray:
    mu = float(gdp_mu(epsilon, DELTA)) if epsilon else 0.0
    return rng.normal(size=member.size) + mu * member


@lru_cache
def noise_of(epsilon: float) -> float:
    """The noise multiplier whose PLD epsilon is the wanted one, to 1e-4."""
    low, high = 0.3, 50.0
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        low, high = (
            (middle, high) if subsampled_gaussian_epsilon(middle, RATE, STEPS, DELTA) > epsilon else (low, middle)
        )
    return high


def subsampled(rng: np.random.Generator, member: np.ndarray, epsilon: float) -> np.ndarray:
    if not epsilon:
        return rng.normal(size=member.size)
    noise = noise_of(epsilon)
    chosen = member[:, None] & (rng.random((member.size, STEPS)) < RATE)
    seen = chosen + noise * rng.normal(size=chosen.shape)
    return np.log1p(RATE * np.expm1((seen - 0.5) / noise**2)).sum(1)


def halves(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.repeat([True, False], WORLD))


def coins(rng: np.random.Generator) -> np.ndarray:
    return rng.random(2 * WORLD) < 0.5


def paired(trials: Trials, **_: object) -> Bound:
    """Randomised response: each answer is the guess."""
    return sequential(np.where((trials.scores > 0.75) == trials.member, 1, -1), DELTA, CONFIDENCE)


def uncorrected(trials: Trials, **_: object) -> Bound:
    """The best of all one-run bounds, each at the full error: wrong, and common."""
    truth = trials.member[np.argsort(trials.scores)]
    n, step, best = truth.size, int(np.sqrt(truth.size)), None
    for plus in range(0, n, step):
        for minus in range(0, n - plus + 1, step):
            right = int(truth[n - plus :].sum() + (~truth[:minus]).sum())
            bound = one_run(Guesses(n, plus + minus, right), 0.0, CONFIDENCE)
            best = bound if best is None or bound.epsilon > best.epsilon else best
    return best


@lru_cache
def family() -> list:
    """Noises of .4 to 6, and for each true epsilon one that is hardly smaller: its curve is the first to be wrong."""
    noises = np.concatenate([np.geomspace(0.4, 6, 60), [noise_of(e) / 1.001 for e in TRUE if e]])
    return subsampled_gaussian_family(RATE, STEPS, DELTA, noises)


cached_clopper, cached_gdp = lru_cache(2**20)(clopper_pearson), lru_cache(2**20)(gdp)
cached_joint, cached_accuracy = lru_cache(2**20)(joint_beta), lru_cache(2**20)(gdp_accuracy)


def fixed(bound: Callable[..., Bound], mechanism: Play, at: float | None = None) -> Callable[..., Bound]:
    """The bound at a threshold fixed beforehand: a high one, where the two worlds differ most in ratio, or `at`."""
    at = {response: 1.0, gaussian: 1.5, subsampled: 0.5}[mechanism] if at is None else at
    return lambda trials, seed: from_scores(trials, DELTA, CONFIDENCE, bound=bound, threshold=at)


def chosen(bound: Callable[..., Bound], how: str) -> Callable[..., Bound]:
    return lambda trials, seed: from_scores(trials, DELTA, CONFIDENCE, bound=bound, threshold=how, seed=seed)


def guessed(is_gdp: bool, how: object) -> Callable[..., Bound]:
    return lambda trials, seed: one_run_from_scores(trials, DELTA, CONFIDENCE, gdp=is_gdp, guesses=how, seed=seed)


def rows() -> list[tuple]:
    """(bound, threshold, assumes, mechanism, deal of the members, audit)."""
    pld = lru_cache(2**20)(lambda *given, **named: claimed_family(*given, family=family(), **named))
    quarter = (WORLD // 2, WORLD // 2)
    table = []
    for play in (response, gaussian):
        table += [
            ("clopper-pearson", "fixed", "none", play, halves, fixed(cached_clopper, play)),
            ("clopper-pearson", "split", "none", play, halves, chosen(cached_clopper, "split")),
            ("clopper-pearson", "bonferroni", "none", play, halves, chosen(cached_clopper, "bonferroni")),
            ("joint-beta (Bayesian)", "fixed", "none", play, halves, fixed(cached_joint, play)),
            ("one-run", "fixed", "none", play, coins, guessed(False, quarter)),
            ("one-run", "split", "none", play, coins, guessed(False, "split")),
            ("one-run", "bonferroni", "none", play, coins, guessed(False, "bonferroni")),
        ]
    table += [
        ("sequential", "any time", "none", response, coins, lambda trials, seed: paired(trials)),
        ("gdp", "fixed", "gdp", gaussian, halves, fixed(cached_gdp, gaussian)),
        ("gdp", "split", "gdp", gaussian, halves, chosen(cached_gdp, "split")),
        ("gdp", "bonferroni", "gdp", gaussian, halves, chosen(cached_gdp, "bonferroni")),
        ("gdp-accuracy", "fixed", "gdp", gaussian, halves, fixed(cached_accuracy, gaussian, 0.25)),
        ("gdp-accuracy", "split", "gdp", gaussian, halves, chosen(cached_accuracy, "split")),
        ("one-run-gdp", "fixed", "gdp", gaussian, coins, guessed(True, quarter)),
        ("one-run-gdp", "split", "gdp", gaussian, coins, guessed(True, "split")),
        ("one-run-gdp", "bonferroni", "gdp", gaussian, coins, guessed(True, "bonferroni")),
        ("claimed-pld", "fixed", "claimed-pld", subsampled, halves, fixed(pld, subsampled)),
        ("claimed-pld", "split", "claimed-pld", subsampled, halves, chosen(pld, "split")),
        ("claimed-pld", "bonferroni", "claimed-pld", subsampled, halves, chosen(pld, "bonferroni")),
        ("clopper-pearson", "split", "none", subsampled, halves, chosen(cached_clopper, "split")),
        ("uncorrected (not offered)", "best of all", "none", response, coins, lambda trials, seed: uncorrected(trials)),
    ]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    limit = 0.05 + 2 * np.sqrt(0.05 * 0.95 / given.audits)
    print(f"{given.audits} audits a row, seed {given.seed}; a share of at most {limit:.4f} passes")
    print("| bound | threshold | assumes | mechanism | true epsilon | above it | share [95 %] | median bound |")
    print("|---|---|---|---|---|---|---|---|")
    for name, how, assumes, play, deal, audit in rows():
        if given.only in name:
            for epsilon in TRUE:
                print(row(name, how, assumes, play, deal, audit, epsilon, given.audits, given.seed, limit), flush=True)


def row(name, how, assumes, play, deal, audit, epsilon, audits, seed, limit) -> str:
    found = []
    for i in range(audits):
        rng = stream(seed, "coverage", name, how, play.__name__, repr(epsilon), i)
        member = deal(rng)
        found.append(audit(Trials(play(rng, member, epsilon), member), seed=i).epsilon)
    over = int(np.sum(np.array(found) > epsilon + 1e-9))
    low = beta.ppf(0.025, over, audits - over + 1) if over else 0.0
    high = beta.ppf(0.975, over + 1, audits - over)
    mark = "" if over / audits <= limit else " **over**"
    cells = [name, how, assumes, play.__name__, f"{epsilon:g}", f"{over} of {audits}{mark}"]
    cells += [f"{over / audits:.4f} [{low:.4f}, {high:.4f}]", f"{np.median(found):.3f}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
