"""DP-SGD through Opacus: equal to the closed form and to a loop over single records; the noise that is claimed."""

import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("opacus")
from torch import nn

from undertow.engine.design import Design
from undertow.models.architecture import head_name
from undertow.rng import stream
from undertow.training.lora import lora_state, with_lora
from undertow.training.opacus_engine import opacus_sgd
from undertow.training.privacy import Noise, Privacy, calibrate
from undertow.training.private import poisson_order, private_dense
from undertow.training.schedule import Fit
from undertow.training.sequential import train_mode
from undertow.training.task import Task, load_state, to_params
from undertow.types import ConfigError, MissingExtra

K, N, C = 3, 40, 4
FIT = Fit(epochs=4, batch=10, lr=0.3, momentum=0.9, weight_decay=1e-3)
SHAPES = {"linear": (7,), "mlp": (7,), "conv": (1, 5, 5), "norm": (7,), "bert": (6,)}


class TinyBert(nn.Module):
    def __init__(self, explicit):
        super().__init__()
        from transformers import BertConfig, BertModel

        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
        quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5}
        self.body = BertModel(BertConfig(vocab_size=20, max_position_embeddings=9, **sizes, **quiet))
        self.head = nn.Linear(8, C)
        self.explicit = explicit

    def forward(self, x):
        places = torch.arange(x.shape[1]).repeat(len(x), 1) if self.explicit else None
        kinds = torch.zeros(x.shape, dtype=torch.long) if self.explicit else None
        return self.head(self.body(x.long(), position_ids=places, token_type_ids=kinds).pooler_output)


