"""Residual networks for small images (He et al. 2016, arXiv:1512.03385)."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from undertow.models.layers import Norm, image_shape, normalisation
from undertow.types import ConfigError

BLOCKS = {depth: ((depth - 2) // 6,) * 3 for depth in (8, 14, 20, 32, 44, 56)} | {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
}


@dataclass(frozen=True)
class ResNet:
    """Basic blocks of two 3x3 convolutions behind a 3x3 stem, global average, linear head.

    Depths 6n + 2: three stages of width, 2 width, 4 width with parameter-free shortcuts (section 4.2). Depths 18
    and 34: four stages up to 8 width with projection shortcuts, as for ImageNet but for the stem.
    """

    depth: int = 20
    width: int = 16
    norm: Norm = "group"

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS:
            allowed = ", ".join(str(depth) for depth in sorted(BLOCKS))
            raise ConfigError(f"model.depth = {self.depth}; a resnet has depth {allowed}")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        first, _, _ = image_shape(shape, "resnet")
        channels, projected = self.width, len(BLOCKS[self.depth]) == 4
        parts: list[nn.Module] = [_conv(first, channels, 1), normalisation(self.norm, channels), nn.ReLU(inplace=True)]
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            for block in range(blocks):
                out, stride = self.width << stage, 2 if stage and not block else 1
                parts.append(Block(channels, out, stride, self.norm, projected))
                channels = out
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Block(nn.Module):
    """relu(x' + norm(conv(relu(norm(conv(x)))))) with x' the shortcut of x."""

    def __init__(self, channels: int, out: int, stride: int, norm: Norm, projected: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, out, stride),
            normalisation(norm, out),
            nn.ReLU(inplace=True),
            _conv(out, out, 1),
            normalisation(norm, out),
        )
        self.stride, self.missing = stride, out - channels
        self.projection = None
        if projected and (stride > 1 or self.missing):
            self.projection = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), normalisation(norm, out))

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.body(x) + self._shortcut(x), inplace=True)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            projected: Tensor = self.projection(x)
            return projected
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return pad(x, (0, 0, 0, 0, 0, self.missing)) if self.missing else x  # absent channels are 0


def _conv(channels: int, out: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
