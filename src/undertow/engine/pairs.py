"""Complementary pairs for trainings that are run by somebody else: any number of records, whole groups together."""

import numpy as np

from undertow.rng import seed_for, stream
from undertow.types import Array, ConfigError

LEAST = 4  # records or groups: with fewer, a half is hardly random


def pairs(seed: int, population: int, models: int, groups: Array | None = None) -> Array:
    """Membership of `population` records in `models` models, (M, N) bool: models 2k and 2k + 1 are opposites.

    Each pair is a random half of its own, so that growing `models` appends pairs. `groups` (N,) int: the records of a
    group are members together, and the halves are halves of the groups. For an even number of records without groups
    these are the shadows of `engine.design.Design`. ConfigError where no such design can be.
    """
    if models < 4 or models % 2:
        raise ConfigError(f"shadows = {models}; it must be even and at least 4 (complementary pairs)")
    number = np.arange(population) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(number.max()) + 1 if population else 0
    if units < LEAST:
        what = "records" if groups is None else "groups of records"
        raise ConfigError(f"there are {units} {what}; at least {LEAST} are needed to deal random halves")
    member = np.empty((models, population), bool)
    for k in range(models // 2):
        order = stream(seed, "membership", "shadow", k).permutation(units)
        half = np.zeros(units, bool)
        half[order[: units // 2]] = True
        member[2 * k] = half[number]
        member[2 * k + 1] = ~member[2 * k]
    return member


def training_seeds(seed: int, models: int) -> list[int]:
    """A seed for each training, 31 bits, which every library takes; growing `models` appends."""
    return [seed_for(seed, "own training", m) % 2**31 for m in range(models)]
