"""The coin flips of the game: who is a member of what, decided by the seed alone."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from undertow.rng import stream
from undertow.types import Array, ConfigError, Slot


@dataclass(frozen=True)
class Design:
    """Membership of `population` records in every shadow and every victim.

    Shadows come in complementary pairs (2k, 2k+1): every even prefix has each record IN exactly half of its
    models, and growing appends pairs. Victims are independent random halves from a stream of their own, so
    they do not depend on the number of shadows and are exchangeable.
    """

    seed: int
    population: int  # N, even: both halves of a pair have the same size
    shadows: int  # M, even
    victims: int  # V
    challenge: int  # Q <= N, the records that are attacked

    def __post_init__(self) -> None:
        if self.population < 2 or self.population % 2:
            raise ConfigError(
                f"the audited pool has {self.population} records; it must be even (and at least 2) so that "
                f"complementary halves have equal size: use {self.population - self.population % 2 or 2}"
            )
        if self.shadows < 4 or self.shadows % 2:
            raise ConfigError(f"shadows = {self.shadows}; it must be even and at least 4 (complementary pairs)")
        if self.victims < 1:
            raise ConfigError(f"victims = {self.victims}; at least 1 is needed")
        if not 1 <= self.challenge <= self.population:
            raise ConfigError(f"challenge = {self.challenge}; it must be in 1..{self.population} (the pool)")

    @cached_property
    def points(self) -> Array:
        """The challenge points, (Q,) sorted rows of the pool."""
        order = stream(self.seed, "challenge").permutation(self.population)
        return np.sort(order[: self.challenge])

    def slots(self, role: str) -> list[Slot]:
        """The models of one role, each with its membership row (N,) bool."""
        count = {"shadow": self.shadows, "victim": self.victims}[role]
        return [Slot(role, i, self.seed, self._row(role, i)) for i in range(count)]

    def member(self, role: str) -> Array:
        """Membership of the challenge points, (M, Q) or (V, Q) bool."""
        return np.stack([slot.member[self.points] for slot in self.slots(role) if slot.member is not None])

    def _row(self, role: str, index: int) -> Array:
        draw = index // 2 if role == "shadow" else index
        order = stream(self.seed, "membership", role, draw).permutation(self.population)
        row = np.zeros(self.population, bool)
        row[order[: self.population // 2]] = True
        return ~row if role == "shadow" and index % 2 else row
