"""Ways in which people deal records to models. Each gives membership (M models, N records) and held-out targets."""

from collections.abc import Callable

import numpy as np

from undertow.types import Array

Dealt = tuple[Array, list[int] | None]


def half(points: int, rng: np.random.Generator) -> Array:
    """One random half of the records, (N,) bool."""
    row = np.zeros(points, bool)
    row[rng.permutation(points)[: points // 2]] = True
    return row


def pairs(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """Models 2k and 2k + 1 are trained on complementary halves."""
    rows = [half(points, rng) for _ in range(models // 2)]
    return np.array([row for first in rows for row in (first, ~first)]), None


def independent(models: int, points: int, rng: np.random.Generator, share: float = 0.5) -> Dealt:
    """A coin for every model and record, which shows a member with probability `share`."""
    return rng.random((models, points)) < share, None


def rare(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """The coin shows a member three times of ten, so that some records are in very few models."""
    return independent(models, points, rng, 0.3)


def folds(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """Cross-validation with 4 folds, repeated: each model leaves one fold out."""
    rows = []
    for first in range(0, models, 4):
        fold = rng.permutation(points) % 4
        rows += [fold != k for k in range(min(4, models - first))]
    return np.array(rows), None


def repeated(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """One split, trained again and again with other seeds."""
    return np.repeat(half(points, rng)[None], models, 0), None


def columns(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """Each record is in exactly half of the models, and no model has a complement."""
    return np.argsort(np.argsort(rng.random((models, points)), 0), 0) < models // 2, None


def held_out(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """Three quarters are shadows in complementary pairs; the others are targets with halves of their own."""
    shadows = models - models // 4
    member, _ = pairs(shadows, points, rng)
    victims = [half(points, rng) for _ in range(models - shadows)]
    return np.concatenate([member, victims]), list(range(shadows, models))


def paired_targets(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """Complementary pairs, of which the last quarter is named as targets, one model of each pair."""
    return pairs(models, points, rng)[0], list(range(models - models // 4 + 1, models, 2))


def balanced_targets(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """Each record is in exactly half of the models, and the last quarter of these is named as targets."""
    return columns(models, points, rng)[0], list(range(models - models // 4, models))


def one(models: int, points: int, rng: np.random.Generator) -> Dealt:
    """One model, trained on one half."""
    return np.array([half(points, rng) for _ in range(models)]), None


DESIGNS: dict[str, Callable[[int, int, np.random.Generator], Dealt]] = {
    rule.__name__: rule
    for rule in (
        *(pairs, independent, rare, folds, repeated, columns, held_out, one),
        *(paired_targets, balanced_targets),
    )
}
