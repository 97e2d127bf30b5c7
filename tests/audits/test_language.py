"""The TMI audit of texts, tiny: what it reports, what it refuses, what its keys depend on."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow.audits.chain import Host, Workshop, ready
from undertow.audits.membership.estimate import estimate
from undertow.audits.membership.tmi import audit_tmi, lay_table
from undertow.audits.settings import DataSettings, EngineSettings, LeakageConfig, ModelSettings
from undertow.engine.executor import Serial
from undertow.engine.key import model_key, stage_digest
from undertow.rng import stream
from undertow.sources.records.datasets import load_supply
from undertow.stages.query import Then
from undertow.storage.results import result_json
from undertow.storage.store import MemoryStore
from undertow.training.schedule import Fit
from undertow.types import ConfigError

WORDS = [a + b for a in ("ba", "do", "ki", "lu", "me", "nu") for b in ("ra", "sen", "tim", "vo", "qu")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("texts"), stream(0, "words")

    def sentence(count):
        return " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=count))

    with gzip.open(root / "wikitext2_test.txt.gz", "wt", encoding="utf8") as file:
        file.write("\n".join(sentence(40) for _ in range(24)))
    rows = [f"{part},K{i % 3},{WORDS[i % 3]} {sentence(5)}" for part in ("train", "test") for i in range(24)]
    with gzip.open(root / "trec.csv.gz", "wt", encoding="utf8") as file:
        file.write("\n".join(["split,coarse,text", *rows]))
    return root


@pytest.fixture
def config(folder):
    return LeakageConfig(
        shadows=8, victims=4, views=3, view_jitter=0.0, view_shift=4, strategy="full",
        attacks=("tmi-lda", "tmi-knn", "blind", "direct-lira"),
        data=DataSettings(source=str(folder), pair="wikitext2-trec", pool=20, draw=16, context=16, vocabulary=300),
        model=ModelSettings(kind="transformer", width=16, depth=2),
        pretrain=Fit(epochs=40, batch=5, optimizer="adamw", lr=1e-2),
        finetune=Fit(epochs=2, batch=8, optimizer="adamw", lr=1e-3),
        engine=EngineSettings(name="sequential"),
    )  # fmt: skip


def supply_of(config):
    return load_supply("tmi", config.data, config.seed)


def test_a_text_audit_from_end_to_end(config):
    result = audit_tmi(config, supply_of(config), Host(MemoryStore(), Serial()))
    assert result.find("direct-lira", "auc").value > 0.8  # it memorises
    assert 0.2 < result.find("direct-lira", "auc", group="no-pretraining").value < 0.8
    assert {row.attack for row in result.measurements} == {"tmi-lda", "tmi-knn", "blind", "direct-lira"}
    members, others = (result.utility[f"pretrained model, perplexity on {w}"] for w in ("its members", "non-members"))
    assert 1 < members < others
    assert "NaN" not in result_json(result)


def test_all_offered_attacks_of_texts_have_what_they_need(config):
    quick = replace(config, attacks=(), control=False, pretrain=replace(config.pretrain, epochs=0))
    result = audit_tmi(quick, supply_of(config), Host(MemoryStore(), Serial()))
    found = {row.attack for row in result.measurements}
    assert {"tmi", "tmi-global", "tmi-knn", "tmi-lda", "blind", "direct-lira"} <= found
    assert not {"loss", "margin"} & found  # the two stages have different labels


def test_an_estimate_trains_nothing_and_counts_answers(config):
    store = MemoryStore()
    found = estimate("tmi", config, supply_of(config), Host(store, Serial()))
    assert found.models == 4 * 12
    assert found.engines == ("sequential",)
    module = Workshop(config, supply_of(config), Host(store, Serial())).architecture.build((16,), 3)
    weights = sum(4 * parameter.numel() for parameter in module.body.parameters())
    answers = 20 * 3 * 4
    assert found.disk == 2 * 12 * (weights + answers + 3 * answers)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"view_jitter": 0.05}, "view_jitter = 0.05"),
        ({"view_flip": True}, "view_flip"),
        ({"pretrain": Fit(jitter=0.1)}, "pretrain.jitter"),
        ({"finetune": Fit(shift=1)}, "finetune.shift"),
        ({"model": ModelSettings()}, "'transformer'"),
        ({"engine": EngineSettings(dtype="float64")}, "engine.dtype"),
    ],
)
def test_what_means_nothing_for_texts_is_refused(config, changes, says):
    with pytest.raises(ConfigError, match=says):
        ready(replace(config, **changes), supply_of(config))


def test_a_transformer_does_not_read_numbers(config):
    pytest.importorskip("sklearn")
    digits = DataSettings(pool=100, other=100)
    with pytest.raises(ConfigError, match="these are numbers"):
        ready(replace(config, data=digits), load_supply("tmi", digits, 0))


def final_key(config):
    """The name under which the first shadow's answers would be stored; nothing is trained."""
    game = lay_table(Workshop(config, supply_of(config), Host(MemoryStore(), Serial())))
    slot = game.slots[0]
    first = model_key(stage_digest(game.pretrain), slot, "")
    return model_key(stage_digest(Then(game.finetune["shadow"], game.ask["shadow"])), replace(slot, member=None), first)


def test_a_field_that_matters_is_a_miss(config, monkeypatch):
    monkeypatch.setattr("undertow.audits.chain.probe", lambda *_: 1.0)
    data, model = config.data, config.model
    changed = {
        "context": replace(config, data=replace(data, context=12)),
        "vocabulary": replace(config, data=replace(data, vocabulary=280)),
        "width": replace(config, model=replace(model, width=32)),
        "depth": replace(config, model=replace(model, depth=1)),
        "view_shift": replace(config, view_shift=2),
    }
    keys = {name: final_key(one) for name, one in {"none": config, **changed}.items()}
    assert len(set(keys.values())) == len(keys)
    assert final_key(config) == keys["none"]


def test_views_are_texts_that_end_earlier(config):
    store = MemoryStore()
    workshop = Workshop(config, supply_of(config), Host(store, Serial()))
    asked = store.get(workshop.put_views(np.arange(20)))["x"]
    assert asked.dtype == np.int64
    np.testing.assert_array_equal(asked[:, 0], workshop.supply.secret.x)
