"""Recipes on a causal language model that keeps its head: what moves, what is tied, what one record may do."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
from torch.nn.functional import cross_entropy

from undertow.models.architecture import head_name, initial_state
from undertow.models.causal_lm import causal_lm, for_strategy
from undertow.models.layers import dense_matrices
from undertow.rng import stream
from undertow.stages.finetune import Finetune
from undertow.stages.soften import Soften
from undertow.storage.store import MemoryStore
from undertow.texts import PAD, next_tokens
from undertow.training.choose import Plan
from undertow.training.privacy import Noise
from undertow.training.qlora import rounded_nf4
from undertow.training.schedule import Fit, step_sizes
from undertow.training.task import load_state, to_params
from undertow.types import ConfigError, MissingExtra, Slot

N, L, V = 10, 9, 40
TIED = causal_lm("gpt2", 16, 2, V, L)
FIT = Fit(epochs=2, batch=4, optimizer="adamw", lr=3e-3, decay="linear")
PLAN = Plan("sequential", 4)
SLOT = Slot("victim", 0, 0, np.arange(N) < 5)
TIE = ("model.transformer.wte.weight", "model.lm_head.weight")
HEAD = TIE[1]


def documents(name, count):
    rng = stream(0, name)
    ids = rng.integers(1, V, (count, L))
    ids[np.arange(L) >= rng.integers(3, L + 1, count)[:, None]] = PAD
    return {"x": ids, "y": next_tokens(ids)}


@pytest.fixture
def store():
    store = MemoryStore()
    store.put("all", documents("texts", N + 4))  # the last four are public
    store.put("public", documents("public", 12))
    store.put("base", to_params(initial_state(TIED, (L,), 0, 1)))
    return store


def stage(strategy, **fields):
    return Finetune("all", for_strategy(TIED, strategy), (L,), V, strategy, 0, FIT, PLAN, keep_head=True, **fields)


def moved(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("strategy", "layers", "expected"),
    [
        ("linear", 2, {HEAD}),
        ("last-k", 1, {HEAD}),
        ("last-k", 2, {HEAD, "model.transformer.ln_f.weight", "model.transformer.ln_f.bias"}),
        ("lora", 2, {HEAD, *(f"model.transformer.h.{i}.{part}.weight" for i in (0, 1) for part in
                             ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"))}),
    ],
)  # fmt: skip
def test_each_strategy_moves_its_own_parts(store, strategy, layers, expected):
    base = store.get("base")
    assert moved(base, stage(strategy, layers=layers)([SLOT], [base], store)[0]) == expected


def test_full_moves_everything_and_keeps_the_tie(store):
    base = store.get("base")
    tuned = stage("full")([SLOT], [base], store)[0]
    assert moved(base, tuned) == set(base)
    np.testing.assert_array_equal(tuned[TIE[0]], tuned[TIE[1]])


def test_a_tied_head_is_not_trained_alone(store):
    for strategy in ("linear", "last-k", "lora", "qlora"):
        with pytest.raises(ConfigError, match="for_strategy"):
            replace(stage(strategy), architecture=TIED)([SLOT], [store.get("base")], store)


def test_finetuning_lowers_the_loss_of_its_rows_and_repeats_count(store):
    base, rows = store.get("base"), np.flatnonzero(SLOT.member)
    np.testing.assert_array_equal(stage("full", repeat=2).rows(SLOT, N + 4), [*rows, *rows, N, N + 1, N + 2, N + 3])
    losses = [loss(TIED, s, store, rows) for s in
              (base, *(stage("full", repeat=r)([SLOT], [base], store)[0] for r in (1, 4)))]  # fmt: skip
    assert losses[0] > losses[1] > losses[2]


def loss(architecture, state, store, rows):
    module = architecture.build((L,), V)
    load_state(module, state, torch.float32)
    data = {name: torch.as_tensor(value[rows]) for name, value in store.get("all").items()}
    with torch.no_grad():
        return float(cross_entropy(module(data["x"]), data["y"]))


@pytest.mark.parametrize("strategy", ["full", "lora", "linear"])
def test_neftune_changes_training_and_is_the_slots_own(store, strategy):
    base = store.get("base")
    plain, noisy, again = (stage(strategy, neftune=a)([SLOT], [base], store)[0] for a in (0.0, 5.0, 5.0))
    assert moved(plain, noisy)
    assert not moved(noisy, again)


def test_qlora_is_low_rank_beside_the_rounded_base(store):
    pytest.importorskip("bitsandbytes")
    base = store.get("base")
    architecture = for_strategy(TIED, "qlora")
    module = architecture.build((L,), V)
    rounded = rounded_nf4(module, head_name(module), base)
    tuned = stage("qlora", rank=2)([SLOT], [base], store)[0]
    matrices = dense_matrices(module, head_name(module))
    assert set(matrices) == moved(base, rounded)
    assert moved(rounded, tuned) == {*matrices, HEAD}
    for name in matrices:
        sizes = np.linalg.svd(tuned[name].astype(float) - rounded[name])[1]
        assert sizes[2] < 1e-5 < sizes[0]


@pytest.mark.parametrize("conv1d", [False, True])
def test_rounding_is_what_linear4bit_multiplies_by(conv1d):
    pytest.importorskip("bitsandbytes")
    from bitsandbytes.nn import Linear4bit
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    layer = Conv1D(30, 50) if conv1d else torch.nn.Linear(50, 30)
    module = torch.nn.Sequential(layer, torch.nn.Linear(30, 3))
    state = to_params(module.state_dict())
    rows = layer.weight.T if conv1d else layer.weight
    real = Linear4bit(50, 30, compute_dtype=torch.float32, quant_type="nf4", compress_statistics=True)
    real.load_state_dict({"weight": rows.detach().contiguous(), "bias": layer.bias.detach()})
    real = real.to("cpu")
    x = torch.randn(7, 50)
    load_state(module, rounded_nf4(module, "1", state), torch.float32)
    torch.testing.assert_close(layer(x), real(x), atol=1e-6, rtol=1e-6)
    assert not np.allclose(layer.weight.detach(), state["0.weight"], atol=1e-3)


NOISE = Noise(0.0, 1.0, 1e-5, 0.5, 4 / 9, 6, "opacus")


@pytest.mark.parametrize(("family", "strategy"), [("gpt2", "full"), ("llama", "full"), ("gpt2", "linear")])
def test_dp_clips_the_mean_loss_of_each_text(store, family, strategy):
    """Equal to a loop over single texts; their lengths differ."""
    pytest.importorskip("opacus")
    architecture = for_strategy(causal_lm(family, 16, 1, V, L), strategy)
    base = to_params(initial_state(architecture, (L,), 0, 1))
    fit = Fit(epochs=2, batch=4, lr=0.5, momentum=0.0)
    private = replace(stage(strategy, noise=NOISE), fit=fit, architecture=architecture)
    task = private.task([SLOT], [base], examples_of(store))
    tuned = private([SLOT], [base], store)[0]
    module = task.module
    load_state(module, base, torch.float32)
    trained = [p for p in module.parameters() if p.requires_grad]
    for s in range(task.schedule.steps):
        total = [torch.zeros_like(p) for p in trained]
        for row in task.schedule.rows[s, 0][task.schedule.keep[s, 0]]:
            grads = torch.autograd.grad(cross_entropy(module(task.x[[row]]), task.y[[row]]), trained)
            norm = torch.sqrt(sum((g**2).sum() for g in grads))
            for t, g in zip(total, grads, strict=True):
                t += g * min(1.0, NOISE.clip / (float(norm) + 1e-6))
        with torch.no_grad():
            for p, t in zip(trained, total, strict=True):
                p -= float(task.schedule.lr[s]) * t / (NOISE.rate * task.records)
    for name, value in to_params(module.state_dict()).items():
        np.testing.assert_allclose(tuned[name], value, atol=2e-5, err_msg=name)
    assert moved(base, tuned)


def examples_of(store):
    from undertow.stages.common import load_examples

    return load_examples(store, "all")


def test_dp_lora_trains_and_its_noise_is_the_slots_own(store):
    pytest.importorskip("opacus")
    base = store.get("base")
    a, b, quiet = (stage("lora", noise=replace(NOISE, multiplier=m))([SLOT], [base], store)[0] for m in (1, 1, 0))
    assert not moved(a, b)
    assert moved(a, quiet)


def test_dp_refuses_repeats_and_the_closed_form(store):
    base = store.get("base")
    for strategy, fields, said in (("full", {"repeat": 2}, "repeat"), ("linear", {}, "closed-form")):
        noise = NOISE if "repeat" in fields else replace(NOISE, trainer="closed-form")
        with pytest.raises(ConfigError, match=said):
            stage(strategy, noise=noise, **fields)([SLOT], [base], store)


def test_linear_decay_ends_one_step_above_zero():
    np.testing.assert_allclose(step_sizes(replace(FIT, lr=1.0), 4), [1, 0.75, 0.5, 0.25])


def test_weight_noise_is_relative_and_keeps_ties(store):
    base = store.get("base")
    soft = Soften("noise", 0.3)([SLOT], [base], store)[0]
    for name, weight in base.items():
        if weight.ndim < 2:
            np.testing.assert_array_equal(soft[name], weight)
        else:
            assert (soft[name] - weight).std() / weight.std() == pytest.approx(0.3, rel=0.2)
    np.testing.assert_array_equal(soft[TIE[0]], soft[TIE[1]])
    assert not moved(base, Soften("noise", 0.0)([SLOT], [base], store)[0])


def test_averaging_lies_between_and_needs_the_same_model(store):
    base = store.get("base")
    store.put("parent", {name: np.zeros_like(value) for name, value in base.items()})
    soft = Soften("average", 0.25, "parent")([SLOT], [base], store)[0]
    for name, weight in base.items():
        np.testing.assert_allclose(soft[name], 0.75 * weight, rtol=1e-6)
    store.put("other", {"a": np.zeros(3)})
    with pytest.raises(ConfigError, match="another model"):
        Soften("average", 0.5, "other")([SLOT], [base], store)
    for wrong in (("average", 0.5), ("noise", -1.0), ("average", 1.5, "parent")):
        with pytest.raises(ConfigError, match="soften"):
            Soften(*wrong)


def test_without_bitsandbytes_the_extra_is_named(store, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(MissingExtra, match=r"undertow\[qlora\]"):
        stage("qlora")([SLOT], [store.get("base")], store)
