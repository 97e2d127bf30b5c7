"""The poisoning audit end to end on tiny digits: three arms, one membership, and a difference only poison makes."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
from tests.audits.poisoning.poison_games import REAL, TINY, host, run, table

from undertow import signals
from undertow.audits.poisoning import game as poisoning
from undertow.audits.poisoning.kit import image_signals, weights_of
from undertow.audits.poisoning.recipes import RECIPES as KNOWN
from undertow.audits.poisoning.settings import ARMS
from undertow.audits.stored import keep, put_examples
from undertow.rng import stream
from undertow.sources.records.poison_source import load_poisoning
from undertow.storage.store import MemoryStore
from undertow.types import BadInput, ConfigError

RECIPES = ("full", "linear", "last-k", "warm-up", "fewer-steps", "weight-noise", "average")
VIEWS = ("exact", "label")


@pytest.fixture(scope="module")
def where():
    return host()


@pytest.fixture(scope="module")
def result(where):
    return run(replace(TINY, views=VIEWS), where)


def groups(rows):
    """{(attack, metric, ...): the arms it was measured in}."""
    found = defaultdict(list)
    for m in rows:
        found[m.attack, m.metric, m.fpr, m.points, m.recipe, m.view, m.when].append(m.group)
    return found


def values(result, arm):
    """What was measured in one arm; not what is drawn for each arm (intervals, halves of the balanced accuracy)."""
    return {
        (m.attack, m.metric, m.fpr, m.points, m.recipe, m.view, m.when): (m.value, m.n, m.reason)
        for m in result.measurements
        if m.group == arm and m.metric != "balanced_accuracy"
    }


def test_every_number_is_there_once_in_every_arm_and_every_difference_once(result):
    found = groups(result.measurements)
    for key, arms in found.items():
        assert arms == list(ARMS[1:] if key[1].endswith("_difference") else ARMS), key
    attacked = {key[:6] for key in found if key[0] != "utility"}
    for key in attacked:
        if key[1] in ("auc", "tpr"):
            assert (key[0], f"{key[1]}_difference", *key[2:]) in attacked
    assert {key[3:6] for key in attacked} == {(p, "full", view) for p in ("targets", "others") for view in VIEWS}
    for key in attacked:
        assert (*key[:3], "others", *key[4:]) in attacked
    exact = {key[0] for key in attacked if key[5] == "exact"}
    assert exact == {"scaled-logit", "lira", "lira-offline", "loss", "lira of loss", "lira-offline of loss"}
    assert {key[0] for key in attacked if key[5] == "label"} == {"hit-rate", "lira", "lira-offline"}
    assert {(key[1], key[6]) for key in found if key[0] == "utility"} == {("accuracy", "before"), ("accuracy", "after")}


def test_a_difference_is_the_difference(result):
    for arm in ARMS[1:]:
        for attack in ("lira", "loss"):
            a, b = (result.find(attack, "auc", group=g, points="targets", view="exact").value for g in (arm, "clean"))
            both = result.find(attack, "auc_difference", group=arm, points="targets", view="exact")
            assert both.value == pytest.approx(a - b, abs=1e-12)
            assert both.low <= both.value <= both.high


def test_all_arms_share_one_balanced_membership(where, result):
    trained = where.executor.trained("finetune")
    assert set(trained) == set(result.environment["checkpoints"].values())
    dealt = [np.stack([slots[i].member for i in range(TINY.models)]) for slots in trained.values()]
    assert len(dealt) == 3
    for member in dealt:
        np.testing.assert_array_equal(member, dealt[0])
    assert (dealt[0].sum(0) == TINY.models // 2).all()
    assert (dealt[0].sum(1) == TINY.data.points // 2).all()
    for scores in result.scores:
        np.testing.assert_array_equal(scores.member, dealt[0])
    every = [(recipe, view, arm) for recipe in TINY.recipes for view in VIEWS for arm in ARMS]
    assert [(s.recipe, s.view, s.group) for s in result.scores] == every


def test_only_finetuning_is_shown_the_secret_and_seeds_are_shared(where, result):
    for name in {job.stage.name for job in where.executor.jobs} - {"finetune"}:
        slots = [slot for some in where.executor.trained(name).values() for slot in some.values()]
        assert all(slot.member is None for slot in slots), name
    arms = where.executor.trained("finetune").values()
    assert all({(i, s.role, s.seed) for i, s in arm.items()} == {(i, "shadow", 0) for i in range(6)} for arm in arms)


def test_the_checkpoint_is_poisoned_once_and_as_long_in_both_arms(where, result):
    stages = [job.stage for job in where.executor.jobs if job.stage.name == "poison"]
    assert [s.objective.direction for s in stages] == ["none", "max"]
    assert replace(stages[1], objective=stages[0].objective) == stages[0]
    assert len(set(result.environment["checkpoints"].values())) == 3
    distance = list(result.utility.values())
    assert len(distance) == 2
    assert min(distance) > 0


def test_rerun_trains_nothing_and_says_the_same(where, result):
    again = host(where.store)
    repeated = run(replace(TINY, views=VIEWS), again)
    assert again.executor.jobs == []
    assert repeated.measurements == result.measurements
    assert repeated.environment["checkpoints"] == result.environment["checkpoints"]
    for a, b in zip(repeated.scores, result.scores, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_another_seed_is_another_game(where, result):
    other = table(replace(TINY, seed=1))
    assert (other.member != table(TINY).member).any()
    assert other.supply.ids != result.ids


def test_without_poison_the_poisoned_arm_is_the_benign_one():
    nothing = replace(TINY, poison=replace(TINY.poison, direction="none"))
    result = run(nothing)
    keys = result.environment["checkpoints"]
    assert keys["poisoned"] == keys["benign"] != keys["clean"]
    assert values(result, "poisoned") == values(result, "benign")
    assert values(result, "clean") != values(result, "benign")
    _, benign, poisoned = result.scores
    np.testing.assert_array_equal(poisoned.values, benign.values)


def test_poison_leaves_the_other_arms_as_they_are(result):
    nothing = run(replace(TINY, poison=replace(TINY.poison, direction="none")))
    for arm in ("clean", "benign"):
        alike = {key: value for key, value in values(result, arm).items() if key[5] in ("exact", None)}
        assert values(nothing, arm) == alike


@pytest.fixture(scope="module")
def over_recipes():
    return run(replace(TINY, recipes=RECIPES))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_in_every_arm(over_recipes, recipe):
    for arm in ARMS:
        row = over_recipes.find("lira", "auc", group=arm, points="targets", recipe=recipe)
        assert 0 <= row.value <= 1
        assert row.epsilon is None
        after = over_recipes.find("utility", "accuracy", group=arm, recipe=recipe, when="after")
        assert after.n == TINY.models
    losses = {arm: over_recipes.find("loss", "auc", group=arm, points="targets", recipe=recipe) for arm in ARMS}
    assert len({(m.low, m.high) for m in losses.values()}) > 1


def test_recipes_differ_and_utility_before_is_said_once(over_recipes):
    after = [over_recipes.find("utility", "accuracy", group="poisoned", recipe=r, when="after").value for r in RECIPES]
    assert len(set(after)) >= len(RECIPES) - 1
    before = [m for m in over_recipes.measurements if m.when == "before"]
    assert [m.group for m in before] == list(ARMS)


def test_the_recipe_says_what_is_done_to_the_checkpoint():
    ours = host()
    game = poisoning.lay_table(TINY, *load_poisoning(TINY), ours)
    stages = {name: poisoning.preparations(game, poisoning.chosen([name])[0], "trusted") for name in RECIPES}
    assert stages["full"] == stages["linear"] == stages["last-k"] == stages["fewer-steps"] == []
    assert [(s.kind, s.amount, s.reference) for s in stages["weight-noise"]] == [("noise", 0.2, "")]
    assert [(s.kind, s.amount, s.reference) for s in stages["average"]] == [("average", 0.5, "trusted")]
    (warm,) = stages["warm-up"]
    assert (warm.objective.direction, warm.objective.steps, warm.objective.lr) == ("none", 40, TINY.finetune.lr)
    assert warm.auxiliary == put_examples(ours.store, game.supply.warm_up)


def test_lora_trains_its_own_weights_from_each_checkpoint():
    pytest.importorskip("peft")
    result = run(replace(TINY, recipes=("lora",)))
    assert len([m for m in result.measurements if m.attack == "lira" and m.metric == "auc"]) == 6


def test_private_rows_carry_their_promise():
    pytest.importorskip("opacus")
    result = run(replace(TINY, recipes=("full", "dp")))
    private = [m for m in result.measurements if m.recipe == "dp"]
    assert private
    assert all(0 < m.epsilon <= 8 for m in private)
    assert all(m.epsilon is None for m in result.measurements if m.recipe != "dp")
    assert result.environment["privacy"]["dp"]["epsilon"] <= 8
    again = [m for m in private if m.metric == "auc_difference"]
    assert len(again) == 2 * 2 * 6  # arms x points x attacks


def test_repeated_records_are_seen_as_often_as_it_says(where):
    once, twice = (table(replace(TINY, data=replace(TINY.data, repeat=n))).kit.finetune for n in (1, 2))
    slot = table(TINY).slots[0]
    assert len(twice.rows(slot, 24)) == 2 * len(once.rows(slot, 24)) == 24


def test_poisoning_makes_targets_leak_more_and_the_control_does_not():
    result = run(replace(REAL, models=32))
    poisoned = result.find("lira", "auc_difference", group="poisoned", points="targets")
    benign = result.find("lira", "auc_difference", group="benign", points="targets")
    assert poisoned.value > 0
    assert poisoned.low > 0
    assert poisoned.low > benign.high
    clean, bad = (result.find("utility", "accuracy", group=arm, when="after") for arm in ("clean", "poisoned"))
    assert bad.value > clean.value - 0.05


def test_what_is_seen_decides_the_statistics():
    rng, labels = stream(0, "logits"), np.array([0, 3, 5, 6])
    exact, coarse = rng.normal(size=(2, 3, 4, 1, 8))
    models = {"exact/logits": exact, "int8/logits": coarse}
    shown = {view: image_signals(models, labels, view) for view in ("exact", "int8", "top-5", "label")}
    np.testing.assert_array_equal(shown["int8"]["loss"], signals.negative_loss(coarse, labels))
    scaled = shown["exact"]["scaled-logit"]
    np.testing.assert_array_equal(scaled, signals.label_confidence(exact, labels))
    place = (exact[:, :, 0] > exact[:, np.arange(4), 0, labels][..., None]).sum(-1)
    top = shown["top-5"]["top-probability"]
    np.testing.assert_array_equal(top[place < 5], scaled[place < 5])
    assert (top[place >= 5] > scaled[place >= 5]).all()
    assert (place >= 5).any()
    np.testing.assert_array_equal(shown["label"]["hit-rate"], place == 0)
    assert weights_of(["label", "top-5"]) == ("exact",)
    assert weights_of(["int4", "label"]) == ("exact", "int4")


def test_what_cannot_be_played_is_refused():
    with pytest.raises(ConfigError, match=r"watermark.*is of texts"):
        run(replace(TINY, views=("watermark",)))
    with pytest.raises(ConfigError, match=r"poisoning diverged at step .* kept in the store as"):
        run(replace(TINY, poison=replace(TINY.poison, lr=1e30)))
    with pytest.raises(BadInput, match=r"too few for data\.points"):
        run(replace(TINY, data=replace(TINY.data, points=1000)))


def test_a_checkpoint_of_the_users_is_kept_under_its_content():
    ours = host(MemoryStore())
    params = {"b": np.ones(2), "a": np.zeros(3)}
    key = keep(ours.store, params)
    assert key == keep(ours.store, dict(reversed(params.items())))
    assert key != keep(ours.store, {"b": np.ones(2), "a": np.ones(3)})
    np.testing.assert_array_equal(ours.store.get(key)["b"], np.ones(2))


def test_what_a_recipe_says_of_itself_is_what_it_does():
    """Its text is all that a reader of a report knows of it."""
    public = KNOWN["warm-up"]
    steps = poisoning.preparations(table(replace(TINY, recipes=("warm-up",))), public, "")[-1].objective.steps
    assert f"after {steps} steps on public data" in public.about
    assert f"epsilon {KNOWN['dp'].epsilon:g}" in KNOWN["dp"].about
    assert f"alpha {KNOWN['neftune'].neftune:g}" in KNOWN["neftune"].about
    assert f"noise of {KNOWN['weight-noise'].amount:g} deviations" in KNOWN["weight-noise"].about
    assert KNOWN["fewer-steps"].epochs == 0.5  # "half the epochs"
