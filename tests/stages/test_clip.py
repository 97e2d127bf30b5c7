"""The links of a CLIP: contrastive training, the zero-shot classifier, and finetuning it."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow.engine.key import stage_digest
from undertow.models.clip import small_clip
from undertow.rng import stream
from undertow.stages.common import load_examples
from undertow.stages.contrastive import PretrainClip
from undertow.stages.finetune import Finetune
from undertow.stages.query import Query
from undertow.stages.zero_shot import ZeroShot
from undertow.storage.store import MemoryStore
from undertow.training.choose import Plan, candidates
from undertow.training.schedule import Fit
from undertow.training.task import load_state
from undertow.types import ConfigError, Slot

SHAPE, K = (3, 16, 16), 4
CLIP = small_clip(("red", "green", "blue", "grey"), 16, width=32, depth=2)
PLAN = Plan("sequential", 4)
FIT = Fit(epochs=12, batch=16, optimizer="adamw", lr=3e-3)
PRETRAIN = PretrainClip("pairs", CLIP, SHAPE, FIT, PLAN)
ZERO_SHOT = ZeroShot(CLIP, SHAPE, PLAN)


def coloured(count, purpose):
    """Images whose colour is their class, under noise."""
    rng = stream(0, purpose)
    y = rng.integers(K, size=count)
    colour = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0]], np.float32)[y]
    return (colour[:, :, None, None] + rng.normal(size=(count, *SHAPE))).astype(np.float32), y


@pytest.fixture(scope="module")
def store():
    store = MemoryStore()
    x, y = coloured(96, "pairs")
    store.put("pairs", {"x": x, "y": y * CLIP.templates + stream(0, "template").integers(CLIP.templates, size=96)})
    for name in ("candidates", "test"):
        x, y = coloured(40, name)
        store.put(name, {"x": x, "y": y})
    store.put("views", {"x": store.get("candidates")["x"][:, None]})
    return store


def slot(index=0, seed=0, member=None):
    return Slot("base", index, seed, member)


@pytest.fixture(scope="module")
def base(store):
    return PRETRAIN([slot()], [{}], store)[0]


@pytest.fixture(scope="module")
def classifier(store, base):
    return ZERO_SHOT([slot()], [base], store)[0]


def test_pretraining_learns_what_captions_say(store, base):
    module = CLIP.build(SHAPE, K).eval()
    load_state(module, base, torch.float32)
    test = store.get("test")
    with torch.no_grad():
        assert (module(torch.tensor(test["x"])).argmax(-1).numpy() == test["y"]).mean() > 0.6


def test_a_model_is_its_seed_wherever_it_is_trained(store, base):
    short = replace(PRETRAIN, fit=replace(FIT, epochs=2, shift=2, flip=True))
    alone = short([slot(1)], [{}], store)[0]
    with torch.random.fork_rng():
        torch.manual_seed(99)
        together = short([slot(), slot(1)], [{}, {}], store)
    assert alone.keys() == base.keys()
    for name, value in alone.items():
        np.testing.assert_array_equal(value, together[1][name])
    assert not np.array_equal(together[0]["clip.visual_projection.weight"], alone["clip.visual_projection.weight"])


def test_it_goes_on_from_what_came_before_and_trains_on_what_was_dealt(store, base):
    still = replace(PRETRAIN, fit=replace(FIT, epochs=0))
    np.testing.assert_array_equal(still([slot(5, 7)], [base], store)[0]["clip.logit_scale"], base["clip.logit_scale"])
    member = np.arange(96) % 2 == 0
    task = PRETRAIN.task([slot(member=member)], [{}], load_examples(store, "pairs"))
    assert set(np.unique(task.schedule.rows)) == set(range(0, 96, 2))


def test_every_field_of_the_fit_makes_another_key():
    stages = [PRETRAIN, replace(PRETRAIN, fit=replace(FIT, lr=1e-3)), replace(PRETRAIN, plan=Plan("sequential", 2))]
    assert len({stage_digest(s) for s in stages}) == 3
    assert stage_digest(ZERO_SHOT) != stage_digest(replace(ZERO_SHOT, architecture=replace(CLIP, templates=2)))


def test_diverging_pretraining_is_one_line(store):
    with pytest.raises(ConfigError, match="diverged"):
        replace(PRETRAIN, fit=Fit(epochs=3, batch=16, lr=1e18))([slot()], [{}], store)


@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-5), ("float64", 1e-12)])
def test_the_classifier_has_the_zero_shot_logits(store, base, dtype, within):
    number = getattr(torch, dtype)
    whole, part = CLIP.build(SHAPE, K).eval().to(number), CLIP.classifier().build(SHAPE, K).eval().to(number)
    load_state(whole, base, number)
    state = replace(ZERO_SHOT, plan=replace(PLAN, dtype=dtype))([slot()], [base], store)[0]
    load_state(part, state, number)
    x = torch.tensor(store.get("test")["x"], dtype=number)
    with torch.no_grad():
        torch.testing.assert_close(part(x), whole(x), rtol=0, atol=within)


@pytest.mark.parametrize("strategy", ["linear", "last-k", "full", "lora"])
def test_every_strategy_finetunes_from_the_zero_shot_head(store, classifier, strategy):
    if strategy == "lora":
        pytest.importorskip("peft")
    query = Query("views", "test", CLIP.classifier(), SHAPE, K, PLAN)
    member = np.arange(40) < 20
    dealt = slot(member=member)

    def finetuned(epochs):
        fit = Fit(epochs=epochs, batch=10, optimizer="adamw", lr=1e-3)
        stage = Finetune(
            "candidates", CLIP.classifier(), SHAPE, K, strategy, 0, fit, PLAN, shared_base=True, keep_head=True
        )
        return stage([dealt], [classifier], store)[0]

    start = query([dealt], [classifier], store)[0]["logits"]
    np.testing.assert_allclose(query([dealt], [finetuned(0)], store)[0]["logits"], start, rtol=0, atol=1e-4)
    after = finetuned(2)
    assert after.keys() == classifier.keys()
    moved = {name for name in after if not np.array_equal(after[name], classifier[name])}
    assert "head.weight" in moved
    if strategy in ("linear", "last-k"):
        assert moved == {"head.weight", "head.bias"} | ({"visual_projection.weight"} if strategy == "last-k" else set())
    else:
        assert "vision_model.encoder.layers.0.mlp.fc1.weight" in moved
    assert not np.allclose(query([dealt], [after], store)[0]["logits"], start, rtol=0, atol=1e-3)


def test_linear_heads_on_it_have_the_fast_engine(store, classifier):
    stage = Finetune("candidates", CLIP.classifier(), SHAPE, K, "linear", 0, FIT, PLAN, True, keep_head=True)
    dealt = [slot(i, member=np.arange(40) % 2 == i) for i in range(2)]
    task = stage.task(dealt, [classifier] * 2, load_examples(store, "candidates"))
    assert candidates(task)[0] == "fat_gemm"
