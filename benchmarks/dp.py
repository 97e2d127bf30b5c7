"""Lower bounds on epsilon against the claim, on real private trainings; nothing here is a formula.

    python benchmarks/dp.py full [--seeds 0 1 2 3 4] [--epsilons 1 3 5 8]    q = 1, a trap, 1,000 + 1,000 runs
    python benchmarks/dp.py one-run [--seeds 0 1 2 3 4]                      ten runs of 400 traps, epsilon 8
    python benchmarks/dp.py coverage [--repeats 200]                         how often bounds exceed the true epsilon
    python benchmarks/dp.py subsampled [--seeds 0 1 2]                       q = 0.05 and 0.01 against the ceiling
    python benchmarks/dp.py canaries [--seeds 0]                             canary and checkpoint by access, 200 + 200
    python benchmarks/dp.py cifar [--data DIR] [--runs 1000] [--seeds 0 1 2] 1,000 images, black-box, epsilon 10

Each prints a table in Markdown; over seeds the mean and, in brackets, the interval in which another seed falls with
probability 95 % (it takes seeds as roughly normal). Seeds from 100 on were used to choose settings; the others report.
"""

import argparse
import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.dp.game import Game
from undertow.audits.dp.rows import trials_of
from undertow.audits.dp.settings import DpConfig, DpData, DpRecipe, preset
from undertow.engine.executor import Serial
from undertow.metrics.epsilon import Trials, gaussian_pairs, one_run_from_scores
from undertow.metrics.student import prediction_interval
from undertow.sources.records.dp_data import load_dp
from undertow.storage.store import MemoryStore
from undertow.types import Array

Reads = dict[str, Array]


def play(config: DpConfig) -> tuple[Game, Reads]:
    game = Game(config, load_dp(config.data, config.seed), Host(MemoryStore(), Serial()))
    return game, game.play()


