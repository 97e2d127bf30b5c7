"""A LayerNorm that acts linearly, and codes that it does not touch."""

import numpy as np
import torch

from undertow.rng import stream
from undertow.traps.layer_norm import LinearNorm, zero_sum


def test_zero_sum_codes_keep_lengths_and_sum_to_zero():
    for count in (1, 4, 16, 65):
        code = zero_sum(count)
        np.testing.assert_allclose(code.T @ code, np.eye(count), atol=1e-14)
        np.testing.assert_allclose(code.sum(0), 0, atol=1e-14)


def test_one_number_is_mirrored():
    np.testing.assert_allclose(np.abs(zero_sum(1)[:, 0]), np.sqrt(0.5))
    assert zero_sum(1).sum() == 0


def test_the_norm_is_linear_up_to_the_precision_of_the_constant():
    rng, right, constant = stream(0, "norm"), np.arange(20, 37), 1e4
    norm = LinearNorm(48, right, constant)
    weight, bias = np.zeros(48), np.zeros(48)
    norm.write(weight, bias, np.arange(18), 0.5)  # 18 and 19 stay silent
    norm.write(weight, bias, right, 3.0)
    x = np.zeros((32, 48))
    x[:, :20] = rng.standard_normal((32, 20))
    x[:, right] = rng.standard_normal((32, 16)) @ zero_sum(16).T
    wanted = np.zeros_like(x)
    left = np.delete(np.arange(48), right)
    wanted[:, :18] = 0.5 * (x[:, :18] - x[:, left].mean(1, keepdims=True))
    wanted[:, right] = 3 * x[:, right]
    seen = x.copy()
    seen[:, right] += constant
    for kind, error in ((torch.float64, 1e-3), (torch.float32, 5e-3)):
        given = [torch.tensor(v, dtype=kind) for v in (seen, weight, bias)]
        out = torch.nn.functional.layer_norm(given[0], (48,), given[1], given[2], 1e-12).double().numpy()
        assert np.abs(out - wanted).max() < error
        if kind == torch.float64:  # what is left is the same on the whole group: codes do not see it
            np.testing.assert_allclose(out[:, right] @ zero_sum(16), 3 * x[:, right] @ zero_sum(16), rtol=1e-4)
