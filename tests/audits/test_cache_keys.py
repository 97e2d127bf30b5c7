"""A changed field that matters is a cache miss, N of N; one that does not matter is a hit."""

from dataclasses import fields, replace
from functools import cache

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from undertow.audits.chain import Host, Workshop
from undertow.audits.membership.presets import preset
from undertow.audits.membership.tmi import lay_table
from undertow.audits.settings import EngineSettings, ModelSettings
from undertow.engine.executor import Serial
from undertow.engine.key import model_key, stage_digest
from undertow.sources.records.datasets import load_supply
from undertow.stages.query import Then
from undertow.storage.store import MemoryStore

BASE = replace(preset("tmi", "digits"), shadows=4, victims=1, engine=EngineSettings(name="sequential"))
IMAGES = replace(BASE, strategy="full", model=ModelSettings(kind="cnn", width=8, depth=1),
                 engine=EngineSettings(name="sequential", chunk=1))  # fmt: skip
FIT = {"epochs": 3, "batch": 7, "optimizer": "adamw", "lr": 0.2, "momentum": 0.5, "weight_decay": 0.1,
       "decay": "constant", "jitter": 0.2}  # fmt: skip
MOVES = {"shift": 1, "flip": True}  # of images only
MODEL = {"mlp": {"hidden": (64,), "activation": "tanh"},
         "cnn": {"kind": "resnet", "width": 16, "depth": 2, "norm": "batch", "stride": 2}}  # fmt: skip
OTHER_DECAY = {"pretrain": "constant", "finetune": "cosine"}


def final_key(config):
    """The name under which the first shadow's answers would be stored; nothing is trained."""
    supply = load_supply("tmi", config.data, config.seed)
    if config.model.kind != "mlp":
        supply = replace(supply, **{part: as_images(getattr(supply, part)) for part in ("secret", "other", "test")})
    game = lay_table(Workshop(config, supply, Host(MemoryStore(), Serial())))
    slot = game.slots[0]
    first = model_key(stage_digest(game.pretrain), slot, "")
    return model_key(stage_digest(Then(game.finetune["shadow"], game.ask["shadow"])), replace(slot, member=None), first)


def as_images(examples):
    return replace(examples, x=examples.x.reshape(-1, 1, 8, 8))


def changes():
    for stage in ("pretrain", "finetune"):
        fit = getattr(BASE, stage)
        assert {f.name for f in fields(fit)} == {*FIT, *MOVES}  # a new field must be listed here
        for name, value in {**FIT, "decay": OTHER_DECAY[stage]}.items():
            yield f"{stage}.{name}", replace(BASE, **{stage: replace(fit, **{name: value})})
    data = {"pool": 398, "other": 900, "draw": 400, "label_noise": 0.2, "relation": "disjoint"}
    for name, value in data.items():
        yield f"data.{name}", replace(BASE, data=replace(BASE.data, **{name: value}))
    for name, value in MODEL["mlp"].items():
        yield f"model.{name}", replace(BASE, model=replace(BASE.model, **{name: value}))
    engine = {"name": "fused_mlp", "chunk": 2, "dtype": "float64", "threads": 2}
    for name, value in engine.items():
        yield f"engine.{name}", replace(BASE, engine=replace(BASE.engine, **{name: value}))
    privacy = {"epsilon": 1.0, "delta": 1e-4, "clip": 0.5, "trainer": "opacus"}
    for name, value in privacy.items():
        private = replace(BASE.privacy, epsilon=2.0)
        yield f"privacy.{name}", replace(BASE, privacy=replace(private, **{name: value}))
    top = {"seed": 1, "challenge": 100, "views": 4, "view_jitter": 0.1, "strategy": "full", "last_layers": 3,
           "lora_rank": 8}  # fmt: skip
    for name, value in top.items():
        yield name, replace(BASE, **{name: value})


def image_changes():
    for stage in ("pretrain", "finetune"):
        for name, value in MOVES.items():
            yield f"{stage}.{name}", replace(IMAGES, **{stage: replace(getattr(IMAGES, stage), **{name: value})})
    for name, value in MODEL["cnn"].items():
        model = replace(IMAGES.model, **{name: value, **({"depth": 8} if value == "resnet" else {})})
        yield f"model.{name}", replace(IMAGES, model=model)


CHANGES = dict(changes())
IMAGE_CHANGES = dict(image_changes())
key_of = cache(final_key)


@pytest.fixture(scope="module")
def base_key():
    return key_of(BASE)


def test_every_model_field_is_listed():
    listed = {name for kind in MODEL.values() for name in kind}
    assert {f.name for f in fields(ModelSettings)} - listed == {
        "checkpoint",
        "factory",
        "head",
    }  # tested in tests/models


def test_what_matters_to_images_is_a_miss():
    keys = {final_key(config) for config in (BASE, IMAGES, *IMAGE_CHANGES.values())}
    assert len(keys) == len(IMAGE_CHANGES) + 2


@pytest.mark.parametrize("name", CHANGES)
def test_a_field_that_matters_is_a_miss(base_key, name):
    assert key_of(CHANGES[name]) != base_key


def test_every_change_has_a_key_of_its_own(base_key):
    keys = [key_of(config) for config in CHANGES.values()]
    assert len({base_key, *keys}) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "change",
    [{"shadows": 8}, {"victims": 3}, {"attacks": ("tmi",)}, {"control": False}, {"victim_strategy": "full"}],
)
def test_a_field_that_does_not_matter_is_a_hit(base_key, change):
    assert final_key(replace(BASE, **change)) == base_key


def test_other_data_is_a_miss(base_key, monkeypatch):
    import sklearn.datasets

    raw = sklearn.datasets.load_digits()
    raw.data[0, 20] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: raw)
    assert final_key(BASE) != base_key


def test_an_edited_model_file_is_a_miss(tmp_path, monkeypatch):
    source = "from torch import nn\n\n\ndef make(shape, classes):\n    return nn.Linear(shape[0], classes)\n"
    monkeypatch.syspath_prepend(tmp_path)
    from undertow.models.architecture import factory

    (tmp_path / "edited_model.py").write_text(source)
    before = factory("edited_model:make")
    (tmp_path / "edited_model.py").write_text(source + "# another comment\n")
    import linecache
    import sys

    del sys.modules["edited_model"]
    linecache.clearcache()
    assert factory("edited_model:make") != before
