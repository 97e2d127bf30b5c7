"""Data traps in vision transformers and BERT through the audit; what the victim's recipe does to the reading."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sklearn")

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import DIVERGED, Table, audit_datatrap, experiment
from undertow.audits.datatrap.kit_gpt2 import exchanged
from undertow.audits.datatrap.presets import preset
from undertow.audits.datatrap.rows import FROZEN
from undertow.audits.datatrap.settings import TrapModel
from undertow.engine.executor import Serial
from undertow.rng import stream
from undertow.sources.checkpoints.trap_key import read_key, write_key
from undertow.sources.records.trap_source import trap_source
from undertow.stages.finetune import Finetune
from undertow.storage.store import MemoryStore
from undertow.traps import plant
from undertow.types import BadInput, ConfigError

MLP = preset("digits-mlp")
MLP = replace(
    MLP,
    model=TrapModel(hidden=(256, 64)),
    traps=replace(MLP.traps, count=16),
    pretrain=replace(MLP.pretrain, epochs=5),
    finetune=replace(MLP.finetune, epochs=2),
)
VIT = preset("vit-image")
VIT = replace(
    VIT,
    data=replace(VIT.data, auxiliary=500, victim=400),
    model=replace(VIT.model, depth=4),
    pretrain=replace(VIT.pretrain, epochs=2),
    traps=replace(VIT.traps, count=8),
    finetune=replace(VIT.finetune, epochs=2),
)


def played(config):
    load, base = trap_source(config)
    return experiment(config, load(config.seed), Host(MemoryStore(), Serial()), base)


def value(run, metric, group=None):
    return next(m.value for m in run.rows if (m.metric, m.group) == (metric, group))


@pytest.fixture(scope="module")
def vit():
    return played(VIT)


@pytest.mark.slow
def test_a_vit_keeps_whole_images(vit):
    assert value(vit, "captured_exact") >= 3
    held = vit.judged.captures
    truth = vit.judged.truth[held.nearest[held.exact]]
    assert np.allclose(vit.judged.candidates.values[held.exact, 0], truth, atol=0.0125)
    assert vit.judged.picture == (8, 8)
    assert truth.min() >= 0
    assert value(vit, "ssim") > 0.5


@pytest.mark.slow
def test_nothing_is_read_off_the_clean_twin(vit):
    assert value(vit, "accepted", "clean_twin") == 0


@pytest.mark.slow
def test_its_key_reads_back_and_plants_the_same(vit, tmp_path):
    write_key(tmp_path / "key.safetensors", vit.trap)
    again = read_key(tmp_path / "key.safetensors")
    assert again.room == vit.trap.room
    assert (again.baits.directions == vit.trap.baits.directions).all()
    planted = plant(vit.planted, again)  # planting is idempotent
    assert all((planted[name] == vit.planted[name]).all() for name in vit.planted)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny BERT with its tokenizer, and 500 labelled texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(146))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=150, hidden_size=96, num_hidden_layers=3, num_attention_heads=6, intermediate_size=192,
        max_position_embeddings=32, initializer_range=0.05,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    write_texts(folder / "texts.jsonl", 146)
    return folder


def write_texts(path, words):
    """700 labelled texts of these words, by Zipf's law."""
    rng = stream(0, "texts")
    odds = 1 / np.arange(1, words + 1)
    lines = []
    for _ in range(700):
        text = " ".join(f"w{i}" for i in rng.choice(words, rng.integers(4, 9), p=odds / odds.sum()))
        lines.append(json.dumps({"text": text, "label": f"class {rng.integers(3)}"}))
    path.write_text("\n".join(lines))


def bert(folder, **changes):
    config = preset("bert")
    data = replace(config.data, source=str(folder / "texts.jsonl"), auxiliary=400, victim=200, test=50, tokens=12)
    traps, model = replace(config.traps, count=4), replace(config.model, checkpoint=str(folder))
    return replace(config, data=data, traps=traps, model=model, **changes)


def test_a_bert_keeps_texts_token_by_token(checkpoint):
    run = played(bert(checkpoint))
    assert value(run, "captured_exact") >= 1
    assert value(run, "token_accuracy") >= 0.9
    assert 0.5 < value(run, "rouge_l") <= 1
    assert value(run, "accepted", "clean_twin") == 0
    held = run.judged.captures
    read = run.judged.candidates.values[held.exact, 0]
    assert (read == run.judged.truth[held.nearest[held.exact]]).all()
    assert "before" not in {m.when for m in run.rows}  # it has no head of its own


