"""How victims finetune: the recipes of the published attack, and what might protect them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from undertow.registry import check_named
from undertow.types import ConfigError

Strategy = Literal["full", "linear", "last-k", "lora", "qlora"]


@dataclass(frozen=True)
class Recipe:
    """One way to finetune; what it does not name is as the configuration says."""

    name: str
    about: str  # one line for people
    strategy: Strategy = "full"
    lr: float = 1.0  # times the configured step size
    epochs: float = 1.0  # times the configured epochs, at least one
    neftune: float = 0.0  # NEFTune's alpha; texts only
    epsilon: float = 0.0  # DP-SGD by Opacus; 0: not private
    warm_up: int = 0  # steps on public data before the private records are touched
    soften: Literal["", "noise", "average"] = ""  # what is done to the checkpoint first
    amount: float = 0.0  # noise: deviations of each tensor; average: share of the trusted parent


_ALL = (
    Recipe("full", "all weights"),
    Recipe("linear", "the head alone", "linear", lr=5),
    Recipe("last-k", "the last layers", "last-k", lr=2),
    Recipe("lora", "low-rank updates (peft)", "lora", lr=4),
    Recipe("qlora", "low-rank updates on a 4-bit base (bitsandbytes nf4)", "qlora", lr=4),
    Recipe("neftune", "all weights, noise on the embeddings (NEFTune, alpha 5)", neftune=5),
    Recipe("dp", "DP-SGD by Opacus, epsilon 8", epsilon=8),
    Recipe("warm-up", "all weights, after 40 steps on public data", warm_up=40),
    Recipe("fewer-steps", "all weights, half the epochs", epochs=0.5),
    Recipe("weight-noise", "all weights, after noise of 0.2 deviations on every tensor", soften="noise", amount=0.2),
    Recipe(
        "average", "all weights, from the mean of the checkpoint and a trusted parent", soften="average", amount=0.5
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}


def chosen(names: Iterable[str]) -> tuple[Recipe, ...]:
    """The recipes of these names, each once; ConfigError with the nearest name for one that is none."""
    check_named("recipe", names, RECIPES, "--list-recipes")
    found = tuple(RECIPES[name] for name in dict.fromkeys(names))
    if not found:
        raise ConfigError("recipes is empty; name at least one, e.g. 'full'")
    return found
