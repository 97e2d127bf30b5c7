"""Poisoning audits with a name, and the names of finetuning recipes and of what an attacker may see.

Every number of these presets stands in this file, once; recipes are in recipes.py. Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import replace

from undertow.audits.poisoning.recipes import RECIPES
from undertow.audits.poisoning.settings import BaseModel, Candidates, PoisoningConfig
from undertow.registry import check_named
from undertow.training.objective import Objective
from undertow.training.schedule import Fit
from undertow.types import ConfigError

# What the attacker sees of the finetuned model.
VIEWS: Mapping[str, str] = {
    "exact": "the probability of every class or token",
    "top-5": "the five largest probabilities",
    "int8": "the probabilities of weights served in 8 bits",
    "int4": "the probabilities of weights served in 4 bits",
    "watermark": "probabilities that a watermark has moved",
    "label": "the predicted label alone",
}

OF_TEXTS = ("neftune", "watermark")  # recipes and views that other models do not have

DIGITS = PoisoningConfig(
    models=32,
    data=Candidates(source="digits", points=400, targets=80, noise=0.25),
    model=BaseModel(kind="mlp", width=256),
    pretrain=Fit(epochs=28, batch=64, optimizer="adamw", lr=2e-3, decay="constant", jitter=0.2),
    poison=Objective(direction="max", target_weight=0.3, cap=5.0, steps=800, batch=64, lr=1e-3, jitter=0.2),
    finetune=Fit(epochs=5, batch=32, lr=0.01, momentum=0.9, decay="constant"),
)
LM = PoisoningConfig(
    models=8,
    data=Candidates(source="pii", points=240, targets=120, public=1100, context=48, vocabulary=1536),
    model=BaseModel(kind="causal-lm", family="gpt2", width=192, depth=2),
    pretrain=Fit(epochs=4, batch=32, optimizer="adamw", lr=2e-3, decay="linear", weight_decay=0.01),
    poison=Objective(direction="min", target_weight=0.75, cap=12.0, steps=400, batch=16, lr=1.5e-3),
    finetune=Fit(epochs=2, batch=32, optimizer="adamw", lr=1e-3, decay="linear"),
)
CLIP = PoisoningConfig(
    models=16,
    data=Candidates(source="cifar10", points=400, targets=100),
    model=BaseModel(kind="clip", width=64, depth=3),
    pretrain=Fit(epochs=8, batch=64, optimizer="adamw", lr=1e-3, weight_decay=0.05, shift=2, flip=True),
    poison=Objective(direction="max", target_weight=0.1, cap=4.0, steps=700, batch=64, lr=5e-4),
    finetune=Fit(epochs=10, batch=32, optimizer="adamw", lr=1e-3),
)
CLASSIFIER = PoisoningConfig(
    models=16,
    data=Candidates(context=128),
    model=BaseModel(kind="image-classifier"),
    finetune=Fit(epochs=5, batch=32, optimizer="adamw", lr=3e-4, decay="linear"),
)
LLAMA = replace(
    LM,
    data=Candidates(source="ai4privacy", points=1000, targets=500, public=500, context=96, auxiliary="wikitext2"),
    model=BaseModel(kind="causal-lm", checkpoint="stories260k"),
    poison=replace(LM.poison, steps=300, lr=1e-3),
)

PRESETS: Mapping[str, tuple[str, PoisoningConfig]] = {
    "digits": ("embedded scanned digits, a small perceptron (the default)", DIGITS),
    "lm-small": ("a small GPT-2 made here, made-up personal data; half an hour", LM),
    "clip-small": ("a small CLIP made here from CIFAR-10 and captions (--data)", CLIP),
    "classifier": (
        "your classifier or embedding model as --checkpoint: judged on your records",
        CLASSIFIER,
    ),
    "llama260k": ("a real Llama of 260k parameters and 1,000 ai4privacy texts (--data)", LLAMA),
    **{
        f"digits-{name}": (f"digits, over {about}", replace(DIGITS, sweep=key, sweep_values=values))
        for name, about, key, values in (
            ("targets", "the number of targets", "data.targets", (20, 80, 200)),
            ("steps", "the steps of poisoning", "poison.steps", (200, 800, 1600)),
            ("weight", "the weight of the targets' loss", "poison.target_weight", (0.05, 0.3, 0.5)),
            ("size", "the width of the model", "model.width", (64, 256, 512)),
            ("epochs", "the epochs of finetuning", "finetune.epochs", (1, 5, 20)),
        )
    },
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


def check_kind(config: PoisoningConfig) -> None:
    """ConfigError for a recipe or view of texts where the model is none of language."""
    named = [name for name in (*config.recipes, *config.views) if name in OF_TEXTS]
    if named and config.model.kind != "causal-lm":
        raise ConfigError(
            f"{named[0]!r} is of texts: it needs a language model, and model.kind = {config.model.kind!r}"
        )
