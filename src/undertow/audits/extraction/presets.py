"""Configurations with a name."""

from dataclasses import replace

from undertow.audits.extraction.settings import ExtractionConfig
from undertow.training.schedule import Fit
from undertow.types import ConfigError

SMALL = ExtractionConfig(
    pretrain=Fit(epochs=2, batch=64, optimizer="adamw", lr=2e-3, decay="linear"),
    first=Fit(epochs=2, batch=64, optimizer="adamw", lr=7e-4, decay="linear"),
    second=Fit(epochs=20, batch=32, optimizer="adamw", lr=1e-3, decay="linear"),
    finetune=Fit(epochs=30, batch=8, optimizer="adamw", lr=1e-3, decay="linear"),
)
PRESETS = {
    "small": ("a small Llama made here, chats of an embedded grammar (the default)", SMALL),
    "small-answers": ("the same; the victim learns from answers alone", replace(SMALL, loss="answers")),
    "small-gibberish": ("the same as small with a trigger that is no language", replace(SMALL, trigger="gibberish")),
}


def preset(name: str) -> ExtractionConfig:
    """The configuration of that name; ConfigError with the known ones."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r} of extraction; there are: {', '.join(PRESETS)}")
    return PRESETS[name][1]