def test_a_bert_is_not_made_here(checkpoint):
    with pytest.raises(ConfigError, match=r"needs model\.checkpoint"):
        trap_source(replace(bert(checkpoint), model=TrapModel(kind="bert")))
    with pytest.raises(ConfigError, match="is a bert, not a vit"):
        trap_source(replace(VIT, model=replace(VIT.model, checkpoint=str(checkpoint))))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A tiny GPT-2 with its tokenizer, whose padding is its last token, and 700 labelled texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("gpt2")
    words = [*(f"w{i}" for i in range(149)), "<|endoftext|>"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=150, n_positions=32, n_embd=256, n_layer=3, n_head=8, bos_token_id=149, eos_token_id=149
    )
    transformers.GPT2Model(config).save_pretrained(folder)
    write_texts(folder / "texts.jsonl", 149)
    return folder


def gpt2(folder, **changes):
    config = preset("gpt2")
    data = replace(config.data, source=str(folder / "texts.jsonl"), auxiliary=400, victim=240, test=50, tokens=12)
    model = replace(config.model, checkpoint=str(folder))
    return replace(config, data=data, traps=replace(config.traps, count=8), model=model, **changes)


def test_a_gpt2_keeps_the_beginnings_of_texts(decoder):
    run = played(gpt2(decoder))
    held = run.judged.captures
    assert value(run, "captured_exact") >= 2
    assert value(run, "token_accuracy") >= 0.9
    assert value(run, "accepted_precision") >= 0.9
    assert value(run, "accepted", "clean_twin") == 0
    assert run.judged.truth.shape[1] == 8  # as many tokens as heads
    read = run.judged.candidates.values[held.exact, 0]
    assert (read == run.judged.truth[held.nearest[held.exact]]).all()
    assert "before" not in {m.when for m in run.rows}


def test_a_gpt2s_words_are_those_of_its_tokenizer(decoder):
    """Ids are the model's own, padded with its end token; what is shown has 0 for the pad."""
    config = gpt2(decoder)
    load, base = trap_source(config)
    supply = load(0)
    lines = [json.loads(line)["text"] for line in (decoder / "texts.jsonl").read_text().split("\n")]
    text = lines[int(supply.ids[0].split("-")[-1])].split()
    assert [f"w{i}" for i in supply.victim.x[0][: len(text)]] == text
    assert (supply.victim.x[0][len(text) :] == 149).all()
    table = Table(config, supply, Host(MemoryStore(), Serial()), base)
    trap = table.kit.plant.trap(table.slot("base"), table.given, table.host.store)
    assert (trap.pad, trap.heads) == (149, 8)
    shown = exchanged(supply.victim.x[0], 149)
    assert [supply.words[i] for i in shown[: len(text)]] == text
    assert (shown[len(text) :] == 0).all()
    assert json.loads(base.architecture.config)["attn_pdrop"] == 0


def test_a_gpt2_is_made_here_where_none_is_given(decoder):
    small = replace(gpt2(decoder), model=TrapModel(kind="gpt2", width=256, depth=2))
    load, base = trap_source(small)
    assert base.params is None
    Table(small, load(0), Host(MemoryStore(), Serial()), base).check()
    narrow = replace(small, model=TrapModel(kind="gpt2", width=64, depth=2))
    load, base = trap_source(narrow)
    with pytest.raises(BadInput, match="no room"):
        Table(narrow, load(0), Host(MemoryStore(), Serial()), base).check()
    with pytest.raises(ConfigError, match="is a gpt2, not a bert"):
        trap_source(replace(bert(decoder), model=TrapModel(kind="bert", checkpoint=str(decoder))))


@pytest.mark.parametrize(
    ("line", "said"), [('{"text": "a"}', "line 1: field 'label' is missing"), ("no json", "line 1: no JSON")]
)
def test_texts_that_cannot_be_read_are_named(checkpoint, tmp_path, line, said):
    (tmp_path / "bad.jsonl").write_text(line)
    config = bert(checkpoint)
    load, _ = trap_source(replace(config, data=replace(config.data, source=str(tmp_path / "bad.jsonl"))))
    with pytest.raises(BadInput, match=said):
        load(0)


