"""LoRA: the base does not move, merging changes no output, updates start at zero from seeds of their own."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
from torch import nn

from undertow.models.architecture import Mlp, factory, head_name, initial_state
from undertow.rng import stream
from undertow.stages.finetune import Finetune
from undertow.stages.query import Query
from undertow.storage.store import MemoryStore
from undertow.training.choose import Plan, candidates
from undertow.training.lora import lora_state, merged, with_lora
from undertow.training.schedule import Fit
from undertow.training.sequential import sequential
from undertow.training.task import load_state, to_params
from undertow.types import ConfigError, MissingExtra, Slot

N = 40


def conv(shape, classes):
    """Batch norm, a grouped convolution (which gets no update) and more than ten parts (names that end alike)."""
    parts = [nn.Conv2d(shape[0], 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4)]
    parts += [nn.Conv2d(4, 6, 1), nn.GroupNorm(2, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    parts += [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, classes)]
    return nn.Sequential(*parts)


class TinyBert(nn.Module):
    def __init__(self, classes):
        super().__init__()
        from transformers import BertConfig, BertModel

        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        self.body = BertModel(BertConfig(vocab_size=30, max_position_embeddings=12, initializer_range=0.5, **sizes))
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.body(input_ids=x.long()).pooler_output)


def bert(shape, classes):
    return TinyBert(classes)


class TinyGpt(nn.Module):
    def __init__(self, classes):
        super().__init__()
        from transformers import GPT2Config, GPT2Model

        self.body = GPT2Model(
            GPT2Config(vocab_size=30, n_positions=12, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5)
        )
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.body(input_ids=x.long()).last_hidden_state[:, -1])


def gpt(shape, classes):
    return TinyGpt(classes)


MODELS = {"mlp": (Mlp((8, 8)), (6,)), "conv": (factory(conv), (1, 6, 6)), "bert": (factory(bert), (8,)),
          "gpt": (factory(gpt), (8,))}  # fmt: skip


def inputs(name, count=N):
    if name in ("bert", "gpt"):
        return stream(0, name).integers(30, size=(count, 8)).astype(np.float32)
    return stream(0, name).normal(size=(count, *MODELS[name][1])).astype(np.float32)


@pytest.fixture(params=MODELS)
def setting(request):
    """(stage, slots, their base models, a store with the data)."""
    architecture, shape = MODELS[request.param]
    store = MemoryStore()
    store.put("other", {"x": inputs(request.param), "y": stream(0, "y").integers(3, size=N)})
    store.put("views", {"x": inputs(request.param, 6)[:, None]})
    fit, plan = Fit(epochs=4, batch=10, lr=0.1), Plan("sequential", 4)
    stage = Finetune("other", architecture, shape, 3, "lora", 20, fit, plan, rank=2)
    slots = [Slot("shadow", i, 0, None) for i in range(3)]
    before = [to_params(initial_state(architecture, shape, 3, i)) for i in range(3)]
    return stage, slots, before, store


def examples(store):
    from undertow.stages.common import load_examples

    return load_examples(store, "other")


def logits(module, state, x):
    load_state(module.double(), state, torch.float64)
    module.eval()
    with torch.no_grad():
        return module(torch.as_tensor(x).double()).numpy()


def test_only_updates_and_head_move_until_the_merge(setting):
    stage, slots, before, store = setting
    task = stage.task(slots, before, examples(store))
    assert candidates(task) == ["sequential"]
    head = head_name(stage.architecture.build(stage.shape, 3))
    for start, end in zip(task.states, sequential(task), strict=True):
        assert start.keys() == end.keys()
        for name in start:
            moves = name.startswith(head + ".") or ".lora_" in name
            assert np.array_equal(start[name], end[name]) != moves, name


def test_the_updates_begin_without_effect_and_every_model_draws_its_own(setting):
    stage, slots, before, store = setting
    task = stage.task(slots, before, examples(store))
    down = [n for n in task.states[0] if ".lora_A." in n]
    up = [n for n in task.states[0] if ".lora_B." in n]
    assert len(down) == len(up) > 0
    assert not any(state[name].any() for state in task.states for name in up)
    for name in down:
        for a in range(3):
            for b in range(a):
                assert not np.array_equal(task.states[a][name], task.states[b][name]), name
    again = stage.task(slots[1:2], before[1:2], examples(store)).states[0]
    for name in down:
        np.testing.assert_array_equal(again[name], task.states[1][name])


def test_merging_changes_no_answer(setting):
    stage, slots, before, store = setting
    task = stage.task(slots, before, examples(store))
    trained = sequential(task)
    tuned = stage(slots, before, store)
    views = store.get("views")["x"]
    asked = Query("views", "", stage.architecture, stage.shape, 3, stage.plan)(slots, tuned, store)
    for m in range(3):
        assert tuned[m].keys() == before[m].keys()
        unmerged = logits(task.module, trained[m], views[:, 0])
        plain = logits(stage.architecture.build(stage.shape, 3), tuned[m], views[:, 0])
        np.testing.assert_allclose(plain, unmerged, atol=1e-6)
        np.testing.assert_allclose(asked[m]["logits"][:, 0], unmerged, atol=1e-5)


def test_the_merged_model_moved_in_its_weights_only_by_low_rank(setting):
    stage, slots, before, store = setting
    tuned = stage(slots, before, store)
    module = stage.architecture.build(stage.shape, 3)
    head = head_name(module)
    moved = {n for n in before[0] if not np.array_equal(before[0][n], tuned[0][n]) and not n.startswith(head + ".")}
    task = stage.task(slots[:1], before[:1], examples(store))
    updated = {n.replace(".base_layer", "") for n in task.states[0] if n.endswith(".base_layer.weight")}
    assert moved == updated
    for name in moved:
        change = (tuned[0][name].astype(float) - before[0][name]).reshape(len(before[0][name]), -1)
        sizes = np.linalg.svd(change, compute_uv=False)
        assert (sizes[2:] < 1e-6).all(), name  # rank 2, and the rounding of float32
        assert sizes[0] > 1e-5, name


def test_a_grouped_convolution_stays_frozen_and_names_that_end_alike_are_told_apart():
    module = with_lora(conv((1, 6, 6), 3), "13", 2)
    updated = {name.partition(".lora_A")[0] for name in module.state_dict() if ".lora_A" in name}
    assert updated == {"0", "4", "9", "11"}  # not 3 (grouped), not 13 (the head)


def test_merging_by_hand_is_the_same_sum():
    plain = Mlp((8,)).build((6,), 3)
    base = to_params(plain.state_dict())
    module = with_lora(plain, "3", 2)
    state = lora_state(module, base, 0)
    rng = stream(0, "B")
    state["1.lora_B.default.weight"] = rng.normal(size=(8, 2)).astype(np.float32)
    product = state["1.lora_B.default.weight"] @ state["1.lora_A.default.weight"]
    np.testing.assert_allclose(merged(module, state, base)["1.weight"], base["1.weight"] + product, atol=1e-6)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight


@pytest.mark.parametrize(
    ("module", "head", "says"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), "1", "beside the head; use 'linear'"),
        (Tied(), "head", "'a': its"),
    ],
)
def test_models_that_cannot_be_updated_are_refused_in_one_line(module, head, says):
    with pytest.raises(ConfigError, match=says):
        with_lora(module, head, 2)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"peft is not installed.*undertow\[llm\]"):
        with_lora(Mlp((8,)).build((6,), 3), "3", 2)