class Rooted(nn.Module):
    """A frozen parameter at the root must not silence the layers below it."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.ones(7))
        self.body, self.head = nn.Linear(7, 5), nn.Linear(5, C)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x + self.shift)))


def module(kind):
    if kind == "linear":
        return nn.Linear(7, C)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, C))
    if kind == "conv":
        parts = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(36, C)]
        return nn.Sequential(*parts)
    if kind == "rooted":
        return Rooted()
    if kind.startswith("bert"):
        return TinyBert(explicit=kind == "bert-explicit")
    affine = kind == "norm"
    return nn.Sequential(nn.Linear(7, 6), nn.BatchNorm1d(6, affine=affine), nn.ReLU(), nn.Linear(6, C))


def build_task(kind, dtype=torch.float64, fit=FIT, lora=False, own_x=False):
    torch.manual_seed(0)
    slots = Design(0, N, 4, 1, N).slots("shadow")[:K]
    rows = [np.flatnonzero(s.member) for s in slots]
    states = [to_params(module(kind).state_dict()) for _ in range(K)]
    net = module(kind)
    if lora:
        net = with_lora(net, head_name(net), 2)
        states = [lora_state(net, state, m) for m, state in enumerate(states)]
    shape = SHAPES.get(kind.split("-")[0], (7,))
    rng = stream(0, "x")  # no token 0: Opacus also trains the row of the padding token, which plain torch does not
    x = rng.integers(1, 20, size=(N, *shape)) if "bert" in kind else rng.normal(size=(N, *shape)) * 2
    x = torch.as_tensor(np.stack([x + m for m in range(K)]) if own_x else x).to(dtype)
    y = torch.as_tensor(stream(0, "y").integers(C, size=N))
    noise = [lambda m=m: stream(0, "dp noise", m) for m in range(K)]
    schedule = poisson_order(fit, "t", slots, rows)
    return Task(net, states, x, y, schedule, fit, noise, list(range(K)), own_x, len(rows[0]))


def quiet(task, clip=1.0, multiplier=0.0):
    rate = task.fit.batch / task.records
    return Noise(multiplier, 0.0, 1e-5, clip, rate, task.schedule.steps, "opacus")


def largest_gap(a, b):
    return max(
        float(np.abs(p[n] - q[n]).max() / max(np.abs(q[n]).max(), 1e-3)) for p, q in zip(a, b, strict=True) for n in q
    )


def one_record_at_a_time(task, m, clip):
    """The definition: clip the gradient of every record, add them up, divide by the expected batch."""
    net = task.module.to(task.dtype)
    load_state(net, task.states[m], task.dtype)
    train_mode(net)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 1.0, momentum=task.fit.momentum, weight_decay=task.fit.weight_decay)
    for s in range(task.schedule.steps):
        total = [torch.zeros_like(p) for p in trained]
        for row in task.schedule.rows[s, m][task.schedule.keep[s, m]]:
            loss = nn.functional.cross_entropy(net(task.x[row : row + 1]), task.y[row : row + 1])
            gradient = torch.autograd.grad(loss, trained)
            norm = torch.sqrt(sum(g.square().sum() for g in gradient))
            for t, g in zip(total, gradient, strict=True):
                t += g * min(1.0, clip / (float(norm) + 1e-6))
        for p, t in zip(trained, total, strict=True):
            p.grad = t / task.fit.batch
        optimizer.param_groups[0]["lr"] = float(task.schedule.lr[s])
        optimizer.step()
    return to_params(net.state_dict())


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("own_x", [True, False])
@pytest.mark.parametrize("clip", [0.5, 100.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_heads_equal_the_closed_form_with_the_noise_off(dtype, limit, own_x, clip, optimizer):
    lr = {"sgd": 0.3, "adamw": 0.01}[optimizer]
    task = build_task("linear", dtype, replace(FIT, epochs=8, optimizer=optimizer, lr=lr), own_x=own_x)
    assert task.schedule.steps >= 16
    assert largest_gap(opacus_sgd(task, quiet(task, clip)), private_dense(task, quiet(task, clip))) < limit


@pytest.mark.parametrize(
    ("kind", "lora"), [("mlp", False), ("conv", False), ("conv", True), ("rooted", True), ("bert-explicit", False),
                       ("bert-plain", True), ("norm", True)],
)  # fmt: skip
def test_any_model_equals_a_loop_over_single_records(kind, lora):
    if lora:
        pytest.importorskip("peft")
    if "bert" in kind:
        pytest.importorskip("transformers")
    task = build_task(kind, fit=replace(FIT, epochs=2, momentum=0.5), lora=lora)
    found = opacus_sgd(task, quiet(task, 0.5))
    for m in range(2):
        assert largest_gap([found[m]], [one_record_at_a_time(task, m, 0.5)]) < 1e-9


def test_an_empty_batch_takes_a_step_of_noise_alone():
    task = build_task("mlp", fit=replace(FIT, epochs=1, batch=20, momentum=0.0, weight_decay=0.0, lr=1.0))
    task.schedule.keep[:] = False
    start, still, moved = task.states, opacus_sgd(task, quiet(task)), opacus_sgd(task, quiet(task, multiplier=2.0))
    assert task.schedule.steps == 1
    for m in range(K):
        for name in start[m]:
            np.testing.assert_array_equal(still[m][name], start[m][name])
            assert not np.isclose(moved[m][name], start[m][name]).any()


def test_empty_batches_among_full_ones_equal_the_closed_form():
    task = build_task("linear", fit=replace(FIT, epochs=8))
    task.schedule.keep[::3] = False
    assert largest_gap(opacus_sgd(task, quiet(task)), private_dense(task, quiet(task))) < 1e-10


@pytest.mark.parametrize("kind", ["linear", "mlp", "conv"])
def test_the_noise_has_the_deviation_that_is_claimed(kind):
    """Over one step of size 1: what parts two runs is the noise over the expected batch, on every parameter."""
    task = build_task(kind, fit=replace(FIT, epochs=1, batch=20, lr=1.0, momentum=0.0, weight_decay=0.0))
    loud, silent = opacus_sgd(task, quiet(task, 0.7, 3.0)), opacus_sgd(task, quiet(task, 0.7))
    gaps = {n: np.concatenate([(a[n] - b[n]).ravel() for a, b in zip(loud, silent, strict=True)]) for n in loud[0]}
    pooled = np.concatenate(list(gaps.values())) * task.fit.batch / (3.0 * 0.7)
    assert abs(pooled.mean()) < 4 / np.sqrt(pooled.size)
    assert abs(pooled.std() - 1) < 4 / np.sqrt(2 * pooled.size)
    assert all(gap.any() for gap in gaps.values())


def test_models_draw_noise_of_their_own_and_the_same_again():
    task = build_task("mlp")
    noise = quiet(task, multiplier=1.0)
    first, again, silent = opacus_sgd(task, noise), opacus_sgd(task, noise), opacus_sgd(task, quiet(task))
    assert largest_gap(first, again) == 0
    moved = [np.concatenate([(a[n] - b[n]).ravel() for n in a]) for a, b in zip(first, silent, strict=True)]
    assert abs(np.corrcoef(moved[0], moved[1])[0, 1]) < 0.5


@pytest.mark.parametrize("kind", ["norm", "norm-plain"])
def test_batch_norm_that_would_mix_records_is_refused_with_the_fix(kind):
    task = build_task(kind)
    with pytest.raises(ConfigError, match="group norm") as error:
        opacus_sgd(task, quiet(task))
    assert "\n" not in str(error.value)


def test_positions_without_a_batch_axis_are_refused_with_the_fix():
    pytest.importorskip("transformers")
    task = build_task("bert-plain")
    with pytest.raises(ConfigError, match=r"position_embeddings.*explicit position_ids") as error:
        opacus_sgd(task, quiet(task))
    assert "\n" not in str(error.value)


def test_what_opacus_cannot_do_is_one_line():
    task = build_task("mlp")
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    states = [to_params(attention.state_dict())] * K
    with pytest.raises(ConfigError, match="Opacus cannot train this model") as error:
        opacus_sgd(replace(task, module=attention, states=states), quiet(task))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", [0.5, 2.0, 10.0])
def test_the_claim_by_opacus_never_exceeds_the_target_and_the_other_accountant_agrees(target):
    pytest.importorskip("dp_accounting")
    fit = Fit(epochs=20, batch=100)
    ours, theirs = (calibrate(Privacy(epsilon=target, trainer=t), 500, fit) for t in ("closed-form", "opacus"))
    assert 0.9 * target < theirs.epsilon <= target
    assert theirs.multiplier == pytest.approx(ours.multiplier, rel=0.05)
    assert (theirs.trainer, theirs.accountant) == ("opacus", "PRV of Opacus")


def test_without_opacus_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    task = build_task("mlp")
    with pytest.raises(MissingExtra, match=r"undertow\[dp\]"):
        opacus_sgd(task, quiet(task))
    with pytest.raises(MissingExtra, match=r"undertow\[dp\]"):
        calibrate(Privacy(epsilon=1.0, trainer="opacus"), 100, FIT)