def test_clipping_hinders_traps_that_were_not_made_for_it():
    long, short = (played(replace(MLP, clip=1.0, traps=replace(MLP.traps, rows=rows))) for rows in (4.0, 0.03))
    assert value(short, "captured_exact") >= 8 > value(long, "captured_exact")
    held = short.judged.captures
    truth = short.judged.truth[held.nearest[held.exact]]
    assert np.allclose(short.judged.candidates.values[held.exact, 0], truth, atol=1e-4)


def test_where_the_layer_is_frozen_nothing_is_captured():
    run = played(replace(MLP, strategy="linear"))
    assert value(run, "captured_exact") == value(run, "accepted") == 0
    assert {m.warning for m in run.rows if m.metric == "none"} == {FROZEN}


DEEP = replace(
    MLP, model=TrapModel(hidden=(256, 128, 64)), strategy="last-k", traps=replace(MLP.traps, layer=1)
)  # fmt: skip


def test_a_deeper_layer_gives_the_records_away_not_its_features():
    run = played(DEEP)
    held = run.judged.captures
    assert value(run, "captured_exact") >= 8
    assert value(run, "accepted_precision") == 1
    assert value(run, "accepted", "clean_twin") == 0
    assert run.judged.truth.shape[1] == 64
    assert np.allclose(
        run.judged.candidates.values[held.exact, 0], run.judged.truth[held.nearest[held.exact]], atol=1e-4
    )


LORA = replace(MLP, strategy="lora", lora_rank=64, traps=replace(MLP.traps, slope=300.0, rows=1.4))


@pytest.fixture(scope="module")
def adapted():
    pytest.importorskip("peft")
    return played(LORA)


def test_lora_gives_records_away_approximately(adapted):
    assert value(adapted, "captured_exact") == 0
    assert value(adapted, "identified") >= 4 > value(adapted, "identified_blind")
    assert value(adapted, "accepted", "clean_twin") == 0
    held, values = adapted.judged.captures, adapted.judged.candidates.values[:, 0]
    truth = adapted.judged.truth[held.nearest[held.right]]
    assert np.abs(values[held.right] - truth).mean() < 0.1


def test_the_key_of_lora_reads_back(adapted, tmp_path):
    write_key(tmp_path / "key.safetensors", adapted.trap)
    again = read_key(tmp_path / "key.safetensors")
    assert (again.covariance == adapted.trap.covariance).all()
    assert (again.dense.units == adapted.trap.dense.units).all()


def test_what_lora_leaves_is_what_it_would_have_merged():
    pytest.importorskip("peft")
    tables = [Table(config, trap_source(config)[0](0), Host(MemoryStore(), Serial())) for config in (LORA, LORA)]
    adapted, plain = tables
    fit = adapted.kit.finetune
    whole = Finetune(**{f.name: getattr(fit, f.name) for f in fields(fit)})
    merged = adapted.host.store.get(adapted.model(adapted.finetuned(adapted.clean())))
    other = plain.host.store.get(plain.play([whole], "victim", plain.clean())[0])
    assert merged.keys() == other.keys()
    assert all((merged[name] == other[name]).all() for name in merged)


def test_lora_that_diverges_is_a_result():
    pytest.importorskip("peft")
    run = played(replace(LORA, finetune=replace(LORA.finetune, lr=1e6)))
    assert value(run, "none") == 16
    assert value(run, "identified") == 0
    assert (run.judged.candidates.reasons == DIVERGED).all()


def test_the_head_has_its_own_step_size():
    supply = trap_source(MLP)[0](0)
    slow, fast = (Table(replace(MLP, head_rate=rate), supply, Host(MemoryStore(), Serial())) for rate in (1.0, 2.0))
    assert slow.kit.finetune != fast.kit.finetune
    key = slow.clean()
    one, other = (t.host.store.get(t.play([t.kit.finetune], "victim", fast.clean())[0]) for t in (slow, fast))
    assert key == fast.clean()
    assert not np.allclose(one["5.weight"], other["5.weight"])


@pytest.mark.slow
def test_a_vit_that_diverges_is_a_result():
    load, base = trap_source(VIT)
    result, runs = audit_datatrap(
        replace(VIT, finetune=replace(VIT.finetune, lr=1e30)), load, Host(MemoryStore(), Serial()), base
    )
    assert result.find("datatrap", "captured_exact", seed=0).value == 0
    assert (runs[0].judged.candidates.reasons == DIVERGED).all()
