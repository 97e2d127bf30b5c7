"""The simulated world of coverage.py: designs of membership, and learners that are trained on what they are dealt."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from warnings import catch_warnings

import numpy as np

from undertow.engine.membership import redraw
from undertow.rng import stream
from undertow.types import Array

CLASSES, WIDTH = 4, 20
# (random features per training record, ridge): LiRA on 16 x 200 pairs then has about the AUC that the name says
EFFECTS = {"null": (0.3, 3.0), ".55": (0.3, 600.0), ".6": (0.3, 120.0), ".75": (0.4, 0.1), ".9": (0.85, 0.3)}
BACKGROUND = 400  # training records that nobody asks about: the same ones in every audit, a random half for each model


CENTRES = 0.7 * stream(0, "coverage", "centres").normal(size=(CLASSES, WIDTH))  # one population for all audits


@dataclass(frozen=True)
class Cell:
    """One design of membership: how many models are audited on how many points."""

    name: str
    models: int
    points: int
    deal: Callable[[int, int, np.random.Generator], Array]
    targets: int = 0  # of the models, the last so many are held out; 0: in turn
    groups: int = 0  # points that belong together in each group; 0: none
    background: int = BACKGROUND  # 0: every record of the training pool is asked about
    few: bool = False  # few degrees of freedom by design: printed with a warning, judged apart

    @property
    def title(self) -> str:
        """As the tables name it."""
        return f"{self.name} {self.models}x{self.points}{', whole pool' * (not self.background)}"


def pairs(models: int, points: int, rng: np.random.Generator) -> Array:
    """Complementary pairs of random halves."""
    half = rng.random((models // 2, points)) < 0.5
    return np.concatenate([half, ~half])


def bernoulli(models: int, points: int, rng: np.random.Generator) -> Array:
    """Independent rows."""
    return rng.random((models, points)) < 0.5


def halves(models: int, points: int, rng: np.random.Generator) -> Array:
    """Independent rows, each with exactly half of the points."""
    return np.argsort(rng.random((models, points)), 1) < points // 2


def columns(models: int, points: int, rng: np.random.Generator) -> Array:
    """Each point in exactly half of the models, no complements."""
    return np.argsort(rng.random((models, points)), 0) < models // 2


def one_split(models: int, points: int, rng: np.random.Generator) -> Array:
    """The same half for every model."""
    return np.repeat(halves(1, points, rng), models, 0)


def alike(models: int, points: int, rng: np.random.Generator) -> Array:
    """One half, of which each model flips a tenth."""
    base = rng.random(points) < 0.5
    return base ^ (rng.random((models, points)) < 0.1)


def propensity(models: int, points: int, rng: np.random.Generator) -> Array:
    """Each point has its own probability of being a member."""
    return rng.random((models, points)) < rng.beta(0.5, 0.5, points)


def fixed_halves(models: int, points: int, rng: np.random.Generator) -> Array:
    """A few fixed halves, each used by several models."""
    base = halves(4, points, rng)
    return base[np.arange(models) % 4]


def folds(models: int, points: int, rng: np.random.Generator) -> Array:
    """Five-fold cross-validation, repeated on new folds."""
    rows = []
    for _ in range(models // 5):
        part = rng.permutation(np.arange(points) % 5)
        rows += [part != k for k in range(5)]
    return np.stack(rows)


def shadows_and_victims(models: int, points: int, rng: np.random.Generator) -> Array:
    """32 shadows in complementary pairs, and victims on random halves."""
    return np.concatenate([pairs(32, points, rng), halves(models - 32, points, rng)])


def by_person(models: int, points: int, rng: np.random.Generator) -> Array:
    """Complementary pairs that deal groups of five points."""
    return np.repeat(pairs(models, points // 5, rng), 5, 1)


CELLS = (
    Cell("pairs", 8, 200, pairs),
    Cell("pairs", 16, 200, pairs),
    Cell("pairs", 32, 400, pairs),
    Cell("held-out", 48, 200, shadows_and_victims, targets=16),
    Cell("held-out", 36, 200, shadows_and_victims, targets=4),
    Cell("Bernoulli", 16, 200, bernoulli),
    Cell("random halves", 16, 200, halves),
    Cell("balanced columns", 16, 200, columns),
    Cell("5-fold", 20, 200, folds),
    Cell("one split", 8, 200, one_split),
    Cell("alike rows", 16, 200, alike),
    Cell("propensity", 16, 200, propensity),
    Cell("four halves", 16, 200, fixed_halves),
    Cell("one model", 1, 400, halves),
    Cell("two models", 2, 200, halves),
    Cell("groups of 5", 16, 200, by_person, groups=5),
    Cell("pairs", 16, 200, pairs, background=0),
    Cell("held-out", 48, 200, shadows_and_victims, targets=16, background=0),
    Cell("digits", 16, 200, pairs),
)


@dataclass(frozen=True, eq=False)
class Records:
    """Noisy points of overlapping classes, some mislabelled."""

    x: Array  # (N, WIDTH)
    labels: Array  # (N,) int, as trained on


def records(points: int, rng: np.random.Generator, groups: int = 0) -> Records:
    """Records of the one population; those of a group of so many are alike."""
    true = rng.integers(CLASSES, size=points)
    x = rng.normal(size=(points, WIDTH)) + CENTRES[true]
    if groups:
        x = 0.7 * x + 0.7 * np.repeat(rng.normal(size=(points // groups, WIDTH)), groups, 0)
    labels = np.where(rng.random(points) < 0.2, rng.integers(CLASSES, size=points), true)
    return Records(x, labels)


@lru_cache(maxsize=1)
def digits() -> tuple[Array, Array, Array]:
    """Real signals: membership (64, 600), logits (64, 600, 10) of networks on halves of digits, and labels (600,)."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    rng = stream(0, "coverage", "digits")
    chosen = rng.permutation(len(x))[:600]
    x, y, member = x[chosen] / 16, y[chosen], pairs(64, 600, rng)
    logits = []
    for m, own in enumerate(member):
        with catch_warnings(action="ignore"):  # of iterations that ended
            model = MLPClassifier((32,), max_iter=60, learning_rate_init=0.01, random_state=m).fit(x[own], y[own])
        logits.append(np.log(np.maximum(model.predict_proba(x), np.finfo(float).tiny)))
    return member, np.stack(logits), y


