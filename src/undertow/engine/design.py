"""The coin flips of the game: who is a member of what, decided by the seed alone."""

from collections.abc import Sequence
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
    they do not depend on the number of shadows and are exchangeable: the bootstrap over models is valid.
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


@dataclass(frozen=True, eq=False)
class Fold:
    """Which models are attacked, and which the attack may learn from."""

    targets: Array  # (t,) int
    shadows: Array  # (s,) int; never a target


def folds(member: Array, targets: Sequence[int] | None = None) -> list[Fold]:
    """How to attack models with membership `member` (M, N): each in turn, or the given held-out `targets`.

    Held-out targets are attacked together by all other models. Each in turn leaves out the target *and its
    complement*: in a balanced design the counts of the remaining models would otherwise leak the target's
    membership (null AUC .45 at 8 models).
    """
    count = len(member)
    if targets is not None:
        held = np.unique(np.asarray(targets, int))
        return [Fold(held, np.setdiff1d(np.arange(count), held))]
    partner = complements(member)
    done: set[int] = set()
    result = []
    for m in range(count):
        if m in done:
            continue
        group = np.array(sorted({m, int(partner[m])} if partner[m] >= 0 else {m}))
        done.update(int(g) for g in group)
        result.append(Fold(group, np.setdiff1d(np.arange(count), group)))
    return result


def complements(member: Array) -> Array:
    """For each model the index of a model with exactly the opposite membership, (M,) int; -1 where none is.

    Every model is in at most one pair.
    """
    rows = [row.tobytes() for row in np.packbits(member, axis=1)]
    opposite = [row.tobytes() for row in np.packbits(~member, axis=1)]
    waiting: dict[bytes, list[int]] = {}
    partner = np.full(len(member), -1)
    for m in range(len(member)):
        if waiting.get(opposite[m]):
            other = waiting[opposite[m]].pop(0)
            partner[m], partner[other] = other, m
        else:
            waiting.setdefault(rows[m], []).append(m)
    return partner
