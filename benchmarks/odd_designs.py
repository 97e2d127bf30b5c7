"""Designs of membership that nobody planned for: how often is a leak shown where there is none, and are intervals true?

    python benchmarks/odd_designs.py [--files 200] [--models 16] [--records 150] [--seed 0] [--only NAME]

Each file is a null: signals are drawn with records and models that differ, and do not depend on membership, which is
dealt by the design. `undertow score` attacks them. A row gives in how many files a leak is shown, with Clopper and
Pearson's 95 % interval, and of each attack the mean AUC and how often its interval holds what guessing gives (.5, or
what the file's own redraws of the design say).
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
from coverage_tables import exact
from strangers import score, signals

from undertow.report.verdict import verdict
from undertow.rng import stream
from undertow.types import Array

Deal = Callable[[int, int, np.random.Generator], Array]


def propensity(models: int, points: int, rng: np.random.Generator) -> Array:
    """Each record is included with a probability of its own, .1 to .9."""
    return rng.random((models, points)) < rng.uniform(0.1, 0.9, points)


def nested(models: int, points: int, rng: np.random.Generator) -> Array:
    """Each model has the records of the one before and some more, from a fifth to four fifths of them."""
    rank = rng.permutation(points)
    return rank[None] < (points * np.linspace(0.2, 0.8, models)[:, None]).astype(int)


def leave_out_a_tenth(models: int, points: int, rng: np.random.Generator) -> Array:
    """Each model leaves out its own random tenth."""
    return np.argsort(rng.random((models, points)), 1) >= points // 10


def window(models: int, points: int, rng: np.random.Generator) -> Array:
    """Each model was trained on half of the records, a window that slides on."""
    order, start = rng.permutation(points), (points * np.arange(models) // models)[:, None]
    return (order[None] - start) % points < points // 2


def triples(models: int, points: int, rng: np.random.Generator) -> Array:
    """Thirds of the records, dealt anew for each three models: each record is in one of the three."""
    rows = [rng.permutation(np.arange(points) % 3) for _ in range(models // 3)]
    return np.stack([part == k for part in rows for k in range(3)])


def growing(models: int, points: int, rng: np.random.Generator) -> Array:
    """The share of members grows from model to model, from a tenth to nine tenths."""
    return rng.random((models, points)) < np.linspace(0.1, 0.9, models)[:, None]


def pairs_and_copies(models: int, points: int, rng: np.random.Generator) -> Array:
    """Three splits and their complements, each trained with several seeds, in no order."""
    half = rng.random((3, points)) < 0.5
    rows = np.concatenate([half, ~half])[np.arange(models) % 6]
    return rng.permutation(rows, axis=0)


def one_swapped(models: int, points: int, rng: np.random.Generator) -> Array:
    """One split, of which each model swaps one member for one non-member."""
    base = rng.random(points) < 0.5
    rows = np.repeat(base[None], models, 0)
    for row in rows:
        row[[rng.choice(np.flatnonzero(base)), rng.choice(np.flatnonzero(~base))]] ^= True
    return rows


def blocks_of_time(models: int, points: int, rng: np.random.Generator) -> Array:
    """Records come in ten blocks; each model has a random five of them."""
    block = np.arange(points) * 10 // points
    return np.stack([np.isin(block, rng.permutation(10)[:5]) for _ in range(models)])


DESIGNS: tuple[Deal, ...] = (
    propensity, nested, leave_out_a_tenth, window, triples, growing, pairs_and_copies, one_swapped, blocks_of_time,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--records", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print("| design | leak shown | badges | mean AUC, intervals that hold what guessing gives |\n|---|---|---|---|")
    for deal in DESIGNS:
        if options.only in deal.__name__:
            print(row(deal, options.files, options.models, options.records, options.seed), flush=True)


def row(deal: Deal, files: int, models: int, points: int, seed: int) -> str:
    """One line of the table."""
    shown, badges, held = 0, Counter[str](), defaultdict[str, list[tuple[float, bool]]](list)
    for i in range(files):
        rng = stream(seed, "odd designs", deal.__name__, i)
        member = deal(models, points, rng)
        result = score(member=member, values=signals(member, rng, 0.0))
        shown += bool(result.leak and result.leak["shown"])
        badges[verdict(result).badge] += 1
        for m in result.measurements:
            if m.metric == "auc" and m.value is not None and m.low is not None and m.high is not None:
                held[m.attack].append((m.value, m.low <= (m.chance or 0.5) <= m.high))
    low, high = exact(shown, files, 0.05)
    each = [f"{name} {np.mean([v for v, _ in x]):.3f}, {sum(h for _, h in x)} of {len(x)}" for name, x in held.items()]
    said = ", ".join(f"{name} {count}" for name, count in badges.most_common())
    return (
        f"| {(deal.__doc__ or '').strip()} | {shown} of {files} [{low:.3f}, {high:.3f}] | {said} | {'; '.join(each)} |"
    )


if __name__ == "__main__":
    main()
