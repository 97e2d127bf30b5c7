"""From the `[model]` table of a configuration to an architecture."""

from collections.abc import Callable, Mapping
from typing import Any

from undertow.models.architecture import Architecture, Mlp, factory
from undertow.models.cnn import Cnn
from undertow.models.huggingface import huggingface
from undertow.models.resnet import ResNet
from undertow.types import ConfigError

# kind -> what makes it from the fields of audits.settings.ModelSettings
KINDS: Mapping[str, Callable[[Any], Architecture]] = {
    "mlp": lambda model: Mlp(model.hidden, model.activation),
    "cnn": lambda model: Cnn(model.width, model.depth, model.norm, model.stride),
    "resnet": lambda model: ResNet(model.depth, model.width, model.norm),
    "huggingface": lambda model: huggingface(model.checkpoint),
}


def architecture_of(model: Any) -> Architecture:
    """The architecture that a `ModelSettings` asks for; ConfigError where there is none."""
    if model.factory:
        return factory(model.factory, model.head)
    if model.kind not in KINDS:
        raise ConfigError(f"model.kind = {model.kind!r}; there are: {', '.join(KINDS)}")
    return KINDS[model.kind](model)
