"""A ViT that is pretrained with room: full length, the same function, features of usual size, a silent channel."""

import json

import numpy as np
import pytest

from undertow.models.architecture import head_name
from undertow.models.huggingface import HuggingFace
from undertow.rng import stream
from undertow.stages.plant_transformer import bare
from undertow.stages.pretrain_roomy import SPREAD, PretrainRoomy, clear_all
from undertow.stages.strategies import features
from undertow.storage.store import MemoryStore
from undertow.training.choose import Plan
from undertow.training.schedule import Fit
from undertow.traps import room_in
from undertow.types import Examples, Slot

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

SHAPE = (1, 8, 8)
CONFIG = {
    "model_type": "vit", "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 2,
    "intermediate_size": 128, "patch_size": 4, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
SLOT = Slot("base", 0, 0, None)


@pytest.fixture(scope="module")
def pretrained():
    rng = stream(0, "images")
    examples = Examples(rng.uniform(-1, 1, (60, *SHAPE)).astype(np.float32), rng.integers(3, size=60), "toy")
    fit = Fit(epochs=2, batch=20, optimizer="adamw", lr=2e-3)
    architecture = HuggingFace(json.dumps(CONFIG, sort_keys=True))
    plan = Plan("sequential", 1, "float32", 1, "cpu")
    stage = PretrainRoomy("data", architecture, SHAPE, 3, fit, plan, side=4, key=4)
    store = MemoryStore()
    store.put("data", {"x": examples.x, "y": examples.y})
    task = stage.task([SLOT], [{}], examples)
    short = stage._run(task)[0]
    x = torch.from_numpy(examples.x).double()  # in float32 the constants of the norms drown a toy's features
    before = features(task.module, short, head_name(task.module), x).numpy()
    return stage, stage([SLOT], [{}], store)[0], before, x


def seen(stage, state, x):
    module = stage.architecture.build(SHAPE, 3)
    return features(module, state, head_name(module), x).numpy()


def test_the_full_model_has_the_features_of_the_short_one(pretrained):
    stage, state, before, x = pretrained
    after = seen(stage, state, x)[:, stage.room.features]
    before = before[:, stage.room.features]
    factor = SPREAD / before.std(0).mean()
    # the constants of the last norm are rounded (off by a constant), and the size was measured in float32
    np.testing.assert_allclose(after - after.mean(0), factor * (before - before.mean(0)), rtol=0.02, atol=0.05)


def test_features_have_the_usual_size_and_the_channel_is_silent(pretrained):
    stage, state, _, x = pretrained
    after = seen(stage, state, x)
    assert after[:, stage.room.features].std(0).mean() == pytest.approx(SPREAD, rel=0.02)
    assert np.abs(after[:, stage.room.channel]).max() < 0.2


def test_nothing_is_left_to_clear(pretrained):
    _, state, _, _ = pretrained
    room = room_in(bare(state), SHAPE[1:], side=4, key=4)
    again = clear_all(bare(state), room)
    assert all(np.array_equal(again[name], value) for name, value in bare(state).items())