def real(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """16 of those networks in their pairs on 200 of the digits, and membership dealt to the digits anew: a null."""
    member, logits, labels = digits()
    first = rng.permutation(32)[:8]
    rows, columns = np.concatenate([first, first + 32]), rng.permutation(600)[:200]
    return redraw(member[np.ix_(rows, columns)], rng), logits[np.ix_(rows, columns)], labels[columns]


OTHERS = records(BACKGROUND, stream(0, "coverage", "background"))


def learn(data: Records, member: Array, rng: np.random.Generator, effect: str, background: int) -> Array:
    """Logits (M, N, C) of models trained on their members, and on a random half of the background.

    Each model is a ridge regression on random features of its own, fitted in closed form to its members, with a
    temperature and a bias of its own: models differ as trained networks do. `effect` chooses features and ridge.
    """
    share, ridge = EFFECTS[effect]
    models, points = member.shape
    used = np.concatenate([member, rng.random((models, background)) < 0.5], 1)
    x, labels = (
        np.concatenate([data.x, OTHERS.x[:background]]),
        np.concatenate([data.labels, OTHERS.labels[:background]]),
    )
    hidden = int(share * len(x) / 2)
    project, shift = rng.normal(size=(models, WIDTH, hidden)) / np.sqrt(WIDTH), rng.normal(size=(models, 1, hidden))
    logits = np.empty((models, points, CLASSES))
    targets = np.eye(CLASSES)[labels] - 1 / CLASSES
    for m in range(models):
        features = np.maximum(x @ project[m] + shift[m], 0)
        own = features[used[m]]
        weights = np.linalg.solve(own.T @ own + ridge * np.eye(hidden), own.T @ targets[used[m]])
        logits[m] = features[:points] @ weights
    sharpness = 8 * np.exp(0.05 * rng.normal(size=(models, 1, 1)))
    result: Array = sharpness * logits + 0.1 * rng.normal(size=(models, 1, CLASSES))
    return result
