"""Who may attack whom, found from the membership matrix by search; nothing of undertow is used."""

from dataclasses import dataclass

import numpy as np

NOBODY = -1


@dataclass(frozen=True, eq=False)
class Game:
    """Membership (M, N), the models that are attacked, those of them that are shown, and who may attack them.

    `sides` gives for each attacked model and point the IN and the OUT models that it may be compared with.
    """

    member: np.ndarray
    attacked: tuple[int, ...]
    shown: tuple[int, ...]
    sides: dict[tuple[int, int], tuple[list[int], list[int]]]

    def usable(self, inside, outside):
        """The pairs of attacked model and point with that many IN and OUT models, (attacked, N) bool."""
        points = range(self.member.shape[1])
        return np.array(
            [[enough(self.sides[t, q], inside, outside) for q in points] for t in self.attacked],
        )


def enough(sides, inside, outside):
    return len(sides[0]) >= inside and len(sides[1]) >= outside


def deal(member, targets, beside):
    """The game of held-out `targets`, or (None) of every model in turn; beside[m, q] or nobody also goes at a point.

    Where the columns of the models without a block have one sum, targets, too, are attacked in turn.
    """
    models, points = member.shape
    block = {m: set(one) for one in blocks(member) for m in one}
    everyone = tuple(range(models))
    shown = everyone if targets is None else tuple(sorted(set(targets)))
    together = targets is not None and not balanced(member)
    attacked = shown if together else everyone
    gone = {t: set().union(*(block[k] for k in shown)) if together else block[t] for t in attacked}
    sides = {}
    for t in attacked:
        for q in range(points):
            also = set() if together else {int(beside[t, q])}
            rest = [m for m in everyone if m not in gone[t] | also]
            sides[t, q] = [m for m in rest if member[m, q]], [m for m in rest if not member[m, q]]
    return Game(member, attacked, shown, sides)


def blocks(member):
    """Models that are left out together: exact complements, else three or more that part the records among them.

    First come, first served: of equal models the first is the one with a partner.
    """
    found, waiting = [], []
    for m in range(len(member)):
        partner = next((k for k in waiting if (member[k] != member[m]).all()), None)
        if partner is None:
            waiting.append(m)
        else:
            waiting.remove(partner)
            found.append([partner, m])
    for side in (False, True):
        held = {m: frozenset(np.flatnonzero(member[m] == side).tolist()) for m in waiting}
        for m in list(waiting):
            parts = cover([m], held[m], held, member.shape[1]) if m in waiting and held[m] else None
            if parts is not None and len(parts) > 2:
                found.append(sorted(parts))
                waiting = [k for k in waiting if k not in parts]
                held = {k: held[k] for k in waiting}
    return found + [[m] for m in waiting]


def cover(parts, taken, held, points):
    """Models that hold every record exactly once, `parts` among them; None if there are none (exhaustive search)."""
    if len(taken) == points:
        return parts
    first = next(q for q in range(points) if q not in taken)
    for m, own in held.items():
        if first in own and not own & taken and (found := cover([*parts, m], taken | own, held, points)) is not None:
            return found
    return None


def loners(member):
    """Models that are in no block with another."""
    return sorted(one[0] for one in blocks(member) if len(one) == 1)


def balanced(member):
    """Whether every record is in as many of three or more models without a block, and not in all or none."""
    alone = loners(member)
    sums = {int(member[alone, q].sum()) for q in range(member.shape[1])}
    return len(alone) > 2 and len(sums) == 1 and 0 < sums.pop() < len(alone)
