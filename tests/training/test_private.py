"""DP-SGD on heads: equal to Opacus with the noise off, and never more epsilon than was asked for."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

from undertow.engine.design import Design
from undertow.rng import stream
from undertow.training.privacy import Noise, Privacy, calibrate, poisson_steps
from undertow.training.private import poisson_order, private_dense
from undertow.training.schedule import Fit
from undertow.training.task import Task, to_params
from undertow.types import ConfigError

K, N, D, C = 3, 60, 12, 4
FIT = Fit(epochs=4, batch=15, lr=0.3, momentum=0.9, weight_decay=1e-3, decay="cosine")


def build_task(dtype, own_x=True, fit=FIT):
    slots = Design(0, N, 4, 1, N).slots("shadow")[:K]
    rows = [np.flatnonzero(s.member) for s in slots]
    torch.manual_seed(0)
    states = [to_params(nn.Linear(D, C).to(dtype).state_dict()) for _ in range(K)]
    x = torch.as_tensor(stream(0, "x").normal(size=(K, N, D) if own_x else (N, D)) * 2).to(dtype)
    y = torch.as_tensor(stream(0, "y").integers(C, size=N))
    noise = [lambda m=m: stream(0, "dp noise", m) for m in range(K)]
    schedule = poisson_order(fit, "t", slots, rows)
    return Task(nn.Linear(D, C), states, x, y, schedule, fit, noise, list(range(K)), own_x, len(rows[0]))


def quiet(task, clip=1.0):
    return Noise(0.0, 0.0, 1e-5, clip, task.fit.batch / task.records, task.schedule.steps)


def by_opacus(task, m, clip):
    """The same batches through Opacus hooks and its optimiser, noise off."""
    pytest.importorskip("opacus")
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    net = nn.Linear(D, C).to(task.dtype)
    net.load_state_dict({n: torch.as_tensor(v) for n, v in task.states[m].items()})
    net = GradSampleModule(net)
    inner = torch.optim.SGD(net.parameters(), lr=1.0, momentum=task.fit.momentum, weight_decay=task.fit.weight_decay)
    optimizer = DPOptimizer(inner, noise_multiplier=0.0, max_grad_norm=clip, expected_batch_size=task.fit.batch)
    x = task.x[m] if task.own_x else task.x
    for s in range(task.schedule.steps):
        rows = task.schedule.rows[s, m][task.schedule.keep[s, m]]
        assert len(rows)
        inner.param_groups[0]["lr"] = float(task.schedule.lr[s])
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x[rows]), task.y[rows]).backward()
        optimizer.step()
    return to_params(net._module.state_dict())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("own_x", [True, False])
@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_heads_equal_opacus_with_the_noise_off(dtype, limit, own_x, clip):
    task = build_task(dtype, own_x, replace(FIT, epochs=8))
    assert task.schedule.steps >= 16
    ours = private_dense(task, quiet(task, clip))
    for m in range(K):
        theirs = by_opacus(task, m, clip)
        for name in theirs:
            gap = np.abs(ours[m][name] - theirs[name]).max() / np.abs(theirs[name]).max()
            assert gap < limit, name


def test_the_noise_has_the_deviation_that_is_claimed():
    """One step from zero gradient: what moves the weights is the noise alone."""
    task = build_task(torch.float64, fit=replace(FIT, epochs=1, batch=30, lr=1.0, momentum=0.0, weight_decay=0.0))
    noise = Noise(3.0, 1.0, 1e-5, 0.7, 1.0, 1)
    loud, silent = private_dense(task, noise), private_dense(task, replace(noise, multiplier=0.0))
    moved = np.concatenate([(a["weight"] - b["weight"]).ravel() for a, b in zip(loud, silent, strict=True)])
    assert moved.std() * task.records == pytest.approx(3.0 * 0.7, rel=0.15)


def test_models_draw_noise_of_their_own_and_the_same_again():
    task = build_task(torch.float64)
    noise = replace(quiet(task), multiplier=1.0)
    first, again = private_dense(task, noise), private_dense(task, noise)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["weight"], b["weight"])
    moved = [a["weight"] - b["weight"] for a, b in zip(first, private_dense(task, quiet(task)), strict=True)]
    assert abs(np.corrcoef(moved[0].ravel(), moved[1].ravel())[0, 1]) < 0.5


def test_every_record_joins_every_step_by_a_coin_of_its_own():
    task = build_task(torch.float64, fit=replace(FIT, epochs=200))
    sizes = task.schedule.keep.sum(-1)
    records, rate = 30, 0.5
    assert sizes.mean() == pytest.approx(records * rate, rel=0.02)
    assert sizes.var() == pytest.approx(records * rate * (1 - rate), rel=0.15)
    assert poisson_steps(task.fit, records) == task.schedule.steps == 400


@pytest.mark.parametrize("target", [0.5, 1.0, 10.0])
def test_the_claimed_epsilon_never_exceeds_the_target_and_comes_close(target):
    pytest.importorskip("dp_accounting")
    noise = calibrate(Privacy(epsilon=target), 500, Fit(epochs=20, batch=100))
    assert 0.95 * target < noise.epsilon <= target
    assert (noise.rate, noise.steps) == (0.2, 100)


def test_more_privacy_is_more_noise():
    pytest.importorskip("dp_accounting")
    fit = Fit(epochs=10, batch=100)
    sigmas = [calibrate(Privacy(epsilon=e), 500, fit).multiplier for e in (10.0, 1.0, 0.5)]
    assert sigmas == sorted(sigmas)


@pytest.mark.parametrize("change", [{"epsilon": -1.0}, {"delta": 0.0}, {"delta": 1.0}, {"clip": 0.0}])
def test_what_cannot_be_is_refused(change):
    with pytest.raises(ConfigError, match="privacy"):
        Privacy(**change)
