"""The links of the chain: independent starts, frozen means frozen, padding changes no bit."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

from undertow.engine.design import Design
from undertow.models.architecture import Factory, Mlp, factory, head_name, initial_state
from undertow.models.cnn import Cnn
from undertow.rng import stream
from undertow.stages.finetune import Finetune
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query, Then
from undertow.storage.store import MemoryStore
from undertow.training.choose import Plan
from undertow.training.schedule import Fit
from undertow.training.task import to_params
from undertow.types import ConfigError

N, D = 40, 6
FUSED, ONE_BY_ONE = Plan("fused_mlp", 8), Plan("sequential", 8)


def with_batch_norm(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


def constant(shape, classes):
    return lambda x: x


@pytest.fixture
def store():
    store = MemoryStore()
    for name in ("pool", "other"):
        rng = stream(0, name)
        y = rng.integers(3, size=N)
        store.put(name, {"x": (rng.normal(size=(N, D)) + y[:, None]).astype(np.float32), "y": y})
    store.put("views", {"x": stream(0, "views").normal(size=(5, 2, D)).astype(np.float32)})
    return store


def slots(count=6):
    return Design(0, N, count, 1, N).slots("shadow")


def pretrain(plan=FUSED, architecture=None, epochs=5):
    return Pretrain("pool", architecture or Mlp((8,)), (D,), 3, Fit(epochs=epochs, batch=10), plan)


def finetune(strategy="linear", plan=FUSED, architecture=None, **fields):
    fit = Fit(epochs=5, batch=10, lr=0.05)
    return Finetune("other", architecture or Mlp((8,)), (D,), 3, strategy, 20, fit, plan, **fields)


def test_every_model_starts_independently(store):
    states = pretrain(epochs=0)(slots(), [{}] * 6, store)
    for name in states[0]:
        for a in range(6):
            for b in range(a):
                assert not np.array_equal(states[a][name], states[b][name]), name


def test_training_sees_members_only(store):
    stage, (a, b) = pretrain(), slots(4)[:2]
    seen = stage.task([a], [{}], _examples(store)).schedule.rows
    assert set(seen.ravel()) == set(np.flatnonzero(a.member))
    assert not set(seen.ravel()) & set(np.flatnonzero(b.member))  # its complement


def _examples(store):
    from undertow.stages.common import load_examples

    return load_examples(store, "pool")


@pytest.mark.parametrize("plan", [FUSED, ONE_BY_ONE])
def test_a_models_bits_do_not_depend_on_who_else_is_missing(store, plan):
    everyone = pretrain(plan)(slots(4), [{}] * 4, store)
    alone = pretrain(plan)(slots(4)[2:3], [{}], store)
    for name, value in alone[0].items():
        np.testing.assert_array_equal(value, everyone[2][name])


@pytest.mark.parametrize("architecture", [Mlp((8,)), None])
def test_a_linear_probe_leaves_all_but_the_head_bit_identical(store, architecture):
    architecture = architecture or factory(with_batch_norm)
    plan = FUSED if isinstance(architecture, Mlp) else ONE_BY_ONE
    base = pretrain(plan, architecture)(slots(), [{}] * 6, store)
    tuned = finetune("linear", plan, architecture)(slots(), base, store)
    head = head_name(architecture.build((D,), 3))
    for before, after in zip(base, tuned, strict=True):
        assert before.keys() == after.keys()
        for name in before:
            same = np.array_equal(before[name], after[name])
            assert same != name.startswith(head), name  # parameters and buffers


@pytest.mark.parametrize("architecture", [Mlp((8, 8)), None])
@pytest.mark.parametrize("layers", [1, 2])
def test_last_k_trains_the_last_layers_and_freezes_the_rest_buffers_included(store, architecture, layers):
    architecture = architecture or factory(with_batch_norm)
    base = pretrain(ONE_BY_ONE, architecture)(slots(), [{}] * 6, store)
    tuned = finetune("last-k", ONE_BY_ONE, architecture, layers=layers)(slots(), base, store)
    module = architecture.build((D,), 3)
    owners = [n for n, part in module.named_modules() if any(True for _ in part.parameters(recurse=False))]
    for before, after in zip(base, tuned, strict=True):
        for name in before:
            trained = name.rpartition(".")[0] in owners[-layers:]
            assert np.array_equal(before[name], after[name]) != trained, name


def test_last_k_of_a_convolutional_network_that_ends_in_a_group_norm(store):
    x = stream(0, "images").normal(size=(N, 3, 16, 16)).astype(np.float32)
    store.put("other", {"x": x, "y": stream(0, "image labels").integers(3, size=N)})
    stage = replace(finetune("last-k", ONE_BY_ONE, Cnn(8, 2), layers=2), shape=(3, 16, 16))
    base = to_params(initial_state(Cnn(8, 2), (3, 16, 16), 3, 0))
    (tuned,) = stage(slots(4)[:1], [base], store)  # torch 2.13 writes through a null pointer, channels innermost
    moved = {name.rpartition(".")[0] for name in base if not np.array_equal(base[name], tuned[name])}
    owners = [n for n, part in Cnn(8, 2).build((3, 16, 16), 3).named_modules() if list(part.parameters(recurse=False))]
    assert moved == set(owners[-2:])


def test_last_k_of_everything_is_full_finetuning(store):
    base = pretrain(ONE_BY_ONE)(slots(), [{}] * 6, store)
    some = finetune("last-k", ONE_BY_ONE, layers=2)(slots(), base, store)
    every = finetune("full", ONE_BY_ONE)(slots(), base, store)
    for a, b in zip(some, every, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_last_k_of_more_layers_than_there_are(store):
    base = pretrain()(slots(), [{}] * 6, store)
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        finetune("last-k", ONE_BY_ONE, layers=3)(slots(), base, store)


def test_full_finetuning_moves_every_layer(store):
    base = pretrain()(slots(), [{}] * 6, store)
    tuned = finetune("full")(slots(), base, store)
    for before, after in zip(base, tuned, strict=True):
        assert not any(np.array_equal(before[name], after[name]) for name in before)


def test_a_shared_base_gives_the_fat_product_and_the_loop_the_same_heads(store):
    base = pretrain()(slots()[:1], [{}], store)[0]
    secret = [replace(s) for s in slots(4)]
    heads = [
        finetune("linear", plan, shared_base=True)(secret, [base] * 4, store)
        for plan in (Plan("fat_gemm", 4), ONE_BY_ONE)
    ]
    for fast, slow in zip(*heads, strict=True):
        for name in fast:
            np.testing.assert_allclose(fast[name], slow[name], atol=1e-5)


def test_links_joined_keep_only_the_answers(store):
    base = pretrain()(slots(), [{}] * 6, store)
    ask = Query("views", "other", Mlp((8,)), (D,), 3, FUSED)
    answers = Then(finetune(), ask)(slots(), base, store)
    assert answers[0]["logits"].shape == (5, 2, 3)
    assert 0 <= answers[0]["accuracy"] <= 1
    apart = ask(slots(), finetune()(slots(), base, store), store)
    np.testing.assert_array_equal(answers[3]["logits"], apart[3]["logits"])


def test_divergence_is_an_error_not_a_result(store):
    wild = replace(pretrain(), fit=Fit(epochs=50, batch=10, lr=1e6))
    with pytest.raises(ConfigError, match=r"shadow \d+ diverged.*lower the learning rate"):
        wild(slots(), [{}] * 6, store)


def test_drawing_more_rows_than_there_are(store):
    base = pretrain()(slots(), [{}] * 6, store)
    dealt_nothing = [replace(slot, member=None) for slot in slots()]
    with pytest.raises(ConfigError, match="only 40"):
        replace(finetune(), draw=41)(dealt_nothing, base, store)


def test_a_batched_engine_refuses_more_than_its_chunk(store):
    with pytest.raises(ValueError, match="one chunk of 2"):
        pretrain(Plan("fused_mlp", 2))(slots(), [{}] * 6, store)


def test_an_engine_that_cannot_train_the_model_is_refused(store):
    with pytest.raises(ConfigError, match="use 'auto'"):
        pretrain(Plan("fat_gemm", 8))(slots(), [{}] * 6, store)


@pytest.mark.parametrize(
    ("target", "says"),
    [("nonsense", "write 'package.module:function'"), ("no.such:thing", "cannot be imported"),
     ("undertow.rng:no_such", "cannot be imported")],
)  # fmt: skip
def test_a_factory_that_cannot_be_found_is_named(target, says):
    with pytest.raises(ConfigError, match=says):
        factory(target)


def test_a_lambda_is_no_factory():
    with pytest.raises(ConfigError, match="named function at the top of a module"):
        factory(lambda shape, classes: nn.Linear(shape[0], classes))


def test_a_factory_must_return_a_module():
    found = factory(constant)
    with pytest.raises(ConfigError, match=r"not a torch.nn.Module"):
        Factory(found.target, found.code).build((D,), 3)


def test_a_model_without_a_linear_head_is_refused():
    with pytest.raises(ConfigError, match=r"no nn.Linear"):
        head_name(nn.Sequential(nn.Conv2d(1, 2, 3)))
