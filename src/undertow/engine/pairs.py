"""Complementary pairs for trainings that are run by somebody else: any number of records, whole groups together."""

import numpy as np

from undertow.engine.key import fingerprint
from undertow.rng import seed_for, stream
from undertow.types import Array, ConfigError

DESIGN = "undertow-design/1"  # begins the name of a design in files
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


def design_name(member: Array) -> str:
    """What a design is called in files: a checksum of its membership, so that another is told apart."""
    return f"{DESIGN}:{fingerprint(np.ascontiguousarray(member, bool))}"


def misfit(given: Array, design: Array) -> str | None:
    """How the membership `given` (m, N) differs from that of a design (M, N), with the fix; None where it fits.

    The first m models of a design are a design.
    """
    (m, n), (models, records) = given.shape, design.shape
    if given.shape != design.shape and given.shape == design.shape[::-1]:
        return f"has shape {given.shape}, the design {design.shape}: models come first, swap the axes (.T)"
    if n != records:
        return f"is of {n} records, the design of {records}"
    if m > models:
        return f"is of {m} models, the design of {models}; deal a design for as many"
    design = design[:m]
    if np.array_equal(given, design):
        return None
    if np.array_equal(given, ~design):
        return "is the opposite of the design; True means that the model was trained on the record"
    if _same_sets(given, design):
        return "has the models of the design in another order; keep its rows as they were dealt"
    if _same_sets(given.T, design.T):
        return "has the records of the design in another order; keep its columns as they were dealt"
    differ = (given != design).sum(1)
    first = int(np.flatnonzero(differ)[0])
    return (
        f"differs from the design in {int((differ > 0).sum())} of {m} models, first in model {first} "
        f"({int(differ[first])} of {n} records); train each model on the records of its row, and on no others"
    )


def _same_sets(one: Array, other: Array) -> bool:
    rows = (sorted(row.tobytes() for row in np.packbits(a, axis=1)) for a in (one, other))
    return next(rows) == next(rows)
