"""From the `[model]` table of a configuration to an architecture."""

from collections.abc import Callable
from typing import Any

from undertow.models.architecture import Architecture, Mlp, factory
from undertow.models.cnn import Cnn
from undertow.models.huggingface import huggingface
from undertow.models.resnet import ResNet
from undertow.registry import Registry, callable_value

Maker = Callable[[Any], Architecture]  # from the fields of audits.settings.ModelSettings
ARCHITECTURES: Registry[Maker] = Registry(
    "undertow.architectures",
    "architecture",
    {
        "mlp": lambda model: Mlp(model.hidden, model.activation),
        "cnn": lambda model: Cnn(model.width, model.depth, model.norm, model.stride),
        "resnet": lambda model: ResNet(model.depth, model.width, model.norm),
        "huggingface": lambda model: huggingface(model.checkpoint),
    },
    callable_value,
)


def architecture_of(model: Any) -> Architecture:
    """The architecture that a `ModelSettings` asks for; ConfigError where there is none."""
    if model.factory:
        return factory(model.factory, model.head)
    return ARCHITECTURES.find(model.kind, "model.kind; texts: transformer")(model)
