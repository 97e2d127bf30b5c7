"""A user's own texts in the membership audits: any format, one tokenizer that the audited texts do not shape."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow.audits.settings import DataSettings, ModelSettings
from undertow.models.huggingface import described
from undertow.rng import stream
from undertow.sources.records.datasets import load_supply
from undertow.sources.records.tokens import own_tokens
from undertow.types import BadInput, ConfigError

TEXT = ModelSettings(kind="transformer")
WORDS = ["red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "sings", "now", "here", "there"]


def sentences(who, count):
    rng = stream(0, who)
    return [" ".join(rng.choice(WORDS, 6)) + f" {who}{i}" for i in range(count)]


@pytest.fixture
def folder(tmp_path):
    """Texts to pretrain on, and labelled ones to finetune on, in two formats."""
    rows = [{"text": text} for text in sentences("base", 20)]
    (tmp_path / "pretrain.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [f"{text};{'yes' if i % 2 else 'no'}" for i, text in enumerate(sentences("own", 12))]
    (tmp_path / "finetune.csv").write_text("\n".join(["text;label", *lines]))
    return tmp_path


def settings(folder, **more):
    return DataSettings(source=str(folder), vocabulary=300, context=16, **more)


def test_the_texts_of_both_audits(folder):
    tmi = load_supply("tmi", settings(folder), 0, TEXT)
    assert tmi.secret.of_tokens  # a language model is pretrained on what has no labels
    assert (tmi.secret.x.shape, set(tmi.other.y), tmi.ids[0]) == ((20, 16), {0, 1}, "line-1")
    mia = load_supply("mia", settings(folder), 0, TEXT)
    assert (len(mia.secret), mia.secret.y.ndim, mia.ids[0]) == (12, 1, "line-2")
    assert any("no = 0, yes = 1" in note for note in mia.notes)


def test_the_tokenizer_knows_nothing_of_the_audited_texts(folder):
    before = load_supply("mia", settings(folder), 0, TEXT).other.x
    text = (folder / "finetune.csv").read_text()
    (folder / "finetune.csv").write_text(text.replace("cat", "zyzzyva"))
    np.testing.assert_array_equal(load_supply("mia", settings(folder), 0, TEXT).other.x, before)


def test_what_is_missing_is_named(folder):
    with pytest.raises(ConfigError, match=r"holds texts, which model\.kind = 'mlp' cannot read"):
        load_supply("mia", settings(folder), 0)
    (folder / "finetune.csv").write_text("text;kind\na b;1\nc d;2\n")
    with pytest.raises(BadInput, match="field 'label', the class of each text, is missing; it has text, kind"):
        load_supply("mia", settings(folder), 0, TEXT)
    (folder / "finetune.jsonl").write_text('{"text": "a", "label": 1}')
    with pytest.raises(BadInput, match=r"holds finetune.csv and finetune.jsonl; keep one"):
        load_supply("mia", settings(folder), 0, TEXT)
    (folder / "finetune.jsonl").unlink()
    (folder / "finetune.csv").unlink()
    with pytest.raises(BadInput, match=r"finetune.jsonl \(or .csv, .parquet, ...\) is missing"):
        load_supply("tmi", settings(folder), 0, TEXT)


def test_a_checkpoint_brings_its_tokenizer_and_its_pad(folder):
    """Of a model whose pad is not 0, the pad and 0 change places, and the model sees its own ids."""
    import torch

    checkpoint = folder / "model"
    checkpoint.mkdir()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = {"model_type": "roberta", "vocab_size": 300, "max_position_embeddings": 18, "pad_token_id": 1, **sizes}
    (checkpoint / "config.json").write_text(json.dumps(config))
    own_tokens(sentences("base", 20), 300).tokenizer.save(str(checkpoint / "tokenizer.json"))
    model = ModelSettings(kind="huggingface", checkpoint=str(checkpoint))
    supply = load_supply("mia", settings(folder), 0, model)
    assert supply.secret.x.shape == (12, 16)
    plain = described(config)
    swapped = replace(plain, exchange=1)
    torch.manual_seed(0)
    first = plain.build((16,), 2).eval()
    torch.manual_seed(0)
    second = swapped.build((16,), 2).eval()
    ids = torch.as_tensor(supply.secret.x)
    own = torch.where(ids == 0, 1, torch.where(ids == 1, 0, ids))
    torch.testing.assert_close(second(ids), first(own), rtol=0, atol=0)


def test_mia_of_texts_runs_from_the_command_line(folder):
    from typer.testing import CliRunner

    from undertow.cli import app

    (folder / "c.toml").write_text(
        "shadows = 4\nvictims = 1\nviews = 2\nattacks = ['loss', 'blind']\n[data]\ncontext = 16\nvocabulary = 300\n"
        "[pretrain]\nepochs = 1\n[finetune]\nepochs = 1\n[model]\nwidth = 16\ndepth = 1\n"
    )
    done = CliRunner().invoke(
        app, ["audit", "mia", "--config", str(folder / "c.toml"), "--data", str(folder), "--out", str(folder / "run")]
    )
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "run" / "result.json").read_text())["data"]["labels"] == {
        "finetune": {"no": 0, "yes": 1}
    }
