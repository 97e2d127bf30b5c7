"""Poisoning audits with a name, and the names of finetuning recipes and of what an attacker may see.

Every number of these presets stands in this file, once. Nothing here imports torch.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from undertow.audits.poisoning_settings import BaseModel, Candidates, PoisoningConfig
from undertow.training.objective import Objective
from undertow.training.schedule import Fit
from undertow.types import ConfigError

# How victims finetune the checkpoint they downloaded.
RECIPES: Mapping[str, str] = {
    "full": "all weights",
    "linear": "a linear head on the frozen checkpoint",
    "last-k": "the last layers only",
    "lora": "low-rank updates (LoRA)",
    "qlora": "low-rank updates on 4-bit weights (QLoRA)",
    "neftune": "all weights, with noise on the embeddings (NEFTune)",
    "dp": "differentially private training (DP-SGD)",
    "warm-up": "all weights, the step size raised slowly at first",
    "fewer-steps": "all weights, a quarter of the epochs",
    "weight-noise": "a defence: noise on the checkpoint's weights before finetuning",
    "average": "a defence: the checkpoint averaged with a trusted one before finetuning",
}

# What the attacker sees of the finetuned model.
VIEWS: Mapping[str, str] = {
    "exact": "the probability of every class or token",
    "top-5": "the five largest probabilities",
    "int8": "the probabilities of weights served in 8 bits",
    "int4": "the probabilities of weights served in 4 bits",
    "watermark": "probabilities that a watermark has moved",
    "label": "the predicted label alone",
}

PRESETS: Mapping[str, tuple[str, PoisoningConfig]] = {
    "digits": (
        "embedded scanned digits, a small perceptron (the default)",
        PoisoningConfig(
            models=32,
            data=Candidates(source="digits", points=400, targets=80, noise=0.25),
            model=BaseModel(kind="mlp", hidden=(256, 256)),
            pretrain=Fit(epochs=28, batch=64, optimizer="adamw", lr=2e-3, decay="constant", jitter=0.2),
            poison=Objective(direction="max", target_weight=0.2, cap=5.0, steps=800, batch=64, lr=1e-3, jitter=0.2),
            finetune=Fit(epochs=5, batch=32, lr=0.01, momentum=0.9, decay="constant"),
        ),
    ),
}


def preset(name: str) -> PoisoningConfig:
    """The named preset; ConfigError naming the nearest."""
    check_named("preset", [name], PRESETS, "--list-presets")
    return PRESETS[name][1]


def listing() -> list[tuple[str, str]]:
    """The presets: name, and what it is in one line."""
    return [(name, about) for name, (about, _) in PRESETS.items()]


def check_recipes(config: PoisoningConfig) -> None:
    """ConfigError, with the nearest name, unless every recipe and view of `config` is known, and named once."""
    for what, names, known in (("recipe", config.recipes, RECIPES), ("view", config.views, VIEWS)):
        if not names:
            raise ConfigError(f"{what}s is empty; name at least one (--list-recipes)")
        check_named(what, names, known, "--list-recipes")
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ConfigError(f"{what}s names {twice!r} twice")


def check_named(what: str, names: Iterable[str], known: Iterable[str], option: str) -> None:
    """ConfigError, with the nearest of `known`, unless every name is one of them."""
    every = list(known)
    for name in names:
        if name not in every:
            near = get_close_matches(name, every, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(every)}"
            raise ConfigError(f"no {what} {name!r}; {hint} ({option})")
