"""The views of the challenge points: what every model is asked about, drawn once for all of them."""

from collections.abc import Sequence

import numpy as np

from undertow import texts
from undertow.audits.settings import LeakageConfig
from undertow.images import shift_flip
from undertow.rng import stream
from undertow.texts import is_text
from undertow.types import Array, ConfigError


def check_views(config: LeakageConfig, shape: Sequence[int]) -> None:
    """Refuse (ConfigError) views that records of this shape cannot have."""
    if not (config.view_shift or config.view_flip):
        return
    if len(shape) != 3:
        raise ConfigError(
            f"view_shift and view_flip are for images (channels, height, width), not for records of shape "
            f"{tuple(shape)}; set view_shift = 0 and view_flip = false"
        )
    if config.view_shift >= min(shape[1:]):
        raise ConfigError(f"view_shift = {config.view_shift}; images of {shape[1]} x {shape[2]} pixels allow less")


def make_views(config: LeakageConfig, x: Array) -> Array:
    """Views (Q, A, ...) of the records x (Q, ...): the first is clean, the others are changed.

    Images are moved by up to `view_shift` pixels each way (drawn per record and view) and, with `view_flip`, every
    second view is mirrored; then Gaussian noise of deviation `view_jitter` is added. Texts end up to
    `view_shift` tokens earlier. Raises ConfigError.
    """
    if is_text(x):
        return texts.views(x, config.views, config.view_shift, stream(config.seed, "views"))
    check_views(config, x.shape[1:])
    views = np.repeat(x[:, None], config.views, axis=1)
    if config.view_shift or config.view_flip:
        views = _moved(config, views)
    noise = stream(config.seed, "views").standard_normal(views.shape, dtype=np.float32)
    noise[:, 0] = 0
    result: Array = views + config.view_jitter * noise
    return result


def _moved(config: LeakageConfig, views: Array) -> Array:
    points, count = views.shape[:2]
    most = config.view_shift
    shift = stream(config.seed, "views", "shift").integers(-most, most + 1, size=(2, points, count))
    shift[:, :, 0] = 0
    mirror = np.broadcast_to(config.view_flip & (np.arange(count) % 2 == 1), (points, count))
    flat = views.reshape(points * count, *views.shape[2:])
    return shift_flip(flat, shift[0].ravel(), shift[1].ravel(), mirror.ravel()).reshape(views.shape)
