"""Configurations with a name. Pairs of public datasets combine three small tables: PAIR-STRATEGY-BUDGET.

Every number of these presets stands in this file, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from undertow.audits.membership import presets_text
from undertow.audits.settings import DataSettings, LeakageConfig
from undertow.training.schedule import Fit
from undertow.types import ConfigError

Changes = Mapping[str, Any]  # fields of LeakageConfig; a table of it is a mapping again


@dataclass(frozen=True)
class Part:
    """One part of a preset's name: what it stands for, and what it changes."""

    about: str
    changes: Changes


@dataclass(frozen=True)
class PairPart:
    """A pair of datasets: what is special about it, and what at each budget (how many records, at least)."""

    about: str
    changes: Changes  # applied after the budget's
    budgets: Mapping[str, Changes]  # budget -> applied after that


# What a run may cost. Applied first.
BUDGETS: Mapping[str, Part] = {
    "small": Part(
        "2 cores, 10 minutes",
        {
            "shadows": 32, "victims": 8, "views": 4, "view_jitter": 0.0, "view_shift": 1,
            "data": {"label_noise": 0.3},
            "model": {"kind": "cnn", "width": 32, "depth": 3, "stride": 2},
            "pretrain": {"epochs": 60, "batch": 50, "lr": 0.05, "weight_decay": 5e-4},
            "finetune": {"epochs": 5, "batch": 100, "lr": 0.02, "weight_decay": 1e-4, "decay": "constant"},
        },
    ),
    "medium": Part(
        "2 cores, an hour",
        {
            "shadows": 64, "victims": 16, "challenge": 400, "views": 8, "view_jitter": 0.0, "view_shift": 1,
            "data": {"label_noise": 0.3},
            "model": {"kind": "cnn", "width": 32, "depth": 3, "stride": 1},
            "pretrain": {"epochs": 60, "batch": 50, "lr": 0.05, "weight_decay": 5e-4, "shift": 1},
            "finetune": {"epochs": 5, "batch": 100, "lr": 0.02, "weight_decay": 1e-4, "decay": "constant"},
        },
    ),
    # As released by Abascal et al. 2024, but for the step decay of the head's rate (0.9 every 10 epochs).
    "paper": Part(
        "one GPU, the released recipe",
        {
            "shadows": 64, "victims": 32, "challenge": 1000, "views": 8, "view_jitter": 0.0, "view_shift": 4,
            "view_flip": True,
            "model": {"kind": "resnet", "width": 64, "depth": 34, "norm": "batch"},
            "pretrain": {"epochs": 100, "batch": 128, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4,
                         "shift": 4, "flip": True},
            "finetune": {"epochs": 35, "batch": 128, "lr": 0.01, "momentum": 0.0, "weight_decay": 0.0,
                         "decay": "constant"},
        },
    ),
}  # fmt: skip

# Pairs that pretrain on the same dataset take the same pool, so that one --store serves them all.
_CIFAR100: Mapping[str, Changes] = {
    "small": {"classes": 20, "pool": 600},
    "medium": {"classes": 40, "pool": 2000},
    "paper": {"classes": 0, "pool": 50_000},
}
_SOME: Mapping[str, Changes] = {"small": {"other": 2000, "draw": 1000}, "medium": {"other": 4000, "draw": 3400}}


def _records(upstream: Mapping[str, Changes], downstream: Mapping[str, Changes]) -> Mapping[str, Changes]:
    return {budget: {"data": {**upstream[budget], **downstream[budget]}} for budget in BUDGETS}


PAIRS: Mapping[str, PairPart] = {
    "cifar100-cifar10": PairPart(
        "CIFAR-100 -> CIFAR-10",
        {},
        _records(_CIFAR100, {**_SOME, "paper": {"other": 50_000, "draw": 42_500}}),
    ),
    "cifar100-coarse": PairPart(
        "CIFAR-100 -> its superclasses",
        {},
        _records(_CIFAR100, {**_SOME, "paper": {"other": 10_000, "draw": 8500}}),
    ),
    "tiny-caltech": PairPart(
        "Tiny ImageNet -> Caltech-101",
        {},
        _records(
            {"small": {"classes": 20, "pool": 600}, "medium": {"classes": 40, "pool": 1600}, "paper": {}},
            {**_SOME, "paper": {"draw": 3500}},
        ),
    ),
    "omniglot-fashion": PairPart(
        "Omniglot -> Fashion-MNIST",
        {"view_flip": False, "pretrain": {"flip": False}},  # a mirrored letter is another letter
        _records(
            {"small": {"classes": 30, "pool": 600}, "medium": {"classes": 80, "pool": 1600}, "paper": {}},
            {**_SOME, "paper": {"draw": 17_000}},
        ),
    ),
}

