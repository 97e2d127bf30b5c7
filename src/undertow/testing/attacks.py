"""What an attack must keep: it finds nothing where nothing leaks, finds a planted leak, and looks at nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from multiprocessing.reduction import ForkingPickler
from typing import ClassVar

import numpy as np
import pytest

from undertow.attacks.attack import EVERYWHERE, REFERENCE, Attack, missing, run
from undertow.attacks.catalog import ATTACKS
from undertow.audits.in_turn import attack_in_turn, usable
from undertow.engine.membership import left_out
from undertow.metrics import auc
from undertow.rng import stream
from undertow.types import Array, BadInput, Evidence, Signals

BY_MODEL = ("member", "values", "logits", "pretrained_logits", "pretrained_values")
BY_POINT = ("labels", "pretrained_labels", "features")


@dataclass(frozen=True, eq=False)
class Game:
    """Evidence of every kind (M, Q), and who plays: shadows in complementary pairs, and targets of their own."""

    evidence: Evidence
    shadows: Array
    targets: Array

    @property
    def truth(self) -> Array:
        """Membership of the targets, (T, Q)."""
        return self.evidence.member[self.targets]

    def scores(self, attack: Attack, seed: int = 0) -> Array:
        """Scores (T, Q) of an attack; higher = member."""
        return run(attack, self.evidence, self.shadows, self.targets, stream(seed, "attack", attack.name))


def game(seed: int, leak: float = 0.0, shadows: int = 16, targets: int = 4, points: int = 100) -> Game:
    """Models, records and classes differ, and members by `leak`: 0 is no leak at all, 4 is plain in every output.

    The records themselves tell members apart where there is a leak, for attacks that see no model; for that, all
    targets then have the same members.
    """
    rng, classes, views, count = stream(seed, "contract", shadows, points), 4, 2, shadows + targets
    half = rng.random((shadows // 2, points)) < 0.5
    own = rng.random((targets, points)) < 0.5
    own = np.repeat(own[:1], targets, 0) if leak else own
    member, labels = np.concatenate([half, ~half, own]), rng.integers(0, classes, points)

    def outputs() -> Array:
        record = rng.normal(0, 2, (1, points, 1, classes)) + np.eye(classes)[labels][None, :, None]
        model = rng.normal(0, 0.5, (count, points, 1, classes)) * rng.gamma(2, 0.5, (1, points, 1, 1))
        found = record + model + rng.normal(0, 0.3, (count, points, views, classes))
        result: Array = found + leak * np.eye(classes)[labels][None, :, None] * member[:, :, None, None]
        return result

    evidence = Evidence(
        member,
        values=rng.normal(0, 1, (count, points)) + rng.normal(0, 2, points) + leak * member,
        logits=outputs(),
        labels=labels,
        pretrained_logits=outputs(),
        pretrained_labels=labels,
        pretrained_values=rng.normal(0, 1, (count, points)) + rng.normal(0, 2, points) + leak * member,
        features=rng.normal(0, 1, (points, 6)) + leak / 2 * member[-1][:, None],
    )
    return Game(evidence, np.arange(shadows), shadows + np.arange(targets))


class AttackContract:
    """Inherit it and give a fixture `attack`.

    Where the rule is slow, lower `games`; where it learns by chance (a network), set `order_matters`. A rule that is
    written in a paper sets `oracle`, the same rule written slowly.
    """

    @pytest.fixture
    def attack(self) -> Attack:
        """The attack to test."""
        raise NotImplementedError("give a fixture `attack`")

    oracle: ClassVar[Callable[[Signals, Array], Array] | None] = None  # (shadow, target (T, Q, ...)) -> (T, Q)
    tolerance: ClassVar[float] = 1e-6  # of the oracle and of the permutations, relative
    games: ClassVar[int] = 12  # without a leak; the mean AUC of all must be .5 within 4.5 standard errors
    least_auc: ClassVar[float] = 0.6  # where every output gives membership away
    order_matters: ClassVar[bool] = False  # the rule draws at random for one point or model after the other

    def test_it_is_declared_well(self, attack: Attack) -> None:
        """A name without spaces, a title of one line, known evidence, and what other processes can receive."""
        known = {field.name for field in fields(Evidence)} - {"member", "groups"}
        assert attack.name
        assert attack.name == attack.name.lower().strip()
        assert not set(attack.name) & set(" ,:;/\n")
        assert attack.title
        assert "\n" not in attack.title
        assert attack.needs
        assert {key for keys in attack.needs for key in keys} <= known
        assert attack.offered <= EVERYWHERE | {REFERENCE}
        assert ForkingPickler.dumps(attack)

    def test_nothing_is_found_where_nothing_leaks(self, attack: Attack) -> None:
        every = [game(seed) for seed in range(self.games)]
        found = [auc(each.scores(attack, seed), each.truth) for seed, each in enumerate(every)]
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert error < 0.02, "the AUC scatters so much that a leak of .08 would pass; raise `games`"
        assert abs(np.mean(found) - 0.5) < 4.5 * max(error, 1e-9)

    def test_a_planted_leak_is_found_and_higher_means_member(self, attack: Attack) -> None:
        leaky = game(0, leak=4.0)
        scores = leaky.scores(attack)
        assert scores.shape == leaky.truth.shape
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()
        assert auc(scores, leaky.truth) > self.least_auc

    def test_it_equals_the_rule_written_slowly(self, attack: Attack) -> None:
        oracle = type(self).oracle
        if oracle is None or attack.rule is None:
            pytest.skip("no oracle is given")
        small = game(1, leak=1.0, shadows=8, targets=2, points=12)
        values, member = attack.read(small.evidence), small.evidence.member
        shadow = Signals(values[small.shadows], member[small.shadows], small.evidence.pretrained_labels)
        by_hand = oracle(shadow, values[small.targets])
        np.testing.assert_allclose(small.scores(attack), by_hand, rtol=self.tolerance, atol=self.tolerance)

    def test_the_order_of_the_shadows_does_not_matter(self, attack: Attack) -> None:
        leaky = game(2, leak=1.0)
        turned = replace(leaky, shadows=stream(2, "turn").permutation(leaky.shadows))
        self._equal(turned.scores(attack), leaky.scores(attack))

    def test_the_order_of_the_points_does_not_matter(self, attack: Attack) -> None:
        if attack.kind == "blind":
            pytest.skip("the blind guess deals the points into folds at random")
        leaky = game(3, leak=1.0)
        order = stream(3, "turn").permutation(leaky.truth.shape[1])
        turned = replace(leaky, evidence=at(leaky.evidence, order))
        self._equal(turned.scores(attack), leaky.scores(attack)[:, order])

    def _equal(self, found: Array, expected: Array) -> None:
        """The same scores; of a rule that draws at random, scores of nearly the same order."""
        if self.order_matters:
            assert np.corrcoef(ranks(found), ranks(expected))[0, 1] > 0.8
        else:
            np.testing.assert_allclose(found, expected, rtol=self.tolerance, atol=self.tolerance)

    def test_the_same_seed_gives_the_same_scores(self, attack: Attack) -> None:
        leaky = game(4, leak=1.0, points=40)
        np.testing.assert_array_equal(leaky.scores(attack), game(4, leak=1.0, points=40).scores(attack))

    def test_the_membership_of_the_targets_is_out_of_reach(self, attack: Attack) -> None:
        if attack.kind == "blind":
            pytest.skip("the blind guess is told the truth of other records than the one it scores")
        leaky = game(5, leak=1.0, points=40)
        member = leaky.evidence.member.copy()
        member[leaky.targets] = ~member[leaky.targets]
        lied = replace(leaky, evidence=replace(leaky.evidence, member=member))
        np.testing.assert_array_equal(lied.scores(attack), leaky.scores(attack))

    def test_a_target_is_scored_alone_or_in_company(self, attack: Attack) -> None:
        leaky = game(6, leak=1.0, points=40)
        for t in (0,) if attack.kind == "blind" else (0, len(leaky.targets) - 1):  # the blind guess draws in turn
            alone = replace(leaky, targets=leaky.targets[t : t + 1])
            np.testing.assert_allclose(alone.scores(attack), leaky.scores(attack)[t : t + 1], rtol=1e-5, atol=1e-6)

    def test_a_target_is_never_its_own_shadow(self, attack: Attack) -> None:
        both = game(7, points=40)
        with pytest.raises(BadInput, match="both target and shadow"):
            replace(both, shadows=np.arange(17)).scores(attack)

    def test_each_alternative_of_its_evidence_suffices_and_nothing_less(self, attack: Attack) -> None:
        full = game(8, points=40)
        nothing = Evidence(full.evidence.member)
        assert missing(attack, nothing) is not None
        with pytest.raises(BadInput, match=f"{attack.name}: missing"):
            replace(full, evidence=nothing).scores(attack)
        for keys in attack.needs:
            some = replace(nothing, **{key: getattr(full.evidence, key) for key in keys})
            assert missing(attack, some) is None
            assert np.isfinite(replace(full, evidence=some).scores(attack)).all()
            for absent in keys:
                less = replace(nothing, **{key: getattr(full.evidence, key) for key in keys if key != absent})
                assert (missing(attack, less) or "").startswith("missing ")

    def test_it_is_finite_where_models_are_sure(self, attack: Attack) -> None:
        sure = game(9, points=40)
        sides = {key: np.where(getattr(sure.evidence, key) > 0, 100.0, -100.0) for key in BY_MODEL[1:]}
        assert np.isfinite(replace(sure, evidence=replace(sure.evidence, **sides)).scores(attack)).all()

    def test_it_says_whether_answers_at_other_points_matter(self, attack: Attack) -> None:
        """`together`: the targets' answers at all points but the first are changed; the shadows' are not."""
        if attack.kind == "blind":
            pytest.skip("the blind guess sees no answers")
        leaky, rng = game(10, leak=1.0), stream(10, "elsewhere")
        changes = {}
        for key in BY_MODEL[1:]:
            value = getattr(leaky.evidence, key).copy()
            value[leaky.targets, 1:] = rng.normal(0, 3, value[leaky.targets, 1:].shape)
            changes[key] = value
        changed = replace(leaky, evidence=replace(leaky.evidence, **changes))
        before, after = leaky.scores(attack)[:, 0], changed.scores(attack)[:, 0]
        assert attack.together == bool((np.abs(before - after) > 1e-5 * (1 + np.abs(before))).any())

    def test_the_least_number_of_points_is_enough_and_one_less_is_refused(self, attack: Attack) -> None:
        if not attack.shadows:
            pytest.skip("it has no rule")
        full = game(11)
        least = replace(full, evidence=at(full.evidence, np.arange(attack.least)))
        assert np.isfinite(least.scores(attack)).all()
        if attack.least > 1:
            with pytest.raises(BadInput, match=f"at least {attack.least}"):
                replace(full, evidence=at(full.evidence, np.arange(attack.least - 1))).scores(attack)

    def test_pairs_without_enough_models_are_masked_and_not_scored(self, attack: Attack) -> None:
        """Every model attacked in turn: a point that no model, or every model, was trained on has no score."""
        if not attack.shadows:
            pytest.skip("it needs no models beside the target")
        whole = game(12, points=40)
        rows = whole.shadows
        member = whole.evidence.member[rows].copy()
        member[:, 3], member[:, 5] = True, False
        evidence = replace(models(whole.evidence, rows), member=member)
        can = usable(member, left_out(member, stream(0, "left out")), attack)
        assert not can[:, 3].any()  # nobody is OUT
        assert can[:, 5].any() == (attack.least_in == 0)
        with ATTACKS.holding(attack) as name:
            (found,) = attack_in_turn(evidence, [name], 0).scores
        names = found.ids if found.ids is not None else tuple(map(str, range(40)))
        assert "3" not in names
        assert ("5" in names) == (attack.least_in == 0)
        assert np.isfinite(found.values).all()

    def test_attacked_in_turn_the_scores_are_those_of_the_rule(self, attack: Attack) -> None:
        if attack.in_turn is None or attack.rule is None:
            pytest.skip("it has no shortcut")
        whole = game(13, leak=1.0, points=40)
        evidence = models(whole.evidence, whole.shadows)
        out = left_out(evidence.member, stream(0, "left out"))
        values, member, everyone = np.asarray(attack.read(evidence), float), evidence.member, np.arange(16)
        fast = attack.in_turn(values, member, out)
        for m in everyone:
            others = everyone[out.block != out.block[m]]
            slow = attack.rule(Signals(values[others], member[others]), values[m : m + 1], stream(0, "rule"))
            np.testing.assert_allclose(fast[m], slow[0], rtol=1e-9, atol=1e-9)


def at(evidence: Evidence, points: Array) -> Evidence:
    """The evidence on some points, in that order."""
    own = {key: value[:, points] for key in BY_MODEL if (value := getattr(evidence, key)) is not None}
    return replace(evidence, **own, **{k: v[points] for k in BY_POINT if (v := getattr(evidence, k)) is not None})


def models(evidence: Evidence, rows: Array) -> Evidence:
    """The evidence of some models, in that order."""
    return replace(evidence, **{k: v[rows] for k in BY_MODEL if (v := getattr(evidence, k)) is not None})


def ranks(values: Array) -> Array:
    """The rank of each number among all, (n,)."""
    return np.argsort(np.argsort(values.ravel(), kind="stable"))
