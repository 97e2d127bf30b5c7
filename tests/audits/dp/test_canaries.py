"""Canaries: traps open for their own record alone and take all of its gradient; natural ones are what they say."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from undertow.audits.dp.canaries import LOUD, natural_canaries, separators, trap_canaries
from undertow.models.architecture import Mlp, initial_state
from undertow.rng import stream
from undertow.training.private_reads import losses, record_gradients
from undertow.training.task import to_params
from undertow.types import BadInput, Examples

N, D, C, H, K = 80, 64, 10, 8, 30


@pytest.fixture(scope="module")
def planted():
    records = stream(0, "records").random((N, D)).astype(np.float32)
    benign = to_params(initial_state(Mlp((H,)), (D,), C, 0))
    return records, trap_canaries(records, K, C, benign, 2.0, 5)


def opened(canaries, x):
    return x * canaries.scale @ canaries.state["1.weight"].T + canaries.state["1.bias"]


def test_a_trap_opens_for_its_own_record_and_no_other(planted):
    records, canaries = planted
    own = opened(canaries, canaries.x)[:, H:]
    np.testing.assert_allclose(np.diag(own), 2.0, rtol=1e-3)
    assert own[~np.eye(K, dtype=bool)].max() < -1.9
    assert opened(canaries, records)[:, H:].max() < -1.9


def test_its_bias_takes_all_of_the_gradient(planted):
    _, canaries = planted
    module = Mlp((H + K,)).build((D,), C)
    gradients = record_gradients(module, canaries.state, canaries.x * canaries.scale, canaries.y, torch.float64)
    share = np.abs(gradients[np.arange(K), (H + K) * D + H + np.arange(K)]) / np.linalg.norm(gradients, axis=1)
    assert share.min() > 0.999
    assert gradients[np.arange(K), (H + K) * D + H + np.arange(K)].min() > 0.5 * LOUD  # descent lowers the bias


def test_the_loss_of_a_canary_is_what_its_trap_shouts(planted):
    _, canaries = planted
    found = losses(Mlp((H + K,)).build((D,), C), [canaries.state], canaries.x * canaries.scale, canaries.y)
    np.testing.assert_allclose(found[0], 2.0 * LOUD, rtol=0.01)


def test_two_alike_are_refused():
    records = np.zeros((3, D), np.float32)
    with pytest.raises(BadInput, match="cannot be told"):
        trap_canaries(np.ones((3, 2), np.float32), 30, C, {}, 1.0, 0)
    weight, threshold, margin = separators(records, np.eye(D, dtype=np.float32)[:2])
    assert margin == pytest.approx(1.0)
    assert threshold == pytest.approx(0.5)
    np.testing.assert_allclose(np.linalg.norm(weight, axis=1), 1)


def test_mislabelled_records_are_records_with_another_label():
    auxiliary = Examples(np.arange(40.0).reshape(20, 2), np.arange(20) % 4, "a")
    x, y = natural_canaries(auxiliary, 20, 4, wrong=False, seed=1)
    x2, wrong = natural_canaries(auxiliary, 20, 4, wrong=True, seed=1)
    np.testing.assert_array_equal(x, x2)
    np.testing.assert_array_equal(y, (x[:, 0] / 2).astype(int) % 4)
    assert (wrong != y).all()
    with pytest.raises(BadInput, match="auxiliary"):
        natural_canaries(auxiliary, 21, 4, wrong=False, seed=1)
