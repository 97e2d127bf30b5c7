"""How often do the 95 % intervals hold the truth? Simulated audits whose true numbers are known.

    python benchmarks/coverage.py [--games 500]

Scores are normal; each model shifts all its scores (`between`) and leaks more or less than the others (`within`), so
the pairs of one model are not independent. AUC and TPR@1% are checked against their closed forms, the balanced
accuracy against its own mean over games (its threshold is estimated). One row per number of models; the range is over
the four worlds.
"""

import argparse

import numpy as np
from scipy.stats import norm

from undertow.metrics import measure
from undertow.rng import stream
from undertow.types import Scores

WORLDS = {
    "no leak": {"leak": 0.0, "between": 0.5, "within": 0.0},
    "weak leak": {"leak": 0.5, "between": 0.5, "within": 0.0},
    "spread": {"leak": 0.5, "between": 1.0, "within": 0.3},
    "strong leak": {"leak": 2.5, "between": 0.5, "within": 0.5},
}
AUDITS = ((2, 400), (4, 400), (8, 400), (16, 200), (64, 200), (1, 2000), (1, 200))  # (models, points)


def play(rng: np.random.Generator, models: int, points: int, leak: float, between: float, within: float) -> Scores:
    """One simulated audit."""
    member = np.argsort(rng.random((models, points)), 1) < points // 2
    shift, extra = between * rng.normal(size=(models, 1)), within * rng.normal(size=(models, 1))
    return Scores("simulated", rng.normal(size=member.shape) + shift + (leak + extra) * member, member)


def truth(models: int, leak: float, between: float, within: float) -> tuple[float, float]:
    """AUC and TPR@1% of infinitely many models (of the one model, where there is only one: no spread)."""
    if models == 1:
        between = within = 0.0
    quiet, loud = np.sqrt(1 + between**2), np.sqrt(1 + between**2 + within**2)
    return float(norm.cdf(leak / np.hypot(quiet, loud))), float(norm.sf((quiet * norm.isf(0.01) - leak) / loud))


def coverage(models: int, points: int, world: dict[str, float], games: int) -> list[float]:
    """Share of intervals that hold the truth: AUC, balanced accuracy, TPR@1%."""
    used = {**world, "between": 0.0, "within": 0.0} if models == 1 else world
    rng = stream(0, "coverage")
    audits = [
        measure(play(stream(g, "game"), models, points, **used), rng, fprs=(0.01,), resamples=200) for g in range(games)
    ]
    auc, tpr = truth(models, **world)
    accuracy = float(np.mean([rows[1].value for rows in audits]))
    return [
        float(np.mean([rows[i].low <= true <= rows[i].high for rows in audits]))
        for i, true in enumerate((auc, accuracy, tpr))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=500)
    games = parser.parse_args().games
    print("| unit | AUC | balanced accuracy | TPR@1% |\n|---|---|---|---|")
    for models, points in AUDITS:
        shares = np.array([coverage(models, points, world, games) for world in WORLDS.values()])
        unit = f"{models} models of {points} points" if models > 1 else f"{points} points of one model"
        cells = " | ".join(f"{low:.3f} to {high:.3f}" for low, high in zip(shares.min(0), shares.max(0), strict=True))
        print(f"| {unit} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
