"""Parts that image models share."""

from typing import Literal

from torch import nn

from undertow.types import ConfigError

Norm = Literal["group", "batch"]


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Group normalisation with up to 8 groups, or batch normalisation."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    groups = max(g for g in range(1, 9) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def image_shape(shape: tuple[int, ...], kind: str) -> tuple[int, int, int]:
    """(C, H, W) of the records; ConfigError where they are not images."""
    if len(shape) != 3:
        raise ConfigError(f"model.kind = {kind!r} needs images (C, H, W); these records have shape {shape}")
    return shape
