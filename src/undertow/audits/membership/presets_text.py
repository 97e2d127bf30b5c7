"""Presets of texts: pretrained on paragraphs of WikiText-2, finetuned to classify questions, news or requests.

Named PAIR-STRATEGY-BUDGET like those of images. Every number of these presets stands in this file, once.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from undertow.audits.settings import DataSettings, LeakageConfig, ModelSettings
from undertow.training.schedule import Fit

Changes = Mapping[str, Any]

PAIRS: Mapping[str, str] = {
    "wikitext2-trec": "WikiText-2 -> TREC question types (6)",
    "wikitext2-agnews": "WikiText-2 -> AG News topics (4)",
    "wikitext2-banking77": "WikiText-2 -> banking requests (77)",
}

# What a run may cost.
BUDGETS: Mapping[str, tuple[str, Changes]] = {
    "small": ("2 cores, 5 minutes", {"shadows": 8, "victims": 4, "views": 4}),
    "medium": ("2 cores, 10 minutes", {"shadows": 16, "victims": 8, "views": 8}),
}
_RECORDS: Mapping[str, DataSettings] = {
    "small": DataSettings(pool=200, other=1000, draw=500, context=48, vocabulary=512),
    "medium": DataSettings(pool=200, other=2000, draw=1000, context=48, vocabulary=512),
}

# How the pretrained model is finetuned.
STRATEGIES: Mapping[str, tuple[str, Fit]] = {
    "linear": (
        "a new head on frozen features",
        Fit(epochs=5, batch=32, optimizer="adamw", lr=1e-2, weight_decay=0.1),
    ),
    "full": ("all layers", Fit(epochs=4, batch=32, optimizer="adamw", lr=3e-4)),
}

# The base memorises: few documents, many epochs, 0.13 million parameters.
_BASE = LeakageConfig(
    view_jitter=0.0,
    view_shift=32,  # of 48 tokens
    model=ModelSettings(kind="transformer", width=64, depth=2),
    pretrain=Fit(epochs=40, batch=16, optimizer="adamw", lr=2e-3),
)

# A user's own texts: nothing is left out of them.
OWN = replace(_BASE, finetune=STRATEGIES["linear"][1])


def text_presets() -> dict[str, tuple[str, LeakageConfig]]:
    """name -> (what it is, configuration) of every pair of texts, strategy and budget."""
    found = {}
    base: Any = _BASE
    for pair, about in PAIRS.items():
        for strategy, (how, fit) in STRATEGIES.items():
            for budget, (cost, changes) in BUDGETS.items():
                data = replace(_RECORDS[budget], pair=pair)
                config = replace(base, data=data, strategy=strategy, finetune=fit, **changes)
                found[f"{pair}-{strategy}-{budget}"] = (f"{about}, {how} ({cost})", config)
    return found
