"""Features of wide layers are turned back into what made them."""

from itertools import pairwise

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps.dense.below import features, records


def layers(widths):
    rng = stream(0, "below")
    return {
        name: value
        for i, (a, b) in enumerate(pairwise(widths))
        for name, value in ((f"{i}.weight", rng.standard_normal((b, a))), (f"{i}.bias", rng.standard_normal(b)))
    }


@pytest.mark.parametrize("widths", [(10, 40), (10, 40, 160)])
def test_they_are_each_others_inverse(widths):
    params, names = layers(widths), [str(i) for i in range(len(widths) - 1)]
    x = stream(1, "below").random((4, 3, 10))
    assert np.allclose(records(params, names, features(params, names, x)), x, atol=1e-9)


def test_without_layers_nothing_changes():
    x = stream(1, "below").random((4, 3))
    assert (features({}, (), x) == x).all()
    assert (records({}, (), x) == x).all()


def test_what_cannot_be_turned_back_is_nan():
    params = layers((10, 12))
    x = stream(1, "below").random((5, 10))
    assert np.isnan(records(params, ["0"], features(params, ["0"], x))).all()  # half of 12 units are active
    assert np.isnan(records(params, ["0"], np.full((5, 12), np.nan))).all()
