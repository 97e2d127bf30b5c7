"""Records of one person asked about together: who is exposed, not which record."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from undertow.metrics import measure
from undertow.rng import stream
from undertow.types import Measurement, Scores

FIRST = ("lira", "threshold", "lira-offline", "rmia", "loss")  # the attack that speaks for people: fixed, not the best


def by_person(scores: Scores, names: Sequence[str]) -> Scores:
    """The scores of persons (T, G): the mean over a person's records that the attack could score.

    `scores.groups` (Q,) are numbers of persons, all of whose records are members of the same models; `names` by that
    number. Higher = member.
    """
    groups = scores.groups
    if groups is None:
        raise ValueError("the scores have no groups")
    people, number = np.unique(groups, return_inverse=True)
    scored = np.ones(scores.values.shape, bool) if scores.scored is None else scores.scored
    total, count = (np.zeros((len(scores.values), len(people))) for _ in range(2))
    for t in range(len(scores.values)):
        total[t] = np.bincount(number, scores.values[t] * scored[t], len(people))
        count[t] = np.bincount(number, scored[t], len(people))
    _, first = np.unique(number, return_index=True)
    return replace(
        scores,
        values=total / np.maximum(count, 1),
        member=scores.member[:, first],
        ids=tuple(names[int(g)] for g in people),
        groups=None,
        scored=None if (count > 0).all() else count > 0,
    )


def people_row(every: Sequence[Scores], names: Sequence[str], seed: int) -> dict[str, Any] | None:
    """How well persons are told apart by one attack that was fixed beforehand, as plain data; None where none ran."""
    known = {s.attack: s for s in every if s.group is None and s.groups is not None}
    name = next((name for name in FIRST if name in known), None)
    if name is None:
        return None
    rows = measure(by_person(known[name], names), stream(seed, "halves", "people", name), fprs=())
    m: Measurement = next(row for row in rows if row.metric == "auc")
    return {"attack": name, "people": len(names), "auc": m.value, "low": m.low, "high": m.high}
