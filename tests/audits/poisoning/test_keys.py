"""A changed field of the poisoning audit that matters for a model is a cache miss, N of N."""

from dataclasses import fields, replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")
from tests.audits.poisoning.poison_games import TINY, table

from undertow.audits.poisoning import game as poisoning
from undertow.audits.poisoning.kit import finetune_stage
from undertow.audits.poisoning.recipes import RECIPES, Recipe
from undertow.engine.key import stage_digest
from undertow.models.architecture import Mlp
from undertow.models.causal_lm import causal_lm
from undertow.models.clip import small_clip
from undertow.stages.contrastive import PretrainClip
from undertow.stages.interrogate import Interrogate
from undertow.stages.poison import Poison
from undertow.stages.query import Query, Then
from undertow.stages.serve import Serve
from undertow.stages.soften import Soften
from undertow.stages.zero_shot import ZeroShot
from undertow.training.choose import Plan
from undertow.training.objective import Objective
from undertow.training.schedule import Fit

PLAN, FIT, OBJECTIVE = Plan("sequential", 1), Fit(), Objective()
QUERY = Query("views", "test", Mlp((8,)), (4,), 3, PLAN)
CLIP = small_clip(("red", "green"), 16, 32, 2)
OTHER_CLIP = small_clip(("red", "blue"), 16, 32, 2)
LM = causal_lm("gpt2", 16, 1, 300, 16)
OBJECTIVES = {"direction": "min", "target_weight": 0.1, "cap": 6.0, "steps": 9, "batch": 9, "lr": 0.1, "jitter": 0.1}
# Of each stage an instance, and another value of every field.
STAGES = {
    "poison": (
        Poison("aux", "targets", Mlp((8,)), (4,), 3, OBJECTIVE, PLAN),
        {"auxiliary": "b", "targets": "b", "architecture": Mlp((9,)), "shape": (5,), "classes": 4,
         "objective": replace(OBJECTIVE, steps=9), "plan": replace(PLAN, dtype="float64")},
    ),
    "query": (QUERY, {"views": "b", "test": "", "architecture": Mlp((9,)), "shape": (5,), "classes": 4,
                      "plan": replace(PLAN, threads=2)}),
    "serve": (Serve(QUERY, ("exact",)), {"query": replace(QUERY, test=""), "views": ("exact", "int8")}),
    "soften": (Soften("average", 0.5, "a"), {"kind": "noise", "amount": 0.4, "reference": "b"}),
    "interrogate": (
        Interrogate("texts", "held", LM, (16,), ("exact",), 0, PLAN),
        {"texts": "b", "held_out": "", "architecture": replace(LM, tied=False), "shape": (15,),
         "views": ("exact", "int4"), "seed": 1, "plan": replace(PLAN, device="cuda")},
    ),
    "zero-shot": (ZeroShot(CLIP, (3, 16, 16), PLAN),
                  {"architecture": OTHER_CLIP, "shape": (3, 8, 8), "plan": replace(PLAN, chunk=2)}),
    "pretrain-clip": (
        PretrainClip("pairs", CLIP, (3, 16, 16), FIT, PLAN),
        {"data": "b", "architecture": OTHER_CLIP, "shape": (3, 8, 8), "fit": replace(FIT, flip=True),
         "plan": replace(PLAN, dtype="float64")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_every_field_of_a_stage_is_in_its_name(name):
    stage, changes = STAGES[name]
    assert {f.name for f in fields(stage)} == set(changes)  # a new field must be listed here
    keys = {stage_digest(stage)}
    for field, value in changes.items():
        if name == "soften" and field == "kind":
            keys.add(stage_digest(Soften("noise", 0.5)))
        else:
            keys.add(stage_digest(replace(stage, **{field: value})))
    assert len(keys) == len(changes) + 1


def test_links_joined_keep_the_names_of_both():
    poison = STAGES["poison"][0]
    both = {stage_digest(Then(poison, ask)) for ask in (QUERY, replace(QUERY, test=""), Serve(QUERY, ("exact",)))}
    other = stage_digest(Then(replace(poison, classes=4), QUERY))
    assert len({*both, other}) == 4


def test_every_field_of_the_objective_is_another_poison():
    assert {f.name for f in fields(Objective)} == set(OBJECTIVES)
    stage = STAGES["poison"][0]
    keys = {stage_digest(replace(stage, objective=replace(OBJECTIVE, **{n: v}))) for n, v in OBJECTIVES.items()}
    assert len({stage_digest(stage), *keys}) == len(OBJECTIVES) + 1


def links(config, recipe="full"):
    """The names of all that decides a finetuned model's answers; nothing is trained."""
    game = table(config)
    finetune = finetune_stage(
        game.kit, RECIPES[recipe] if isinstance(recipe, str) else recipe, game.slots, game.host, config
    )
    stages = {"pretrain": game.kit.pretrain, "poison": game.kit.poison, "finetune": finetune,
              "ask": game.kit.ask(config.views, finetune.architecture)}  # fmt: skip
    return {name: stage_digest(stage) for name, stage in stages.items()}


def moved(config):
    base, found = links(TINY), links(config)
    return {name for name in base if base[name] != found[name]}


EVERY = {"pretrain", "poison", "finetune", "ask"}
CONFIGS = {
    "data.points": (replace(TINY, data=replace(TINY.data, points=26)), {"finetune", "ask"}),
    "data.noise": (replace(TINY, data=replace(TINY.data, noise=0.1)), EVERY),
    "data.targets": (replace(TINY, data=replace(TINY.data, targets=10)), {"poison"}),
    "data.repeat": (replace(TINY, data=replace(TINY.data, repeat=2)), {"finetune"}),
    "model.hidden": (replace(TINY, model=replace(TINY.model, hidden=(17,))), EVERY),
    "pretrain": (replace(TINY, pretrain=replace(TINY.pretrain, lr=0.1)), {"pretrain"}),
    "poison": (replace(TINY, poison=replace(TINY.poison, cap=6.0)), {"poison"}),
    "finetune": (replace(TINY, finetune=replace(TINY.finetune, lr=0.1)), {"finetune"}),
    "views": (replace(TINY, views=("int4",)), {"ask"}),
    "engine.dtype": (replace(TINY, engine=replace(TINY.engine, dtype="float64")), EVERY),
    "models": (replace(TINY, models=8), set()),
    "recipes": (replace(TINY, recipes=("linear",)), set()),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_setting_moves_what_it_decides_and_nothing_else(name):
    config, expected = CONFIGS[name]
    assert moved(config) == expected


def test_every_field_of_a_recipe_that_trains_is_another_model():
    changes = {"strategy": "linear", "lr": 2.0, "epochs": 2.0}
    elsewhere = {"name", "about", "neftune", "epsilon", "warm_up", "soften", "amount"}  # tested below
    assert {f.name for f in fields(Recipe)} == {*changes, *elsewhere}
    plain = Recipe("plain", "")
    keys = {links(TINY, replace(plain, **{name: value}))["finetune"] for name, value in changes.items()}
    assert len({links(TINY, plain)["finetune"], *keys}) == len(changes) + 1
    assert links(TINY, replace(plain, name="other", about="words"))["finetune"] == links(TINY, plain)["finetune"]


def test_preparations_are_in_the_name_of_what_follows():
    game = table(TINY)
    softened = [Recipe("a", ""), Recipe("a", "", warm_up=3), Recipe("a", "", warm_up=4)]
    softened += [Recipe("a", "", soften="noise", amount=amount) for amount in (0.1, 0.2)]
    softened += [Recipe("a", "", soften="average", amount=0.1)]
    keys = {tuple(stage_digest(s) for s in poisoning.preparations(game, r, "trusted")) for r in softened}
    assert len(keys) == len(softened)


def test_noise_of_weights_and_of_embeddings_is_in_the_name():
    pytest.importorskip("opacus")
    private, plain = (links(TINY, Recipe("a", "", epsilon=e))["finetune"] for e in (8.0, 0.0))
    assert private != plain
    stage = table(TINY).kit.finetune
    assert stage_digest(replace(stage, neftune=5.0)) != stage_digest(stage)
