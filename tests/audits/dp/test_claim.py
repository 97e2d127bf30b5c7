"""What a claim implies, against the optimisers of torch and the accountant."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from undertow.audits.dp.claim import DpClaim, response
from undertow.types import ConfigError

CLAIM = DpClaim(noise_multiplier=1.3, clip=0.7, batch=20, records=80, steps=6, lr=0.3)


def moved(claim, sums):
    """How far torch's optimiser moves parameters (P,) down sums of gradients (T, P)."""
    p = torch.nn.Parameter(torch.zeros(sums.shape[1], dtype=torch.float64))
    if claim.optimizer == "adam":
        optimizer = torch.optim.Adam([p], lr=0.0, betas=claim.betas, eps=1e-30)
    else:
        optimizer = torch.optim.SGD([p], lr=0.0, momentum=claim.momentum)
    for lr, total in zip(claim.rates, sums, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.as_tensor(total / claim.batch)
        optimizer.step()
    return -p.detach().numpy()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("lr", [0.3, (0.3, 0.2, 0.1, 0.1, 0.05, 0.4)])
def test_sgd_moves_as_declared(momentum, lr):
    claim = replace(CLAIM, momentum=momentum, lr=lr)
    one = np.eye(claim.steps)  # a unit of gradient in one step each
    assert np.allclose(moved(claim, one) * claim.batch, claim.weights(), rtol=1e-12)
    answer = response(claim)
    every = moved(claim, np.full((claim.steps, 1), claim.clip))[0]
    assert answer.reach == pytest.approx(every * claim.rate)
    z = np.random.Generator(np.random.PCG64(0)).normal(size=(claim.steps, 100_000)) * 1.3 * 0.7
    assert moved(claim, z).std() == pytest.approx(answer.noise, rel=0.01)
    assert np.square(moved(claim, np.tile(z[:1], (claim.steps, 1)))).mean() == pytest.approx(
        answer.reused * answer.noise**2, rel=0.02
    )


def test_adam_moves_as_simulated_and_its_slope_bounds_the_signal():
    claim = replace(CLAIM, optimizer="adam", lr=0.01)
    answer = response(claim)
    deviation = claim.noise_multiplier * claim.clip
    z = np.random.Generator(np.random.PCG64(1)).normal(size=(claim.steps, 200_000)) * deviation
    assert moved(claim, z).std() == pytest.approx(answer.noise, rel=0.02)
    for signal in (0.05, 0.3, 1.0, 3.0):  # records per step in units of clip, on one coordinate
        mean = moved(claim, z + signal * claim.clip).mean()
        bound = answer.reach * signal / claim.rate
        assert mean <= bound * 1.02
        if signal <= 0.3:
            assert mean >= bound * 0.9


def test_counts_are_those_of_coins():
    """Variance of what M records give by coins, over their squared mean, times M."""
    claim = replace(CLAIM, momentum=0.5)
    random = np.random.Generator(np.random.PCG64(2))
    here = random.binomial(40, claim.rate, size=(claim.steps, 100_000)) * claim.clip
    values = moved(claim, here)
    assert values.mean() == pytest.approx(40 * response(claim).reach, rel=0.01)
    assert values.var() == pytest.approx(40 * response(claim).reach ** 2 * response(claim).counts, rel=0.02)
    assert response(replace(claim, sampling="shuffle")).counts == 0


def test_epsilon_of_a_shuffled_claim_counts_epochs():
    pytest.importorskip("dp_accounting")
    from scipy.optimize import brentq
    from scipy.stats import norm

    claim = replace(CLAIM, steps=8, sampling="shuffle")  # two epochs of four batches

    mu = np.sqrt(2) / 1.3

    def delta(epsilon):
        return norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)

    exact = brentq(lambda e: delta(e) - claim.delta, 0, 50)
    assert exact <= claim.proved_epsilon() <= exact + 0.01
    assert replace(claim, sampling="poisson").proved_epsilon() < exact


def test_claims_that_cannot_be():
    for wrong, words in (
        ({"noise_multiplier": 0.0}, "above 0"),
        ({"batch": 100}, "at most all"),
        ({"sampling": "full"}, "set batch = records"),
        ({"lr": (0.1, 0.2)}, "or 6 of them"),
        ({"momentum": 1.0}, "below 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            replace(CLAIM, **wrong)