def spread(values: Sequence[float]) -> str:
    """mean (95 % prediction interval of another seed); one seed: its value."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    new = prediction_interval(np.array(values))
    return f"{new['value']:.2f} ({max(0.0, new['low']):.2f} to {new['high']:.2f})"


def head(*names: str) -> None:
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)


def line(*cells: object) -> None:
    print(f"| {' | '.join(str(c) for c in cells)} |", flush=True)


def of_seeds(config: DpConfig, seeds: Sequence[int], names: Sequence[str]) -> tuple[list[list[float]], list[float]]:
    """Bounds by name, and the point estimate, one number for each seed."""
    found: list[list[float]] = [[] for _ in names]
    points = []
    for seed in seeds:
        game, reads = play(replace(config, seed=seed))
        tests, trials = game.tests, trials_of(reads, config.access, False)
        for values, name in zip(found, names, strict=True):
            values.append(tests.bound(name, trials, config.access, 0.95).epsilon)
        points.append(tests.bound(config.headline, trials, config.access, 0.5).epsilon)
    return found, points


def full(options: argparse.Namespace) -> None:
    names = ("gdp-accuracy", "gdp", "clopper-pearson")
    head("claimed", "point", *names, "headline / claim", "seconds for each audit")
    for epsilon in options.epsilons:
        start = time.perf_counter()
        found, points = of_seeds(replace(preset("digits"), epsilon=epsilon), options.seeds, names)
        each = (time.perf_counter() - start) / len(options.seeds)
        share = [f / epsilon for f in found[0]]
        line(f"{epsilon:g}", spread(points), *(spread(f) for f in found), spread(share), f"{each:.0f}")


def one_run(options: argparse.Namespace) -> None:
    config = preset("digits-one-run")
    head(
        "runs x canaries",
        "one-run",
        "one-run-gdp",
        "gaussian-pairs",
        "gdp, pooled",
        "gdp-accuracy, pooled",
        "point, pooled",
    )
    rows: dict[int, list[list[float]]] = {1: [], 10: []}
    for seed in options.seeds:
        game, reads = play(replace(config, seed=seed))
        for runs, kept in rows.items():
            trials = trials_of({name: values[:runs] for name, values in reads.items()}, "weights", True)
            tests, cells = game.tests, []
            for gaussian in (False, True):
                guesses = tests.guesses(trials.scores.size, gaussian)
                cells.append(one_run_from_scores(trials, 1e-5, gdp=gaussian, guesses=guesses).epsilon)
            cells.append(gaussian_pairs(trials, 1e-5, seed=seed).epsilon)
            for name, level in (("gdp", 0.95), ("gdp-accuracy", 0.95), ("gdp-accuracy", 0.5)):
                cells.append(tests.bound(name, trials, "weights", level).epsilon)
            kept.append(cells)
    for runs, kept in rows.items():
        line(f"{runs} x {config.canaries}", *(spread(column) for column in zip(*kept, strict=True)))


def coverage(options: argparse.Namespace) -> None:
    head("audit, noise exactly as claimed", "repeats", "bound", "mean", "above the claim", "expected at most")
    n, seed = options.repeats, options.seeds[0]
    for epsilon in (1.0, 3.0, 8.0):
        config = replace(preset("digits"), epsilon=epsilon, runs=50 * n, seed=seed)
        game, reads = play(config)
        scores = reads["weights"].reshape(2, n, 50)
        games = [Trials(scores[:, i].ravel(), np.arange(100) < 50) for i in range(n)]
        for name in ("gdp-accuracy", "gdp", "clopper-pearson"):
            found = [game.tests.bound(name, trials, "weights", 0.95).epsilon for trials in games]
            _covered(f"epsilon {epsilon:g}, q = 1, 50 + 50 runs", name, found, game.noise.epsilon)
    config = replace(preset("digits-one-run"), runs=10 * n, seed=seed)
    game, reads = play(config)
    parts = [{k: v[10 * i : 10 * i + 10] for k, v in reads.items()} for i in range(n)]
    games = [trials_of(part, "weights", True) for part in parts]
    what = "epsilon 8, ten runs of 400 traps"
    for name in ("gdp-accuracy", "gdp", "clopper-pearson"):
        found = [game.tests.bound(name, trials, "weights", 0.95).epsilon for trials in games]
        _covered(f"{what}, pooled", name, found, game.noise.epsilon)
    guesses = game.tests.guesses(games[0].scores.size, True)
    found = [one_run_from_scores(trials, 1e-5, gdp=True, guesses=guesses).epsilon for trials in games]
    _covered(what, "one-run-gdp", found, game.noise.epsilon)
    _independence(game, reads)


def _covered(what: str, name: str, found: Sequence[float], claim: float) -> None:
    above = sum(value > claim for value in found)
    n = len(found)
    line(what, n, name, f"{np.mean(found):.2f}", f"{above} ({100 * above / n:.1f}%)", "5%")


def _independence(game: Game, reads: Reads) -> None:
    """What pooling needs: residuals of the canaries of one run that are standard normal and not correlated."""
    deviation = game.noise.multiplier * game.noise.steps**0.5
    z = (reads["weights"] - game.noise.steps * reads["member"]) / deviation
    between = np.corrcoef(z.T)[~np.eye(z.shape[1], dtype=bool)]
    sums = z.mean(1) * z.shape[1] ** 0.5  # of independent canaries: standard normal too
    print(
        f"\nResiduals of {z.shape[0]} runs x {z.shape[1]} canaries, in deviations: mean {z.mean():.4f}, deviation "
        f"{z.std():.4f}; correlation between canaries: mean {between.mean():.5f}, deviation {between.std():.4f} "
        f"(independent: {1 / z.shape[0] ** 0.5:.4f}); deviation of a run's mean over that of independent ones "
        f"{sums.std():.3f}; largest part of another record in a canary's direction {game.leak:.5f} of the clipping norm"
    )


def subsampled(options: argparse.Namespace) -> None:
    small = replace(preset("digits-subsampled"), runs=options.runs)
    rare = replace(small, data=replace(small.data, records=1000), recipe=DpRecipe(steps=1000, rate=0.01))
    names = ("claimed-pld-accuracy", "claimed-pld", "clopper-pearson")
    final = ("final-iterate", "final-iterate-unit")
    head("q", "steps", "access", "claimed", "ceiling of the access", "point", *names, *final, "headline / ceiling")
    for config in (small, rare):
        played = [play(replace(config, seed=seed)) for seed in options.seeds]
        for access in ("weights", "iterates"):
            rows = []
            for game, reads in played:
                trials = trials_of(reads, access, False)
                levels = ((config.headline, 0.5), *((name, 0.95) for name in names))
                own = [game.tests.final_bound(trials, u).epsilon for u in (None, 1.0) if access == "weights"]
                rows.append([game.tests.bound(name, trials, access, level).epsilon for name, level in levels] + own)
            ceiling, claimed = played[0][0].tests.ceiling(access), played[0][0].noise.epsilon
            share = spread([row[1] / ceiling for row in rows])
            cells = [spread(column) for column in zip(*rows, strict=True)] + ["-"] * (2 * (access == "iterates"))
            recipe = config.recipe
            line(f"{recipe.rate:g}", recipe.steps, access, f"{claimed:.2f}", f"{ceiling:.2f}", *cells, share)


def canaries(options: argparse.Namespace) -> None:
    base = replace(preset("digits"), runs=options.runs)
    _ladder(base, options.seeds)


def _ladder(base: DpConfig, seeds: Sequence[int]) -> None:
    head("canary", "checkpoint", "black-box", "weights", "iterates")
    for canary, init in (
        ("random", "fresh"), ("mislabelled", "fresh"), ("mislabelled", "pretrained"), ("gradient", "fresh"),
        ("trap", "planted"),
    ):  # fmt: skip
        config = replace(base, canary=canary, init=init, access="weights" if canary == "gradient" else base.access)
        found: dict[str, list[float]] = {}
        for seed in seeds:
            game, reads = play(replace(config, seed=seed))
            for access in ("black-box", "weights", "iterates"):
                if access in reads:
                    bound = game.tests.bound(config.headline, trials_of(reads, access, False), access, 0.95)
                    found.setdefault(access, []).append(bound.epsilon)
        cells = (spread(found[a]) if a in found else "-" for a in ("black-box", "weights", "iterates"))
        line(canary, init, *cells)


def cifar(options: argparse.Namespace) -> None:
    data = DpData("cifar10", options.data, records=1000)
    base = replace(preset("cifar10"), data=data)
    names = ("gdp-accuracy", "gdp", "clopper-pearson")
    head("runs", "claimed", "point", *names, "anchor: Annamalai and De Cristofaro 2024")
    for runs in sorted({200, options.runs}):
        found, points = of_seeds(replace(base, runs=runs), options.seeds, names)
        line(f"{runs} + {runs}", "10", spread(points), *(spread(f) for f in found), "6.95")
    print()
    _ladder(replace(base, runs=200), options.seeds[:1])


MODES = {"full": full, "one-run": one_run, "coverage": coverage, "subsampled": subsampled, "canaries": canaries,
         "cifar": cifar}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 3.0, 5.0, 8.0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--data", default=os.environ.get("UNDERTOW_DATA", "../shared/data"))
    options = parser.parse_args()
    MODES[options.mode](options)


if __name__ == "__main__":
    main()
