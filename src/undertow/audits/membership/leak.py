"""The test behind "Leak shown": a limit of the best attack, and, where that is close, a test by randomisation.

The null is that the scored outputs do not depend on who was a member. First the lower limits of all attacks are
compared with chance, at Bonferroni's level. A leak that is shown only narrowly must also be rare when membership is
dealt to the records again by the same design (`engine.membership.redraw`) and every attack is run again: exact for any
attack where membership was dealt at random, because the best attack is picked anew in each redraw.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from undertow.attacks.catalog import attack_of
from undertow.audits.in_turn import usable
from undertow.audits.membership.reading import thick
from undertow.engine.membership import balanced, held_out_targets, left_out, redraw, uneven
from undertow.metrics import auc, lower_limit
from undertow.rng import stream
from undertow.types import Array, Evidence, Measurement, Scores, Signals

REALISTIC = ("attack", "baseline")
LEVEL = 0.025  # one-sided
SURELY = 1000  # a limit that holds at so many times the choices needs no second test
REDRAWS = 199
CHANCE_REDRAWS = 39  # of an uneven design, to find what guessing gives
CELLS = 400_000_000  # (model, record) pairs scored in all redraws at most


@dataclass(frozen=True, eq=False)
class Replay:
    """One attack that can be scored again under another membership."""

    name: str
    member: Array  # (M, N) bool, of the records it uses
    score: Callable[[Array, np.random.Generator], Array]  # (M, N) membership -> (T, N) scores
    targets: Array  # rows of the membership that are scored, (T,)
    groups: Array | None

    def again(self, rng: np.random.Generator) -> float:
        """AUC of the attack when membership is dealt again."""
        member = redraw(self.member, rng, self.groups)
        values, audited = self.score(member, rng), member[self.targets]
        scored = np.isfinite(values)
        values, audited = values[scored], audited[scored]
        return auc(values, audited) if audited.any() and not audited.all() else 0.5


def leak_test(
    scores: Sequence[Scores],
    measurements: Sequence[Measurement],
    evidence: Evidence,
    seed: int,
    targets: Array | None = None,
    ids: Sequence[str] | None = None,
) -> tuple[tuple[Measurement, ...], dict[str, Any] | None]:
    """The measurements, each AUC with what guessing gives; and the test of "the models do not depend on membership".

    The test is as `AuditResult.leak` keeps it, None without an attack.

    `scores` and their `measurements`; `targets` (T,) are the held-out models, None where each was attacked in turn;
    `ids` name the points of `evidence`.
    """
    rows = {m.attack: m for m in measurements if m.metric == "auc" and m.group is None and m.value is not None}
    mine = [s for s in scores if s.group is None and attack_of(s.attack).kind in REALISTIC and s.attack in rows]
    if not mine:
        return tuple(measurements), None
    rng = stream(seed, "leak")
    replays = {s.attack: r for s in mine if (r := _replay(s, evidence, targets, ids)) is not None}
    chance = chances(mine, evidence, replays, rng)
    mine = [s for s in mine if s.attack in chance]
    if not mine:
        return tuple(measurements), None
    choices = len(mine)
    best = max(mine, key=lambda s: lower_limit(rows[s.attack], choices) - chance[s.attack])
    row, guess = rows[best.attack], chance[best.attack]
    low = lower_limit(row, choices)
    found: dict[str, Any] = {
        "shown": low > guess,
        "attack": best.attack,
        "value": row.value,
        "low": low,
        "chance": guess,
        "choices": choices,
        "method": "interval",
    }
    close = found["shown"] and lower_limit(row, choices * SURELY) <= guess
    some = [replays[s.attack] for s in mine if s.attack in replays]
    if close and best.attack in replays and REDRAWS * sum(r.member.size for r in some) <= CELLS:
        p = _randomised(some, rows, chance, rng)
        found |= {"shown": p <= LEVEL, "method": "interval and randomisation", "p": p, "draws": REDRAWS}
    return with_chance(measurements, chance), found


def chances(
    scores: Sequence[Scores], evidence: Evidence, replays: Mapping[str, Replay], rng: np.random.Generator
) -> dict[str, float]:
    """The AUC that guessing gives each attack: .5, or for shadow attacks on an uneven design what redraws give.

    An attack that cannot be scored again has no chance level there, and is left out.
    """
    odd = uneven(thick(evidence.member))
    found = {}
    for s in scores:
        if not (odd and attack_of(s.attack).shadows):
            found[s.attack] = 0.5
        elif s.attack in replays:
            again = [replays[s.attack].again(rng) for _ in range(CHANCE_REDRAWS)]
            found[s.attack] = max(0.5, float(np.mean(again)))
    return found


def with_chance(measurements: Sequence[Measurement], chance: Mapping[str, float]) -> tuple[Measurement, ...]:
    """The rows; an AUC carries what guessing gives where the design moves it."""
    moved = {name: level for name, level in chance.items() if level != 0.5}
    return tuple(
        replace(m, chance=moved[m.attack]) if m.metric == "auc" and m.group is None and m.attack in moved else m
        for m in measurements
    )


def _randomised(
    replays: Sequence[Replay], rows: Mapping[str, Measurement], chance: Mapping[str, float], rng: np.random.Generator
) -> float:
    """p of the best attack's distance to chance in standard errors; stops when it cannot be small any more."""

    def strength(value: float, name: str) -> float:
        return (value - chance[name]) / max(rows[name].error or 0.0, 1e-12)

    seen = max(strength(float(rows[r.name].value or 0.0), r.name) for r in replays)
    hopeless, beaten, done = int(LEVEL * (REDRAWS + 1)), 0, 0
    while done < REDRAWS and beaten < hopeless:
        beaten += max(strength(r.again(rng), r.name) for r in replays) >= seen
        done += 1
    return (1 + beaten) / (done + 1)


def _replay(scores: Scores, evidence: Evidence, targets: Array | None, ids: Sequence[str] | None) -> Replay | None:
    """How to score an attack again; None where that is too dear (networks) or it has no closed form."""
    attack = attack_of(scores.attack)
    names = list(ids) if ids is not None else [str(q) for q in range(evidence.member.shape[1])]
    keep = np.ones(len(names), bool) if scores.ids is None else np.isin(names, scores.ids)
    member = evidence.member[:, keep]
    rows = np.arange(len(member)) if targets is None else targets
    if not attack.shadows and not attack.together:
        fixed = scores.values
        return Replay(attack.name, member, lambda _member, _rng: fixed, rows, scores.groups)
    alone = attack.in_turn
    if alone is None or attack.rule is None:
        return None
    values, rule = np.asarray(attack.read(evidence), float)[:, keep], attack.rule

    def in_turn(m: Array, g: np.random.Generator) -> Array:
        """The scores of the pairs that the audit would score under this membership, NaN elsewhere."""
        out = left_out(m, g)
        found: Array = np.where(usable(m, out, attack), alone(values, m, out), np.nan)[rows]
        return found

    if targets is None or balanced(evidence.member):
        return Replay(attack.name, member, in_turn, rows, scores.groups)
    shadows = held_out_targets(rows.tolist(), evidence.member).shadows

    def held_out(m: Array, g: np.random.Generator) -> Array:
        return rule(Signals(values[shadows], m[shadows]), values[rows], g)

    return Replay(attack.name, member, held_out, rows, scores.groups)
