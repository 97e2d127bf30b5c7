"""Every engine equals `sequential` in float64, whatever the optimiser and the schedule."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

from undertow.engine.design import Design
from undertow.models.cnn import Cnn
from undertow.models.resnet import ResNet
from undertow.rng import stream
from undertow.training.choose import ENGINES, Plan, candidates, choose, chunk_for
from undertow.training.group_norm import group_norm
from undertow.training.grouped_conv import grouped_conv
from undertow.training.schedule import Fit, own_order, shared_order
from undertow.training.sequential import make_optimizer
from undertow.training.stacked import dense_shape
from undertow.training.task import Task, to_params

K, N, D, C = 4, 64, 20, 5


def build_task(module, fit, order="own", own_x=False, seed=0, shape=(D,)):
    torch.manual_seed(seed)
    design = Design(seed, N, K, 1, N)
    slots = design.slots("shadow")
    member = np.stack([s.member for s in slots])
    states = []
    for _ in range(K):
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        states.append(to_params(module.state_dict()))
    x = torch.as_tensor(stream(seed, "x").normal(size=(K, N, *shape) if own_x else (N, *shape)))
    y = torch.as_tensor(stream(seed, "y").integers(C, size=N))
    if order == "own":
        schedule = own_order(fit, "test", slots, [np.flatnonzero(m) for m in member])
    else:
        schedule = shared_order(fit, "test", slots, member)
    noise = [lambda m=m: stream(seed, "noise", m) for m in range(K)]
    return Task(module, states, x, y, schedule, fit, noise, list(range(K)), own_x)


def largest_gap(a, b):
    return max(float(np.abs(p[n] - q[n]).max()) for p, q in zip(a, b, strict=True) for n in p)


def mlp(activation=nn.ReLU):
    return nn.Sequential(nn.Flatten(), nn.Linear(D, 16), activation(), nn.Linear(16, 8), activation(), nn.Linear(8, C))


FITS = {
    "sgd": Fit(epochs=6, batch=10, lr=0.1, weight_decay=1e-3, jitter=0.05),
    "adamw": Fit(epochs=6, batch=10, optimizer="adamw", lr=0.01, weight_decay=1e-2, jitter=0.05),
}


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("order", ["own", "shared"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_fused_mlp_equals_sequential_in_float64(kind, order, activation):
    task = build_task(mlp(activation), FITS[kind], order)
    assert task.schedule.steps >= 16
    assert largest_gap(ENGINES["fused_mlp"][0](task), ENGINES["sequential"][0](task)) < 1e-12


@pytest.mark.parametrize("kind", FITS)
def test_fused_mlp_moves_images_as_sequential_does(kind):
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, C))
    task = build_task(module, replace(FITS[kind], shift=1, flip=True), shape=(3, 4, 4))
    assert candidates(task) == ["fused_mlp", "sequential"]
    moved = ENGINES["fused_mlp"][0](task)
    assert largest_gap(moved, ENGINES["sequential"][0](task)) < 1e-12
    assert largest_gap(moved, ENGINES["fused_mlp"][0](replace(task, fit=FITS[kind]))) > 1e-3


@pytest.mark.parametrize("kind", FITS)
def test_fused_heads_on_features_of_their_own_equal_sequential(kind):
    task = build_task(nn.Linear(D, C), FITS[kind], own_x=True)
    assert task.schedule.steps >= 16
    assert largest_gap(ENGINES["fused_mlp"][0](task), ENGINES["sequential"][0](task)) < 1e-12


# Groups of at least two channels and four pixels: a smaller one's mean takes away all that a bias adds, so that
# its slope is nothing but rounding, which AdamW would scale up to a step.
CNNS = {"stride 1": Cnn(16, 2), "stride 2": Cnn(16, 2, stride=2), "one channel": Cnn(16, 1)}


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("network", CNNS)
def test_grouped_conv_equals_sequential_in_float64(kind, network):
    shape = (1 if network == "one channel" else 3, 11, 10)
    fit = replace(FITS[kind], shift=2, flip=True)
    task = build_task(CNNS[network].build(shape, C), fit, shape=shape)
    assert task.schedule.steps >= 16
    assert not task.schedule.keep.all()  # the last batch of an epoch is short
    assert candidates(task) == ["grouped_conv", "sequential"]
    trained = ENGINES["grouped_conv"][0](task)
    assert largest_gap(trained, ENGINES["sequential"][0](task)) < 1e-12
    assert largest_gap(trained, task.states) > 1e-2


def test_a_groups_size_changes_rounding_only():
    task = build_task(Cnn(16, 2).build((3, 11, 10), C), FITS["sgd"], shape=(3, 11, 10))
    one, uneven = grouped_conv(task, 1), grouped_conv(task, 3)
    assert largest_gap(one, uneven) < 1e-12
    np.testing.assert_array_equal(grouped_conv(task.only([2]), 1)[0]["0.weight"], one[2]["0.weight"])


@pytest.mark.parametrize("order", ["own", "shared"])
def test_a_part_of_a_task_is_trained_as_in_the_whole(order):
    task = build_task(mlp(), FITS["sgd"], order)
    whole, part = ENGINES["sequential"][0](task), ENGINES["sequential"][0](task.only([3, 1]))
    assert largest_gap(part, [whole[3], whole[1]]) == 0


@pytest.mark.parametrize("architecture", [Cnn(16, 2), ResNet(8, 16), ResNet(8, 16, "batch")])
def test_bfloat16_is_for_products_only(architecture):
    shape, fit = (3, 11, 10), replace(FITS["sgd"], epochs=2, lr=0.01)
    task = build_task(architecture.build(shape, C), fit, shape=shape)
    task = replace(task, x=task.x.float())
    for engine in candidates(replace(task, bfloat16=True)):
        exact, rough = (ENGINES[engine][0](replace(task, bfloat16=on)) for on in (False, True))
        assert {v.dtype for state in rough for v in state.values()} <= {np.dtype("f4"), np.dtype("i8")}
        assert 1e-5 < largest_gap(exact, rough) < 0.1  # eight bits of a product, not of a weight
    assert candidates(replace(build_task(mlp(), fit), bfloat16=True)) == ["sequential"]


@pytest.mark.parametrize("channels", [8, 16, 24])
def test_group_norms_own_backward_is_pytorchs(channels):
    torch.manual_seed(0)
    x = 3 + torch.randn(4, channels, 5, 6, dtype=torch.float64)
    w, b = torch.randn(2, channels, dtype=torch.float64)
    slope = torch.randn_like(x)
    results = []
    for norm in (group_norm, torch.nn.functional.group_norm):
        leaves = [v.clone().requires_grad_() for v in (x.contiguous(memory_format=torch.channels_last), w, b)]
        y = norm(leaves[0], 8, leaves[1], leaves[2], 1e-5)
        results.append((y, *torch.autograd.grad(y, leaves, slope)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_what_cannot_be_grouped_is_left_to_sequential(norm):
    shape, fit = (3, 8, 8), FITS["sgd"]
    for architecture in (Cnn(4, 2, norm), ResNet(8, 4, norm)):
        task = build_task(architecture.build(shape, C), fit, shape=shape)
        grouped = isinstance(architecture, Cnn) and norm == "group"
        assert candidates(task) == ["grouped_conv", "sequential"][not grouped :]
        if grouped:
            task.module[0].requires_grad_(False)
            assert candidates(task) == ["sequential"]


@pytest.mark.parametrize("kind", FITS)
def test_fat_gemm_equals_sequential_in_float64(kind):
    fit = FITS[kind]
    task = build_task(nn.Linear(D, C), Fit(**{**vars(fit), "jitter": 0.0}), "shared")
    assert task.schedule.steps >= 16
    assert candidates(task) == ["fat_gemm", "fused_mlp", "sequential"]
    reference = ENGINES["sequential"][0](task)
    assert largest_gap(ENGINES["fat_gemm"][0](task), reference) < 1e-12
    assert largest_gap(ENGINES["fused_mlp"][0](task), reference) < 1e-12


def test_training_moves_the_weights_and_fits_the_members():
    fit = Fit(epochs=200, batch=16, lr=0.1)
    task = build_task(mlp(), fit)
    trained = ENGINES["fused_mlp"][0](task)
    assert largest_gap(trained, task.states) > 0.1
    task.module.load_state_dict({n: torch.as_tensor(v) for n, v in trained[0].items()})
    rows = np.unique(task.schedule.rows[:, 0])
    hit = (task.module.double()(task.x[rows]).argmax(-1) == task.y[rows]).double().mean()
    assert hit > 0.9


def test_a_module_that_is_no_plain_perceptron_is_left_to_sequential():
    odd = nn.Sequential(nn.Linear(D, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, C))
    assert dense_shape(odd) is None
    task = build_task(odd, FITS["sgd"])
    assert candidates(task) == ["sequential"]
    assert "1.running_mean" in ENGINES["sequential"][0](task)[0]  # buffers are part of a model


def test_dropout_is_seeded_per_model():
    module = nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, C))
    task = build_task(module, FITS["sgd"])
    first, again = ENGINES["sequential"][0](task), ENGINES["sequential"][0](task)
    assert largest_gap(first, again) == 0


def test_own_order_visits_every_member_once_per_epoch():
    design = Design(3, N, K, 1, N)
    rows = [np.flatnonzero(s.member) for s in design.slots("shadow")]
    schedule = own_order(Fit(epochs=2, batch=10), "t", design.slots("shadow"), rows)
    for m in range(K):
        seen = schedule.rows[:4, m][schedule.keep[:4, m]]
        assert sorted(seen) == rows[m].tolist()


def test_shared_order_keeps_members_only():
    design = Design(3, N, K, 1, N)
    slots = design.slots("shadow")
    member = np.stack([s.member for s in slots])
    schedule = shared_order(Fit(epochs=2, batch=10), "t", slots, member)
    for m in range(K):
        seen = schedule.rows[:, 0][schedule.keep[:, m]]
        assert sorted(seen) == sorted(2 * np.flatnonzero(member[m]).tolist())


def test_choice_prefers_the_listed_engine_unless_another_is_a_fifth_faster():
    assert choose({"fat_gemm": 1.0, "fused_mlp": 0.98, "sequential": 2.0}) == "fat_gemm"
    assert choose({"fat_gemm": 1.0, "fused_mlp": 0.9, "sequential": 2.0}) == "fused_mlp"


def test_chunks_are_powers_of_two_that_fit_in_cache():
    assert chunk_for("fused_mlp", 10_000, "cpu") == 16
    assert chunk_for("fused_mlp", 10**7, "cpu") == 1
    assert Plan("fused_mlp", 4).threads == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("shape", [(12, 7), (6, 3, 5, 5)])
def test_gradients_that_others_set_may_have_any_memory_order(optimizer, shape):
    """torch's fused kernels are silently wrong there; the optimiser for engines that set gradients must not be."""
    torch.manual_seed(0)
    start, plain = torch.randn(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)
    odd = plain.t().contiguous().t() if len(shape) == 2 else plain.contiguous(memory_format=torch.channels_last)
    ends = []
    for gradient in (plain, odd):
        parameter = torch.nn.Parameter(start.clone())
        steps = make_optimizer([parameter], Fit(optimizer=optimizer), fused=False)
        for _ in range(3):
            parameter.grad = gradient.clone(memory_format=torch.preserve_format)
            steps.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-12)
