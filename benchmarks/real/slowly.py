"""The slow attacks on one signals file, by name, and who may attack whom in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from tests.oracles import dealing
from tests.oracles import score as slow
from tests.oracles.blind import blind_by_hand

from undertow.engine import membership
from undertow.rng import stream
from undertow.types import Array

Rule = Callable[[int, list[int]], Array]  # one target, the points (K) it can be attacked at -> (K,) or (3, K)
TOGETHER = ("adapted-lira-averaged",)  # need one set of shadows for all points of a target
NEEDS = {"lira-offline": (0, 2), "rmia": (1, 1), "rmia-offline": (0, 1)}  # IN, OUT; two of each otherwise
ALONE = ("threshold", "loss", "confidence", "entropy", "margin", "blind")


@dataclass(frozen=True)
class Constants:
    """Choices of the package that no paper makes; read from it, so that a changed default is no mismatch."""

    per_example: int
    gamma: float
    a: float
    ridge: float


class Rules:
    """The slow attacks on one file, by name."""

    def __init__(self, arrays: Mapping[str, Array], seed: int, constants: Constants) -> None:
        self.arrays, self.seed, self.member = arrays, seed, arrays["member"]
        targets = arrays["target"].tolist() if "target" in arrays else None
        beside = drawn(self.member, seed)
        self.game = dealing.deal(self.member, targets, beside)
        self.point_by_point = len(self.game.attacked) == len(self.member) and bool((beside != dealing.NOBODY).any())
        self.rows = [self.game.attacked.index(t) for t in self.game.shown]  # of the attacked, those that are shown
        self.rules = self._rules(constants)

    def usable(self, attack: str) -> Array:
        """The pairs of attacked model and record that the attack can score, (attacked, N) bool."""
        return self.game.usable(*((0, 0) if attack in ALONE else NEEDS.get(attack, (2, 2))))

    def possible(self, attack: str) -> bool:
        """Whether members and non-members of two records or more can be scored."""
        can, member = self.usable(attack), self.member[list(self.game.attacked)]
        if attack in TOGETHER and self.point_by_point:
            return False
        return bool(can.any(0).sum() > 1 and (can & member).any() and (can & ~member).any())

    def scores(self, attack: str, points: Sequence[int], scored: Array) -> tuple[Array, Array, Array]:
        """Scores, least and largest scores (shown, K) of `points`; NaN where `scored` (shown, K) is not."""
        found = np.full((3, *scored.shape), np.nan)
        if attack == "blind":
            found[:] = self._blind()[self.rows]
        else:
            for i, t in enumerate(self.game.shown):
                if scored[i].any():
                    found[:, i, scored[i]] = self.rules[attack](t, [q for q, s in zip(points, scored[i]) if s])
        return found[0], found[1], found[2]

    def _rules(self, c: Constants) -> dict[str, Rule]:
        arrays, rules = self.arrays, dict[str, Rule]()

        def plain(signal: Array) -> Rule:
            return lambda t, points: signal[t, points]

        def shadow(rule: Callable[..., Array], signal: Array, *rest: float) -> Rule:
            return lambda t, points: rule(signal, self.game, t, points, *rest)

        if "logits" in arrays:
            z, y = arrays["logits"], arrays["labels"]
            rules |= {"loss": plain(slow.loss(z, y)), "margin": plain(slow.margin(z, y))}
            rules |= {"confidence": plain(slow.confidence(z)), "entropy": plain(slow.entropy(z))}
            log_p = slow.log_probability(z, y)
            rules["rmia"] = partial(slow.rmia, log_p, self.game, gamma=c.gamma)
            rules["rmia-offline"] = partial(slow.rmia, log_p, self.game, gamma=c.gamma, a=c.a)
            rules["tmi-lda"] = shadow(slow.tmi_lda, z, c.ridge)
            rules["tmi-knn"] = shadow(slow.tmi_knn, z)
            rules["adapted-lira"] = shadow(slow.adapted_lira, z, 1e-3)
            rules["adapted-lira-averaged"] = shadow(slow.adapted_lira_averaged, z, c.per_example)
        if "values" in arrays:
            rules["threshold"] = plain(arrays["values"])
        one = arrays["values"] if "values" in arrays else slow.scaled_logit(z, y)
        rules["lira"] = shadow(slow.lira, one, c.per_example)
        rules["lira-offline"] = shadow(slow.lira_offline, one, c.per_example)
        rules["bavaria"] = shadow(slow.bavaria, one)
        if "features" in arrays:
            rules["blind"] = plain(np.zeros(self.member.shape))  # all targets share one stream: see _blind
        return rules

    def _blind(self) -> Array:
        """The folds are dealt by the same stream; the classifiers are fitted one by one."""
        rng, found = stream(self.seed, "attack", "", "blind", 0), []
        for t in self.game.attacked:
            found.append(blind_by_hand(self.arrays["features"], self.member[t], dealt(self.member[t], rng)))
        return np.stack(found)


def dealt(member: Array, rng: np.random.Generator) -> Array:
    """A fold for each point: members in random order, then non-members, are dealt to the folds in turn."""
    order = [q for side in (member, ~member) for q in rng.permutation(np.flatnonzero(side))]
    count = min(5, int(member.sum()), int((~member).sum()))
    fold = np.empty(len(member), int)
    for place, q in enumerate(order):
        fold[q] = place % count
    return fold


def drawn(member: Array, seed: int) -> Array:
    """The model left out beside each target at each point, (M, N), as drawn by the audit; only that draw is taken over.

    ValueError unless the audit leaves out together the models of one block, as found by search, and draws, in balanced
    columns and for models without a block, one such model of the other side at each point; else nobody.
    """
    out = membership.left_out(member, stream(seed, "left out"))
    together = {frozenset(np.flatnonzero(out.block == b).tolist()) for b in out.block}
    if together != (found := {frozenset(one) for one in dealing.blocks(member)}):
        raise ValueError(f"models left out together: {sorted(map(sorted, together ^ found))} differ")
    nobody = np.full(member.shape, dealing.NOBODY)
    alone, points = dealing.loners(member), np.arange(member.shape[1])
    beside = nobody if out.beside is None else out.beside
    if (out.beside is not None) != dealing.balanced(member):
        raise ValueError(
            "a model is left out at each point where the columns do not ask for it, or the other way round"
        )
    for m in range(len(member)):
        right = beside[m] == dealing.NOBODY
        if m in alone and out.beside is not None:
            right = np.isin(beside[m], alone) & (member[beside[m], points] != member[m])
        if not right.all():
            raise ValueError(f"model {m}: at {int((~right).sum())} of {len(right)} points the wrong model is left out")
    return beside