# How the pretrained model is finetuned. Applied last.
STRATEGIES: Mapping[str, Part] = {
    "linear": Part("a new head on frozen features", {}),
    "last-k": Part("the last 2 layers", {"strategy": "last-k"}),
    "full": Part("all layers", {"strategy": "full"}),
    "lora": Part("low-rank updates and a new head", {"strategy": "lora"}),
    "dp": Part(
        "a new head by DP-SGD, epsilon = 2",
        {
            "privacy": {"epsilon": 2.0},
            "finetune": {"epochs": 12, "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "decay": "constant"},
        },
    ),
}


def pair_presets(pair: str) -> dict[str, tuple[str, LeakageConfig]]:
    """name -> (what it is, configuration) of every strategy and budget of one pair."""
    part = PAIRS[pair]
    found = {}
    for strategy, how in STRATEGIES.items():
        for budget, cost in BUDGETS.items():
            config = LeakageConfig(data=DataSettings(pair=pair))
            for changes in (cost.changes, part.changes, part.budgets[budget], how.changes):
                config = changed(config, changes)
            found[f"{pair}-{strategy}-{budget}"] = (f"{part.about}, {how.about} ({cost.about})", config)
    return found


def changed(config: Any, changes: Changes) -> Any:
    """`config` with these fields replaced; a mapping replaces fields inside a field."""
    return replace(
        config, **{k: changed(getattr(config, k), v) if isinstance(v, Mapping) else v for k, v in changes.items()}
    )


# Setting D of the TMI specification: 8x8 digits, 30 % random labels so that the base memorises, clean
# downstream images that no pretraining saw.
_DIGITS = LeakageConfig(
    challenge=200,
    data=DataSettings(pool=400, other=1000, draw=500, label_noise=0.3, same_labels=True),
    pretrain=Fit(epochs=40, batch=100, lr=0.1, jitter=0.05),
    finetune=Fit(epochs=20, batch=100, lr=0.05, decay="constant"),
)
_FOLDER = LeakageConfig(pretrain=Fit(epochs=40, lr=0.05), finetune=Fit(epochs=20, lr=0.05, decay="constant"))

PRESETS: Mapping[str, Mapping[str, tuple[str, LeakageConfig]]] = {
    "tmi": {
        "digits": ("embedded scanned digits, linear probe (the default)", _DIGITS),
        "folder": ("your own records: --data DIR with pretrain.npz and finetune.npz", _FOLDER),
        "texts": ("your own texts: --data DIR with pretrain.jsonl (or .csv, ...) and finetune.jsonl", presets_text.OWN),
        **{name: about for pair in PAIRS for name, about in pair_presets(pair).items()},
        **presets_text.text_presets(),
    },
    "mia": {
        "digits": (
            "embedded scanned digits, full finetuning of one base (the default)",
            replace(_DIGITS, strategy="full", finetune=Fit(epochs=40, batch=100, lr=0.05, jitter=0.05)),
        ),
        "folder": (
            "your own records: --data DIR with finetune.npz, and pretrain.npz for the base",
            replace(_FOLDER, strategy="full"),
        ),
        "texts": (
            "your own labelled texts: --data DIR with finetune.jsonl (or .csv, ...), and pretrain.jsonl for the base",
            replace(presets_text.OWN, strategy="full", finetune=presets_text.STRATEGIES["full"][1]),
        ),
    },
}


def preset(audit: str, name: str) -> LeakageConfig:
    """The named preset of an audit; ConfigError naming the nearest."""
    known = PRESETS[audit]
    if name in known:
        return known[name][1]
    elsewhere = [other for other in PRESETS if name in PRESETS[other]]
    near = [n for n in known if n.startswith(name)][:3] or get_close_matches(name, known, 3)
    if elsewhere:
        hint = f"it is one of {elsewhere[0]}: undertow audit {elsewhere[0]} --preset {name}"
    elif near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = "there are: digits, folder, texts" + (" and PAIR-STRATEGY-BUDGET" if len(known) > 3 else "")
    raise ConfigError(f"no preset {name!r} for {audit}; {hint} (--list-presets)")


def listing(audit: str) -> list[str]:
    """The presets of an audit as lines to read: name, what it is; pairs grouped, one line per strategy."""
    known = PRESETS[audit]
    lines = [f"{audit}  {name:<8}{about}" for name, (about, _) in known.items() if not known[name][1].data.pair]
    if not any(config.data.pair for _, config in known.values()):
        return lines
    for pair, part in PAIRS.items():
        lines += _group(audit, pair, part.about, {name: how.about for name, how in STRATEGIES.items()}, list(BUDGETS))
    texts = {name: how for name, (how, _) in presets_text.STRATEGIES.items()}
    for pair, about in presets_text.PAIRS.items():
        lines += _group(audit, pair, about, texts, list(presets_text.BUDGETS))
    return [*lines, "", *(f"  {name:<8}{part.about}" for name, part in BUDGETS.items())]


def _group(audit: str, pair: str, about: str, strategies: Mapping[str, str], budgets: list[str]) -> list[str]:
    """The lines of one pair."""
    source = "--data DIR" if pair in presets_text.PAIRS else "--data DIR or --data hub"
    lines = ["", f"{audit}  {about}; needs {source}"]
    for strategy, how in strategies.items():
        names = " | ".join([f"{pair}-{strategy}-{budgets[0]}", *(f"-{budget}" for budget in budgets[1:])])
        lines.append(f"  {names:<58}{how}")
    return lines
