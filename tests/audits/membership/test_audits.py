"""The two audits whole, small: what leaks is seen, what cannot leak is not, and one seed is one result."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from undertow.audits.chain import Host, Workshop, ready
from undertow.audits.membership.mia import audit_mia
from undertow.audits.membership.presets import preset
from undertow.audits.membership.tmi import audit_tmi, lay_table
from undertow.audits.settings import EngineSettings
from undertow.engine.executor import Serial
from undertow.sources.records.datasets import load_supply
from undertow.storage.results import result_json
from undertow.storage.store import MemoryStore
from undertow.training.privacy import Privacy
from undertow.training.schedule import Fit
from undertow.types import BadInput, ConfigError, MissingExtra

AUDITS = {"tmi": audit_tmi, "mia": audit_mia}


def small(audit, **changes):
    attacks = {"tmi": ("tmi-lda", "confidence", "direct-lira"), "mia": ("lira", "rmia", "loss")}[audit]
    base = replace(preset(audit, "digits"), shadows=16, victims=8, views=4, attacks=attacks)
    return replace(base, engine=EngineSettings(name="fused_mlp"), **changes)


def run(audit, config, store=None):
    supply = load_supply(audit, config.data, config.seed)
    return AUDITS[audit](config, supply, Host(store or MemoryStore(), Serial()))


@pytest.fixture(scope="module")
def tmi():
    return run("tmi", small("tmi"))


def test_tmi_sees_the_pretraining_data_through_the_finetuned_model(tmi):
    assert tmi.find("tmi-lda", "auc").low > 0.55
    assert tmi.find("direct-lira", "auc").value > tmi.find("tmi-lda", "auc").value


def test_without_pretraining_nothing_is_seen(tmi):
    for row in tmi.controls:
        if row.metric == "auc":
            assert 0.44 < row.value < 0.56, row


def test_one_seed_is_one_result(tmi):
    again = run("tmi", small("tmi"))
    assert again.measurements == tmi.measurements
    for ours, theirs in zip(again.scores, tmi.scores, strict=True):
        np.testing.assert_array_equal(ours.values, theirs.values)
    assert run("tmi", small("tmi", seed=1)).measurements != tmi.measurements


def test_the_result_is_json_without_nan(tmi):
    assert "NaN" not in result_json(tmi)


def test_mia_sees_the_finetuning_data_and_counts_models():
    result = run("mia", small("mia"))
    assert result.find("lira", "auc").low > 0.55
    assert result.find("lira", "auc").unit == "models"
    assert result.find("lira", "auc").n == 8
    assert result.utility["finetuned model, accuracy on test records"] > 0.7


def test_mia_by_linear_probe_uses_the_fat_product():
    config = small("mia", strategy="linear", finetune=Fit(epochs=5, batch=100, lr=0.05))
    result = run("mia", replace(config, engine=EngineSettings(name="auto")))
    assert result.environment["engines"]["finetune"]["plan"]["engine"] == "fat_gemm"
    assert result.find("lira", "auc").value > 0.5


@pytest.mark.parametrize("audit", AUDITS)
def test_finetuning_by_lora(audit):
    pytest.importorskip("peft")
    config = small(audit, strategy="lora", lora_rank=2, shadows=4, victims=2, challenge=20, control=False)
    config = replace(config, pretrain=Fit(epochs=2), finetune=Fit(epochs=2, lr=0.05), engine=EngineSettings())
    result = run(audit, config)
    assert result.environment["engines"]["finetune"]["plan"]["engine"] == "sequential"
    assert np.isfinite(result.scores[0].values).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"victim_strategy": "linear"}, "are for tmi"),
        ({"data": replace(preset("mia", "digits").data, relation="same")}, "are for tmi"),
    ],
)
def test_mia_refuses_what_it_would_ignore(change, says):
    with pytest.raises(ConfigError, match=says):
        run("mia", small("mia", **change))


@pytest.mark.parametrize("change", [{"strategy": "lora"}, {"strategy": "linear", "privacy": Privacy(epsilon=1.0)}])
def test_finetuning_without_a_base_is_refused(change):
    config = small("mia", finetune=Fit(), **change)
    supply = replace(load_supply("mia", config.data, 0), other=None)
    with pytest.raises(ConfigError, match=r"finetunes a base: mia needs pretrain\.npz"):
        audit_mia(config, supply, Host(MemoryStore(), Serial()))


def test_a_victims_scores_do_not_depend_on_the_number_of_shadows():
    store = MemoryStore()
    few, more = (run("tmi", small("tmi", shadows=m, attacks=("confidence",)), store) for m in (8, 12))
    np.testing.assert_array_equal(few.scores[0].values, more.scores[0].values)


def test_the_engine_is_decided_once_and_read_back():
    store = MemoryStore()
    config = replace(small("tmi"), engine=EngineSettings(), shadows=4, victims=2, attacks=("confidence",))
    first = run("tmi", config, store)
    notes = {key: dict(note) for key, note in store.notes.items()}
    assert notes
    second = run("tmi", config, store)
    assert store.notes == notes
    assert first.environment["engines"] == second.environment["engines"]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"attacks": ("tmj",)}, ConfigError, "tmi"),
        ({"challenge": 401}, ConfigError, r"1\.\.400"),
        ({"attacks": ("lira",), "data": replace(preset("tmi", "digits").data, same_labels=False)}, BadInput, "labels"),
    ],
)
def test_what_cannot_be_audited_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        run("tmi", small("tmi", **change))


@pytest.mark.parametrize(
    ("relation", "draw", "there"), [("subset", 1001, "1000"), ("disjoint", 501, "500 on each side")]
)
def test_more_rows_than_there_are_cannot_be_drawn(relation, draw, there):
    config = replace(small("tmi"), data=replace(preset("tmi", "digits").data, relation=relation, draw=draw))
    with pytest.raises(ConfigError, match=f"data.draw = {draw}.*only {there}"):
        ready(config, load_supply("tmi", config.data, 0))
    ready(replace(config, data=replace(config.data, draw=draw - 1)), load_supply("tmi", config.data, 0))


@pytest.mark.parametrize(
    ("change", "package", "extra"),
    [
        ({"strategy": "lora"}, "peft", "llm"),
        ({"victim_strategy": "lora"}, "peft", "llm"),
        ({"privacy": Privacy(epsilon=1.0)}, "dp-accounting", "dp"),
        ({"privacy": Privacy(epsilon=1.0, trainer="opacus")}, "opacus", "dp"),
    ],
)
def test_a_missing_package_is_named_before_anything_runs(monkeypatch, change, package, extra):
    monkeypatch.setattr("undertow.audits.chain.find_spec", lambda name: None)
    config = small("tmi", **change)
    with pytest.raises(MissingExtra, match=rf"{package} is not installed.*undertow\[{extra}\]"):
        ready(config, load_supply("tmi", config.data, 0))


def test_pools_of_one_class_are_refused():
    config = small("tmi")
    supply = load_supply("tmi", config.data, 0)
    single = replace(supply, secret=replace(supply.secret, y=np.zeros(len(supply.secret), int)))
    with pytest.raises(BadInput, match="only one class"):
        audit_tmi(config, single, Host(MemoryStore(), Serial()))


def test_a_named_engine_that_cannot_train_the_model_is_refused_with_those_that_can():
    config = replace(small("tmi"), engine=EngineSettings(name="fat_gemm"))
    with pytest.raises(ConfigError, match=r"'fat_gemm' cannot do the finetune stage.*'fused_mlp' or 'sequential'"):
        run("tmi", config)


PRIVATE = Fit(epochs=12, batch=100, lr=1.0, momentum=0.0, decay="constant")


@pytest.mark.slow
def test_private_finetuning_hides_pretraining_data_as_far_as_its_noise_goes():
    """AUC falls as epsilon falls, the claim never exceeds the target, and every row carries it."""
    pytest.importorskip("dp_accounting")
    store, auc = MemoryStore(), {}
    for target in (10.0, 1.0, 0.5):
        config = replace(preset("tmi", "digits"), privacy=Privacy(epsilon=target), finetune=PRIVATE)
        result = run("tmi", replace(config, attacks=("tmi-lda",), control=False), store)
        row = result.find("tmi-lda", "auc")
        assert 0.95 * target < row.epsilon <= target
        assert result.environment["privacy"]["epsilon"] == row.epsilon
        auc[target] = row
    assert auc[10.0].low > auc[1.0].high > auc[1.0].low > auc[0.5].high
    assert auc[0.5].low > 0.5  # finetuning was private, pretraining was not


@pytest.mark.parametrize("change", [{"strategy": "full"}, {"strategy": "lora"}, {"victim_strategy": "last-k"}])
def test_private_finetuning_of_more_than_a_head_needs_opacus(change):
    with pytest.raises(ConfigError, match=r"trains heads only.*privacy\.trainer = 'opacus'"):
        small("tmi", privacy=Privacy(epsilon=1.0), **change)
    assert small("tmi", privacy=Privacy(epsilon=1.0, trainer="opacus"), **change).privacy.epsilon == 1.0


SLOW = [("tmi", "linear"), ("tmi", "last-k"), ("tmi", "lora"), ("mia", "linear"), ("mia", "last-k"), ("mia", "full")]


@pytest.mark.parametrize(
    ("audit", "strategy"),
    [("tmi", "full"), ("mia", "lora"), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_any_strategy_is_private_by_opacus(audit, strategy):
    pytest.importorskip("opacus")
    pytest.importorskip("peft")
    private = Privacy(epsilon=2.0, trainer="opacus")
    fit = Fit(epochs=2, batch=100, lr=0.5, momentum=0.0)
    config = small(audit, strategy=strategy, privacy=private, finetune=fit, shadows=4, victims=2, challenge=20)
    result = run(audit, replace(config, pretrain=Fit(epochs=2), control=False))
    assert result.environment["engines"]["finetune"]["plan"]["engine"] == "opacus"
    assert result.environment["privacy"]["accountant"] == "PRV of Opacus"
    assert all(1.8 < row.epsilon <= 2.0 for row in result.measurements)
    assert np.isfinite(result.scores[0].values).all()


def test_shadows_and_victims_by_different_strategies_make_the_same_promise():
    pytest.importorskip("opacus")
    private = Privacy(epsilon=2.0, trainer="opacus")
    config = small("tmi", privacy=private, victim_strategy="full", shadows=4, victims=2, challenge=20, control=False)
    workshop = Workshop(config, load_supply("tmi", config.data, 0), Host(MemoryStore(), Serial()))
    game = lay_table(workshop)
    assert game.finetune["shadow"].noise == game.finetune["victim"].noise == game.noise


def test_private_finetuning_data_stays_hidden_and_the_row_says_to_which_epsilon():
    pytest.importorskip("dp_accounting")
    config = small("mia", strategy="linear", finetune=PRIVATE, privacy=Privacy(epsilon=1.0))
    row = run("mia", config).find("lira", "auc")
    assert 0.95 < row.epsilon <= 1.0
    assert row.low < 0.5 < row.high


@pytest.mark.slow
def test_the_embedded_default_at_seed_0_shows_what_it_promises():
    """The figures the project promises for its default; five seeds are in docs/results.md."""
    result = run("tmi", preset("tmi", "digits"))
    auc = {m.attack: m.value for m in result.measurements if m.metric == "auc"}
    assert auc["tmi"] >= 0.62
    assert max(auc["tmi-averaged"], auc["tmi-lda"]) >= 0.66
    assert auc["direct-lira"] >= 0.85
    assert auc["confidence"] <= 0.60
    assert {"loss", "margin"} <= auc.keys()
    for row in result.controls:
        if row.metric == "auc":
            assert 0.46 < row.value < 0.54, row
