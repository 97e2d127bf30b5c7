"""What training sees of an image: moved as shift_flip moves it, differently for every image, step and model."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from undertow.images import shift_flip
from undertow.rng import stream
from undertow.training.augment import Augmentation, check_images
from undertow.training.schedule import Fit
from undertow.types import ConfigError

FIT = Fit(shift=2, flip=True, jitter=0.1)


def pictures(count=64):
    return torch.as_tensor(stream(0, "pictures").normal(size=(count, 3, 8, 8)))


def test_a_batch_is_moved_then_jittered_by_the_models_own_generator():
    rng = stream(1, "noise")
    moves, mirror = rng.integers(-2, 3, size=(2, 64)), rng.random(64) < 0.5
    moved = shift_flip(pictures().numpy(), *moves, mirror)
    expected = moved + np.float64(0.1) * rng.standard_normal(moved.shape, dtype=np.float32)
    seen = Augmentation(FIT, stream(1, "noise"), 64)(pictures())
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-15)
    assert set(moves.ravel()) == {-2, -1, 0, 1, 2}
    assert len({tuple(move) for move in moves.T}) > 12
    assert 0 < mirror.mean() < 1


def test_absent_places_change_nothing_for_the_others():
    kept = torch.as_tensor(stream(2, "kept").random(64) < 0.5)
    whole, thin = (Augmentation(FIT, stream(1, "noise"), 64) for _ in range(2))
    for _ in range(2):
        assert torch.equal(whole(pictures())[kept], thin(pictures()[kept], kept))


def test_every_step_moves_differently():
    augment = Augmentation(replace(FIT, jitter=0.0), stream(1, "noise"), 64)
    assert not torch.equal(augment(pictures()), augment(pictures()))


@pytest.mark.parametrize("fit", [Fit(shift=1), Fit(flip=True)])
def test_only_images_can_move(fit):
    with pytest.raises(ConfigError, match=r"need images \(C, H, W\), but what is trained on has shape \(64,\)"):
        check_images(fit, (64,))
    with pytest.raises(ConfigError, match="shift = 8; images of 8x8 pixels"):
        check_images(Fit(shift=8), (1, 8, 8))
    check_images(Fit(jitter=0.1), (64,))
