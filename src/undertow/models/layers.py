"""Parts that image models share, and where the matrices of any model lie."""

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


def dense_matrices(module: nn.Module, head: str) -> dict[str, bool]:
    """The weight of each dense layer but the head, by name, and whether its columns are the outputs (Conv1D of GPT-2).

    These are what is served in few bits: embeddings, norms and the head are not, as is usual in the libraries that do.
    """
    return {
        f"{name}.weight": type(part).__name__ == "Conv1D"
        for name, part in module.named_modules()
        if name not in ("", head) and (type(part) is nn.Linear or type(part).__name__ == "Conv1D")
    }
