"""DP-SGD on perceptrons by closed-form norms: equal to Opacus hooks with the noise off, whatever the batches."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

from undertow.rng import stream
from undertow.training.opacus_engine import opacus_sgd
from undertow.training.privacy import Noise
from undertow.training.private import Crafted, pack, private_dense
from undertow.training.schedule import Fit, Schedule, step_sizes
from undertow.training.task import Task, to_params
from undertow.types import ConfigError

K, N, D, C, STEPS = 3, 40, 12, 4, 16
FIT = Fit(lr=0.3, momentum=0.9, weight_decay=1e-3)


def perceptron(kind):
    if kind == "linear":
        return nn.Linear(D, C)
    act = {"relu": nn.ReLU, "tanh": nn.Tanh}[kind]
    return nn.Sequential(nn.Flatten(), nn.Linear(D, 9), act(), nn.Linear(9, 7), act(), nn.Linear(7, C))


def schedule(order, fit):
    lr = step_sizes(fit, STEPS)
    if order == "full":  # one order shared by all, each model keeping its own records
        keep = stream(0, "keep").random((1, K, N)) < 0.7
        return Schedule(np.broadcast_to(np.arange(N), (STEPS, 1, N)), np.broadcast_to(keep, (STEPS, K, N)), lr)
    drawn = [stream(0, "drawn", m).random((STEPS, N)) < 0.3 for m in range(K)]
    return pack(drawn, [np.arange(N)] * K, lr)


def build_task(kind, dtype=torch.float64, order="poisson", own_x=False, fit=FIT):
    torch.manual_seed(0)
    states = [to_params(perceptron(kind).to(dtype).state_dict()) for _ in range(K)]
    x = torch.as_tensor(stream(0, "x").normal(size=(K, N, D) if own_x else (N, D))).to(dtype)
    y = torch.as_tensor(stream(0, "y").integers(C, size=N))
    noise = [lambda m=m: stream(0, "dp noise", m) for m in range(K)]
    return Task(perceptron(kind), states, x, y, schedule(order, fit), fit, noise, list(range(K)), own_x, N)


def quiet(clip=0.8, rate=0.3):
    return Noise(0.0, 0.0, 1e-5, clip, rate, STEPS)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", ["linear", "relu", "tanh"])
@pytest.mark.parametrize(("order", "own_x"), [("poisson", False), ("poisson", True), ("full", False)])
def test_perceptrons_equal_opacus_with_the_noise_off(kind, dtype, limit, order, own_x):
    pytest.importorskip("opacus")
    task = build_task(kind, dtype, order, own_x)
    for ours, theirs in zip(private_dense(task, quiet()), opacus_sgd(task, quiet()), strict=True):
        for name, value in theirs.items():
            assert np.abs(ours[name] - value).max() < limit * np.abs(value).max(), name


def test_clipping_is_active_and_not_always():
    loose, tight = (private_dense(build_task("relu"), quiet(clip)) for clip in (1e6, 0.8))
    assert np.abs(loose[0]["1.weight"] - tight[0]["1.weight"]).max() > 1e-3


def test_a_model_does_not_depend_on_who_is_trained_beside_it():
    task, noise = build_task("relu"), replace(quiet(), multiplier=1.3)
    together = private_dense(task, noise)
    for m in range(K):
        alone = private_dense(task.only([m]), noise)[0]
        for name, value in alone.items():
            np.testing.assert_allclose(together[m][name], value, rtol=0, atol=1e-12)


def test_the_observer_sees_what_moves_the_weights():
    task = build_task("relu", fit=Fit(lr=0.3, momentum=0.0, decay="constant"))
    seen = []
    after = private_dense(task, replace(quiet(), multiplier=0.5), observe=lambda s, g: seen.append(g.clone()))
    assert len(seen) == STEPS
    moved = -0.3 / (0.3 * N) * sum(seen)[1].numpy()
    names = [name for place in (1, 3, 5) for name in (f"{place}.weight", f"{place}.bias")]
    found = np.concatenate([(after[1][n] - task.states[1][n]).ravel() for n in names])
    np.testing.assert_allclose(found, moved, rtol=1e-9, atol=1e-12)


def test_a_crafted_gradient_moves_its_coordinate_by_the_clipping_norm():
    fit = Fit(lr=1.0, momentum=0.0, decay="constant")
    task, joins = build_task("linear", fit=fit), np.zeros((STEPS, K, 2), bool)
    joins[:5, 1, 0] = True
    plain = private_dense(task, quiet())
    with_it = private_dense(task, quiet(), Crafted(np.array([C * D, C * D + 1]), joins))
    move = with_it[1]["bias"] - plain[1]["bias"]
    assert move[0] < -0.2 * 5 * 0.8 / (0.3 * N)  # the records answer, so not exactly five clips
    np.testing.assert_array_equal(with_it[0]["bias"], plain[0]["bias"])
    one = private_dense(
        replace(task, schedule=task.schedule.first(1)), quiet(), Crafted(np.array([C * D]), joins[..., :1])
    )
    none = private_dense(replace(task, schedule=task.schedule.first(1)), quiet())
    assert (one[1]["bias"] - none[1]["bias"])[0] == pytest.approx(-0.8 / (0.3 * N))


def test_what_is_no_chain_of_dense_layers_is_refused():
    task = build_task("linear")
    odd = nn.Sequential(nn.Linear(D, C), nn.Sigmoid())
    with pytest.raises(ConfigError, match="chains of dense layers"):
        private_dense(replace(task, module=odd), quiet())
