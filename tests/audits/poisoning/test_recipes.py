"""Names of recipes, and settings of the poisoning audit that mean nothing."""

from dataclasses import fields, replace

import pytest

from undertow.audits.poisoning.recipes import RECIPES, chosen
from undertow.audits.poisoning.settings import BaseModel, Candidates, PoisoningConfig
from undertow.types import ConfigError


def test_recipes_come_in_the_order_they_are_named_each_once():
    assert [r.name for r in chosen(("lora", "full", "lora"))] == ["lora", "full"]
    assert all(recipe.name == name for name, recipe in RECIPES.items())


@pytest.mark.parametrize(("wrong", "near"), [("lra", "lora"), ("Full", "full"), ("dpsgd", "dp"), ("last_k", "last-k")])
def test_a_mistyped_recipe_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(ConfigError, match=f"no recipe is called '{wrong}'; did you mean '{near}'") as said:
        chosen((wrong,))
    assert "\n" not in str(said.value)


def test_no_recipe_is_an_error():
    with pytest.raises(ConfigError, match="recipes is empty"):
        chosen(())


@pytest.mark.parametrize("change", [{"models": 4}, {"models": 7}, {"sweep": "poison.steps"}, {"sweep_values": (1.0,)}])
def test_an_audit_that_means_nothing_is_refused_by_name(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        PoisoningConfig(**change)


@pytest.mark.parametrize("change", [{"points": 2}, {"points": 7}, {"targets": 1}, {"targets": 401}, {"repeat": 0},
                                    {"public": -1}, {"noise": -0.1}, {"context": 7}, {"vocabulary": 257}])  # fmt: skip
def test_candidates_that_mean_nothing_are_refused_by_name(change):
    with pytest.raises(ConfigError, match=next(iter(change))) as said:
        Candidates(**change)
    assert "data." in str(said.value)


@pytest.mark.parametrize("change", [{"width": 0}, {"depth": 0}, {"hidden": (8, 0)}])
def test_models_that_mean_nothing_are_refused_by_name(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        BaseModel(**change)


def test_every_setting_explains_itself():
    for section in (PoisoningConfig, Candidates, BaseModel, type(PoisoningConfig().poison)):
        for field in fields(section):
            assert field.metadata["about"], field.name


def test_recipes_name_what_they_change_and_nothing_else():
    plain = replace(RECIPES["full"], name="", about="")
    for name, recipe in RECIPES.items():
        assert (replace(recipe, name="", about="") == plain) == (name == "full")
