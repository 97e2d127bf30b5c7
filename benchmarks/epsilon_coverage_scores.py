"""How often do the bounds that read scores themselves exceed the truth? Simulated audits, the truth known.

    python benchmarks/epsilon_coverage_scores.py [--audits 1000] [--seed 0] [--only NAME]

One row per bound and kind of scores: how many of the audits gave a 95 % bound above the truth, with the exact interval
of that share, Bonferroni over all rows of the table (95 % for the whole). A row fails where that interval lies above
.05. Scores meet what the bound assumes:

- gaussian-pairs: 40 canaries of a run, one effect, Gaussian noise of a covariance drawn once, a baseline for each run;
  the effect is such that the mean privacy loss over the canaries is that of epsilon (at delta 1e-5);
- final-iterate: 100 trainings with the record and 100 without, of Poisson-subsampled Gaussian training; the bound is
  above the truth exactly where the noise it allows is below the true noise.
"""

import argparse

import numpy as np
from scipy.stats import beta

from undertow.metrics.epsilon import Trials, gaussian_pairs, gdp_mu
from undertow.metrics.epsilon.final_iterate import largest_noise
from undertow.rng import stream
from undertow.types import Array

DELTA, CONFIDENCE, CANARIES, RUNS = 1e-5, 0.95, 40, 100


def covariances(seed: int) -> dict[str, Array]:
    """Covariances (CANARIES, CANARIES) of the noise, by name."""
    places = np.arange(CANARIES)
    factors = 2 * stream(seed, "covariance").standard_normal((CANARIES, 5))
    return {
        "independent": np.eye(CANARIES),
        "neighbours": 0.9 ** np.abs(places[:, None] - places),
        "five factors": np.eye(CANARIES) + factors @ factors.T,
        "two scales": np.diag(np.where(places < CANARIES // 2, 0.04, 1.0)),
    }


def pairs(rng: np.random.Generator, covariance: Array, epsilon: float, runs: int, i: int) -> bool:
    """Whether one audit of canaries that share `runs` runs gave a bound above the truth."""
    mu = float(gdp_mu(epsilon, DELTA)) if epsilon else 0.0
    member = rng.random((runs, CANARIES)) < 0.5
    noise = rng.standard_normal((runs, CANARIES)) @ np.linalg.cholesky(covariance).T
    effect = mu / np.sqrt(np.diag(np.linalg.inv(covariance)).mean())
    scores = effect * member + noise + 5 * rng.standard_normal((runs, 1))
    trials = Trials(scores.ravel(), member.ravel(), np.repeat(np.arange(runs), CANARIES))
    return gaussian_pairs(trials, DELTA, CONFIDENCE, seed=i).epsilon > epsilon + 1e-9


def final(rng: np.random.Generator, noise: float, rate: float, steps: int, unit: float | None, i: int) -> bool:
    """Whether one audit of final models gave a bound above the truth: allowed less noise than there was."""
    member = np.arange(2 * RUNS) < RUNS
    scores = rng.binomial(steps, rate, 2 * RUNS) * member + noise * steps**0.5 * rng.standard_normal(2 * RUNS)
    scores = scores if unit else 3 + 0.01 * scores
    return largest_noise(Trials(scores, member), rate, steps, 1 - CONFIDENCE, unit, i) < noise


def rows(seed: int) -> list[tuple]:
    """(bound, what the scores are, audit, its arguments)."""
    table: list[tuple] = []
    for noise, rate, steps in ((0.6, 0.01, 1000), (1.0, 0.05, 200), (3.0, 0.1, 20), (20.0, 0.1, 20)):
        for unit in (None, 1.0):
            name = "final-iterate-unit" if unit else "final-iterate"
            table.append((name, f"noise {noise:g}, rate {rate:g}, {steps} steps", final, (noise, rate, steps, unit)))
    for epsilon in (0.0, 4.0, 8.0):
        for name, covariance in covariances(seed).items():
            table.append(("gaussian-pairs", f"{name}, epsilon {epsilon:g}, 1 run", pairs, (covariance, epsilon, 1)))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="rows whose bound or scores hold this text")
    given = parser.parse_args()
    table = rows(given.seed)
    error = (1 - CONFIDENCE) / len(table)
    print(f"{given.audits} audits a row, seed {given.seed}; intervals Bonferroni over {len(table)} rows\n")
    print("| bound | scores | above the truth | share | interval |\n|---|---|---|---|---|")
    for bound, scores, audit, arguments in table:
        if given.only not in f"{bound} {scores}":
            continue
        over = sum(
            audit(stream(given.seed, "coverage of scores", bound, scores, i), *arguments, i)
            for i in range(given.audits)
        )
        low = float(beta.ppf(error / 2, over, given.audits - over + 1)) if over else 0.0
        high = float(beta.ppf(1 - error / 2, over + 1, given.audits - over)) if over < given.audits else 1.0
        mark = " **fails**" if low > 1 - CONFIDENCE else ""
        share = over / given.audits
        print(f"| {bound} | {scores} | {over}{mark} | {share:.3f} | {low:.3f} to {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
