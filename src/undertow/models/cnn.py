"""A small convolutional network whose layers many engines can batch."""

from dataclasses import dataclass

from torch import nn

from undertow.models.layers import Norm, image_shape, normalisation


@dataclass(frozen=True)
class Cnn:
    """`depth` times (3x3 convolution, normalisation, ReLU, 2x2 max-pool), global average, dense layers, linear head.

    Channels double from layer to layer, beginning with `width`; a map of one pixel is not pooled further.
    """

    width: int = 32
    depth: int = 3
    norm: Norm = "group"
    stride: int = 1  # of the first convolution
    hidden: tuple[int, ...] = ()  # widths of dense layers with ReLU below the head

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, *side = image_shape(shape, "cnn")
        parts: list[nn.Module] = []
        for layer in range(self.depth):
            out, stride = self.width << layer, self.stride if layer == 0 else 1
            parts += [
                nn.Conv2d(channels, out, 3, stride, padding=1),
                normalisation(self.norm, out),
                nn.ReLU(inplace=True),
            ]
            side = [(s - 1) // stride + 1 for s in side]
            if min(side) > 1:
                parts.append(nn.MaxPool2d(2))
                side = [s // 2 for s in side]
            channels = out
        parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        for width in self.hidden:
            parts += [nn.Linear(channels, width), nn.ReLU()]
            channels = width
        return nn.Sequential(*parts, nn.Linear(channels, classes))
