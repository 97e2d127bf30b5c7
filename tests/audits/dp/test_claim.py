"""What a claim implies, against the optimisers of torch and the accountant."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.response import moved as declared
from undertow.audits.dp.response import response
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
    assert np.allclose(moved(claim, one) * claim.batch, declared(claim, np.eye(claim.steps)), rtol=1e-12)
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
        ({"lr": 0.0}, "not 0 throughout"),
        ({"divisor": 0.0}, "above 0"),
        ({"sample_rate": 1.5}, "at most 1"),
        ({"optimizer": "lion"}, "one of sgd"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "turn it off"),
        ({"correlation": [[1.0]]}, "invertible"),
        ({"momentum": 1.0}, "below 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            replace(CLAIM, **wrong)


def trained(claim, start, sums):
    """Where torch's own optimiser takes parameters (P,) by sums of gradients (T, P), with decay and all."""
    p = torch.nn.Parameter(torch.tensor(start))
    makers = {
        "sgd": lambda: torch.optim.SGD(
            [p], 0.1, momentum=claim.momentum, nesterov=claim.nesterov, dampening=claim.dampening,
            weight_decay=claim.weight_decay,
        ),
        "adamw": lambda: torch.optim.AdamW([p], 0.1, betas=claim.betas, weight_decay=claim.weight_decay),
        "rmsprop": lambda: torch.optim.RMSprop([p], 0.1, alpha=claim.alpha),
    }  # fmt: skip
    optimizer, iterates = makers[claim.optimizer](), []
    for lr, total in zip(claim.rates, sums, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.as_tensor(total / (claim.divisor or claim.batch))
        optimizer.step()
        iterates.append(p.detach().numpy().copy())
    return np.mean(iterates, axis=0) if claim.average else iterates[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.01, "lr": (0.0, 0.01, 0.02, 0.02, 0.01, 0.01)},
        {"optimizer": "rmsprop", "alpha": 0.9, "lr": 0.01},
        {"average": True, "weight_decay": 0.05, "divisor": 3.0},
    ],
)
def test_declared_optimisers_move_as_those_of_torch(changes):
    claim = replace(CLAIM, **changes)
    rng = np.random.Generator(np.random.PCG64(5))
    start, sums = rng.normal(size=50), rng.normal(size=(claim.steps, 50))
    moved_here = start - declared(claim, sums / (claim.divisor or claim.batch), start)
    assert np.allclose(moved_here, trained(claim, start, sums), rtol=1e-7, atol=1e-10)
    still = trained(claim, start, 0 * sums)
    assert np.allclose(still, response(claim).kept * start, rtol=1e-9)


def test_correlated_noise_and_clipping_after_it():
    """Anticorrelated noise: the final deviation is that of w times the matrix; a later clip scales both alike."""
    mix = np.eye(6) - 0.5 * np.eye(6, k=-1)
    claim = replace(CLAIM, correlation=mix.tolist(), sampling="shuffle")
    z = np.random.Generator(np.random.PCG64(6)).normal(size=(6, 100_000)) * 1.3 * 0.7
    assert moved(claim, mix @ z).std() == pytest.approx(response(claim).noise, rel=0.01)
    size = 5000
    plain, clipped = response(CLAIM), response(replace(CLAIM, clip_after=0.5), size)
    norm = 1.3 * 0.7 / 20 * np.sqrt(size)
    assert clipped.noise / plain.noise == pytest.approx(0.5 / norm)
    assert clipped.reach / plain.reach == pytest.approx(0.5 / norm)
    with pytest.raises(ConfigError, match="accountant of its own"):
        claim.proved_epsilon()


def test_a_function_is_an_optimiser():
    claim = replace(CLAIM, optimizer=lambda g: 0.3 * g.sum(0))
    one, two = response(claim), response(CLAIM)
    assert (one.noise, one.reach, one.counts) == pytest.approx((two.noise, two.reach, two.counts))


def test_rates_of_loaders_that_do_not_divide():
    assert replace(CLAIM, sampling="shuffle", batch=30).rate == pytest.approx(1 / 3)  # 30, 30 and 20 of 80
    assert replace(CLAIM, sampling="shuffle", batch=30, drop_last=True).rate == pytest.approx(30 / 80)
    assert replace(CLAIM, batch=30, sample_rate=1 / 3).rate == pytest.approx(1 / 3)
