"""Names of poisoning audits: every preset is whole, every mistyped name is answered with the nearest."""

import subprocess
import sys
from dataclasses import replace

import pytest

from undertow.audits.poisoning.presets import PRESETS, RECIPES, VIEWS, check_recipes, listing, preset
from undertow.config import override, to_dict
from undertow.types import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_whole_and_survives_the_configuration_file(name):
    config = preset(name)
    check_recipes(config)
    assert override(config, to_dict(config)) == config
    assert dict(listing())[name]


def test_the_digits_are_the_measured_recipe():
    config = preset("digits")
    assert (config.models, config.data.points, config.data.targets, config.data.noise) == (32, 400, 80, 0.25)
    assert (config.poison.direction, config.poison.target_weight, config.poison.cap) == ("max", 0.3, 5.0)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        preset("digit")
    with pytest.raises(ConfigError, match="did you mean 'warm-up'"):
        check_recipes(replace(preset("digits"), recipes=("full", "warmup")))
    with pytest.raises(ConfigError, match="no view is called 'all'"):
        check_recipes(replace(preset("digits"), views=("all",)))


def test_recipes_and_views_are_explained_in_a_line():
    assert {"full", "linear", "last-k", "lora", "qlora", "neftune", "dp", "warm-up", "fewer-steps"} <= RECIPES.keys()
    assert {"weight-noise", "average"} <= RECIPES.keys()
    recipes = [(name, recipe.about) for name, recipe in RECIPES.items()]
    for name, about in (*recipes, *VIEWS.items(), *listing()):
        assert about, name
        assert len(name) + len(about) < 90


def test_names_are_known_without_torch():
    code = "import sys, undertow.audits.poisoning.presets, undertow.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
