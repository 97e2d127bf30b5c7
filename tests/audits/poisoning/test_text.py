"""The poisoning audit end to end on a tiny language model: every view, every signal, text recipes."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from tests.audits.poisoning.poison_games import host, run, table, tiny_lm

from undertow.audits.poisoning.game import asked, published
from undertow.audits.poisoning.settings import ARMS

VIEWS = ("exact", "top-5", "label")
EXACT = {"loss", "min-k", "min-k++", "zlib", "scaled-logit", "loss-difference", "ez-mia-style", "wbc-style"}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    config = replace(tiny_lm(tmp_path_factory.mktemp("texts")), views=VIEWS)
    where = host()
    return config, where, run(config, where)


def test_every_number_is_there_once_in_every_arm_and_every_difference_once(played):
    _, _, result = played
    found = defaultdict(list)
    for m in result.measurements:
        found[m.attack, m.metric, m.fpr, m.points, m.recipe, m.view, m.when].append(m.group)
    for key, arms in found.items():
        assert arms == list(ARMS[1:] if key[1].endswith("_difference") else ARMS), key
    assert {(key[1], key[6]) for key in found if key[0] == "utility"} == {("heldout_loss", "before"),
                                                                         ("heldout_loss", "after")}  # fmt: skip
    for view in VIEWS:
        for points in ("targets", "others"):
            assert ("lira", "auc", None, points, "full", view, None) in found


def test_the_exact_view_has_every_signal_and_narrow_ones_have_their_own(played):
    attacks = defaultdict(set)
    for m in played[2].measurements:
        if m.view:
            attacks[m.view].add(m.attack)
    assert attacks["exact"] >= EXACT | {"lira", "lira-offline"} | {f"lira of {name}" for name in EXACT - {"loss"}}
    assert attacks["label"] == {"hit-rate", "lira", "lira-offline"}
    assert attacks["top-5"] == {"top-probability", "lira", "lira-offline"}


def test_all_arms_share_one_balanced_membership_and_public_text(played):
    _, where, result = played
    dealt = [np.stack([arm[i].member for i in range(6)]) for arm in where.executor.trained("finetune").values()]
    assert len(dealt) == 3
    assert all(np.array_equal(member, dealt[0]) for member in dealt)
    assert (dealt[0].sum(0) == 3).all()
    for scores in result.scores:
        np.testing.assert_array_equal(scores.member, dealt[0])
    (stage,) = {job.stage.first for job in where.executor.jobs if job.stage.name == "finetune"}
    rows = stage.rows(where.executor.trained("finetune")[result.environment["checkpoints"]["clean"]][0], 26)
    assert set(range(20, 26)) <= set(rows.tolist())  # public text is everyone's
    assert len(rows) == 10 + 6


@pytest.mark.slow
def test_rerun_trains_nothing_and_says_the_same(played):
    config, where, result = played
    again = host(where.store)
    repeated = run(config, again)
    assert again.executor.jobs == []
    assert repeated.measurements == result.measurements


def test_min_makes_targets_likelier_before_anyone_finetunes(played, tmp_path):
    config = replace(tiny_lm(tmp_path), poison=replace(played[0].poison, steps=60, lr=5e-3))
    game = table(config)
    loss = {
        arm: -game.kit.read(*[asked(game, key, ("exact",))] * 2, "exact")["loss"][0]
        for arm, key in published(game).items()
    }
    own = game.supply.targeted
    assert loss["poisoned"][own].mean() < loss["benign"][own].mean() - 0.5


@pytest.mark.slow
def test_every_other_view_and_recipe_and_the_null(tmp_path):
    config = tiny_lm(tmp_path)
    nothing = replace(config, poison=replace(config.poison, direction="none"), recipes=("neftune", "lora", "warm-up"),
                      views=("int8", "int4", "watermark"))  # fmt: skip
    result = run(nothing)
    assert {(m.recipe, m.view) for m in result.measurements if m.attack == "lira"} == {
        (recipe, view) for recipe in nothing.recipes for view in nothing.views
    }
    assert len(result.scores) == 3 * 9
    for benign, poisoned in zip(result.scores[1::3], result.scores[2::3], strict=True):
        assert (benign.group, poisoned.group) == ("benign", "poisoned")
        np.testing.assert_array_equal(benign.values, poisoned.values)
    for recipe in nothing.recipes:
        for points in ("targets", "others"):
            at = {"points": points, "recipe": recipe, "view": "int4"}
            rows = [result.find("lira", "auc_difference", group=arm, **at) for arm in ("benign", "poisoned")]
            assert rows[0].value == rows[1].value
