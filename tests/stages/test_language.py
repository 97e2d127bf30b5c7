"""The links of the chain for texts: frozen means frozen, likelihood is a slow loop's, models are their slots' alone."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow.engine.design import Design
from undertow.models.transformer import Transformer
from undertow.rng import stream
from undertow.stages.common import load_examples
from undertow.stages.finetune import Finetune
from undertow.stages.likelihood import Likelihood
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query, Then
from undertow.storage.store import MemoryStore
from undertow.texts import PAD, lengths, next_tokens, views
from undertow.training.choose import Plan, candidates
from undertow.training.schedule import Fit
from undertow.training.task import load_state

N, L, V, C = 20, 10, 30, 3
CLASSIFIES = Transformer(16, 2, V)
SPEAKS = replace(CLASSIFIES, objective="next-token")
PLAN = Plan("sequential", 4)
FIT = Fit(epochs=4, batch=4, optimizer="adamw", lr=3e-3)


def documents(name, count):
    rng = stream(0, name)
    ids = rng.integers(1, V, (count, L))
    ids[np.arange(L) >= rng.integers(4, L + 1, count)[:, None]] = PAD
    return ids


@pytest.fixture
def store():
    store = MemoryStore()
    pool = documents("pool", N)
    store.put("pool", {"x": pool, "y": next_tokens(pool)})
    store.put("other", {"x": documents("other", N), "y": stream(0, "labels").integers(C, size=N)})
    store.put("views", {"x": views(pool[:6], 3, 3, stream(0, "views"))})
    return store


def slots(count=4):
    return Design(0, N, count, 1, N).slots("shadow")


def pretrain(fit=FIT):
    return Pretrain("pool", SPEAKS, (L,), V, fit, PLAN)


def finetune(strategy, **fields):
    return Finetune("other", CLASSIFIES, (L,), C, strategy, 12, FIT, PLAN, **fields)


def unseen(count):
    return [replace(slot, member=None) for slot in slots(count)]


def test_only_the_loop_can_train_it(store):
    task = pretrain().task(slots(), [{}] * 4, load_examples(store, "pool"))
    assert candidates(task) == ["sequential"]
    assert task.dtype == torch.float32


def test_pretraining_lowers_the_loss_of_members_most(store):
    models = slots()
    store.put("all", {"x": store.get("pool")["x"][:, None]})
    ask = Likelihood("all", SPEAKS, (L,), PLAN)
    long = pretrain(replace(FIT, epochs=30))
    before, after = (
        np.stack([a["values"][:, 0] for a in Then(stage, ask)(models, [{}] * 4, store)])
        for stage in (pretrain(replace(FIT, epochs=0)), long)
    )
    member = np.stack([slot.member for slot in models])
    assert (after - before)[member].mean() > 0.5 + (after - before)[~member].mean()


def test_a_document_of_another_model_changes_nothing(store):
    a = slots()[0]
    pool = store.get("pool")
    changed = {name: value.copy() for name, value in pool.items()}
    changed["x"][~a.member], changed["y"][~a.member] = 1, 1
    store.put("changed", changed)
    one, two = pretrain()([a], [{}], store)[0], replace(pretrain(), data="changed")([a], [{}], store)[0]
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


def test_a_linear_probe_leaves_the_body_bit_identical(store):
    base = pretrain()(slots(), [{}] * 4, store)
    tuned = finetune("linear")(unseen(4), base, store)
    for before, after in zip(base, tuned, strict=True):
        assert set(after) - set(before) == {"head.weight", "head.bias"}
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])
    assert not np.array_equal(tuned[0]["head.weight"], tuned[1]["head.weight"])


@pytest.mark.parametrize(("layers", "moved"), [(1, {"head"}), (2, {"body.ln_f", "head"}), (3, {"body.h.1.mlp.c_proj",
                                               "body.ln_f", "head"})])  # fmt: skip
def test_last_k_counts_from_the_head_down_norms_included(store, layers, moved):
    base = pretrain()(slots(), [{}] * 4, store)
    tuned = finetune("last-k", layers=layers)(unseen(4), base, store)
    for before, after in zip(base, tuned, strict=True):
        differ = {n.rpartition(".")[0] for n in before if not np.array_equal(before[n], after[n])}
        assert differ == moved - {"head"}


def test_full_finetuning_moves_every_layer(store):
    base = pretrain()(slots()[:1], [{}], store)[0]
    tuned = finetune("full")(unseen(4)[:1], [base], store)[0]
    for name in base:
        assert not np.array_equal(base[name], tuned[name]), name


def test_likelihood_is_that_of_a_slow_loop(store):
    base = pretrain()(slots()[:1], [{}], store)[0]
    values = Likelihood("views", SPEAKS, (L,), PLAN)(slots()[:1], [base], store)[0]["values"]
    module = SPEAKS.build((L,), 0).double()
    load_state(module, base, torch.float64)
    asked = store.get("views")["x"]
    assert values.shape == asked.shape[:2]
    for q, a in np.ndindex(asked.shape[:2]):
        text = asked[q, a, : lengths(asked[q, a])]
        with torch.no_grad():
            log_p = module(torch.as_tensor(text)[None])[0].log_softmax(0)
        told = [float(log_p[text[i + 1], i]) for i in range(len(text) - 1)]
        assert values[q, a] == pytest.approx(np.mean(told), abs=1e-5)


def test_the_classifier_answers_for_every_view(store):
    base = pretrain()(slots(), [{}] * 4, store)
    ask = Query("views", "other", CLASSIFIES, (L,), C, PLAN)
    answers = Then(finetune("linear"), ask)(unseen(4), base, store)
    assert answers[0]["logits"].shape == (6, 3, C)
    assert 0 <= answers[0]["accuracy"] <= 1


def test_a_models_bits_do_not_depend_on_who_else_is_missing(store):
    everyone = pretrain()(slots(), [{}] * 4, store)
    alone = pretrain()(slots()[2:3], [{}], store)[0]
    for name, value in alone.items():
        np.testing.assert_array_equal(value, everyone[2][name])
