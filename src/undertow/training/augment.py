"""Fresh changes of every batch: moves, mirrors, noise. Drawn in NumPy, one batch place at a time, so that every
engine trains on the same pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from undertow.images import moved_pixels
from undertow.training.schedule import Fit
from undertow.types import ConfigError


def check_images(fit: Fit, shape: Sequence[int]) -> None:
    """Refuse (ConfigError) to shift or flip records that are no images (C, H, W), or to shift out of sight."""
    if not (fit.shift or fit.flip):
        return
    if len(shape) != 3:
        raise ConfigError(f"shift and flip need images (C, H, W), but what is trained on has shape {tuple(shape)}")
    if fit.shift >= min(shape[1:]):
        raise ConfigError(f"shift = {fit.shift}; images of {shape[1]}x{shape[2]} pixels move by less than their side")


class Augmentation:
    """The changes of one model's batches, from the model's own generator; `count` places per batch."""

    def __init__(self, fit: Fit, rng: np.random.Generator, count: int) -> None:
        self.fit, self.rng, self.count = fit, rng, count

    def __call__(self, batch: Tensor, kept: Tensor | None = None) -> Tensor:
        """`batch` (B, ...) changed; where `kept` (count,) bool is given, its rows are those places of the batch.

        All places are drawn, kept or not: every engine draws the same.
        """
        fit = self.fit
        if fit.shift or fit.flip:
            pixels = self._pixels(batch)
            index = pixels if kept is None else pixels[kept]
            flat = batch.reshape(*batch.shape[:2], -1)
            batch = flat.gather(2, index[:, None].expand_as(flat)).view(batch.shape)
        if fit.jitter:
            noise = self._noise(batch)
            batch = batch + (noise if kept is None else noise[kept])
        return batch

    def _pixels(self, batch: Tensor) -> Tensor:
        moves = self.rng.integers(-self.fit.shift, self.fit.shift + 1, size=(2, self.count))
        mirror = (self.rng.random(self.count) < 0.5) & self.fit.flip
        pixels = moved_pixels(moves[0], moves[1], mirror, batch.shape[2], batch.shape[3])
        return torch.as_tensor(pixels, device=batch.device)

    def _noise(self, batch: Tensor) -> Tensor:
        """Drawn in float32 whatever the dtype, so float64 tests see the same."""
        raw = self.rng.standard_normal((self.count, *batch.shape[1:]), dtype=np.float32)
        return torch.as_tensor(raw, device=batch.device).to(batch.dtype).mul_(self.fit.jitter)
