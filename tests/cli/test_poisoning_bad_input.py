"""What the poisoning audit is given and must not take: one line on stderr, exit 2, nothing of it executed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")
from tests.audits.poisoning.poison_games import letters, prose, write_jsonl

from undertow.cli import app
from undertow.models.causal_lm import causal_lm
from undertow.sources.records.tokens import own_tokens

TINY_DIGITS = """
models = 6
[data]
points = 24
targets = 12
[model]
hidden = [16]
[pretrain]
epochs = 1
[poison]
steps = 4
batch = 8
lr = {lr}
[finetune]
epochs = 1
[engine]
name = "sequential"
"""


def refused(*arguments):
    """What the command says; it must exit 2 with one line on stderr and nothing on stdout."""
    done = CliRunner().invoke(app, ["audit", "poisoning", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert (done.exit_code, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def lm(tmp_path):
    """A language model of somebody's, with its tokenizer."""
    folder = tmp_path / "model"
    causal_lm("gpt2", 16, 1, 300, 16).build((16,), 0).model.save_pretrained(folder)
    own_tokens([prose(60), "zebra " * 99], 300).tokenizer.save(str(folder / "tokenizer.json"))
    edit(folder, pad_token_id=0)
    return folder


def edit(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.fixture
def data(tmp_path):
    """Options: the user's own texts, and ordinary ones."""

    def options(texts=None, ordinary=None):
        own = write_jsonl(tmp_path / "own.jsonl", letters(40) if texts is None else texts)
        (tmp_path / "prose.txt").write_text(prose(100) if ordinary is None else ordinary)
        config = tmp_path / "c.toml"
        sizes = "points = 20\ntargets = 10\npublic = 0\ncontext = 16\nvocabulary = 300\n"
        config.write_text(f'[data]\nauxiliary = "{tmp_path / "prose.txt"}"\n{sizes}')
        return ["--data", own, "--config", config, "--out", tmp_path / "run"]

    return options


def test_a_tokenizer_of_another_model(lm, data, tmp_path):
    edit(lm, vocab_size=120)
    said = refused("--checkpoint", lm, *data())
    assert "the tokenizer does not match the model" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["<pad>", "<pad><pad><pad>", "<pad> then more"])
@pytest.mark.parametrize("judged", [True, False])
def test_texts_that_are_all_padding(lm, data, tmp_path, text, judged):
    checkpoint = ["--checkpoint", lm] if judged else []
    said = refused(*checkpoint, *data([*letters(19), text, *letters(40)[20:]]))
    assert "line-20 has fewer than two tokens, so none to predict" in said
    assert not (tmp_path / "run").exists()


def test_texts_of_one_token(lm, data):
    said = refused("--checkpoint", lm, *data([*letters(40), "zebra"]))
    assert "line-41 has fewer than two tokens, so none to predict" in said


def test_texts_that_are_all_blank(lm, data):
    assert "own: no texts" in refused("--checkpoint", lm, *data(["", "  ", "\n"]))


def test_code_beside_the_weights(lm, data, tmp_path):
    (lm / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    edit(lm, model_type="evil", auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"})
    assert "does not know" in refused("--checkpoint", lm, *data())
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_pickled_weights(lm, data, tmp_path):
    (lm / "model.safetensors").unlink()
    (lm / "pytorch_model.bin").write_bytes(f"cposix\nsystem\n(Vtouch {tmp_path / 'ran'}\ntR.".encode())
    assert "pytorch_model.bin, a pickle" in refused("--checkpoint", lm, *data())
    (lm / "config.json").unlink()
    assert "pickle" in refused("--checkpoint", lm, *data())
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_place_of_digits(tmp_path):
    (tmp_path / "m.bin").write_bytes(b"\x80\x04.")
    assert "pickle" in refused("--checkpoint", tmp_path / "m.bin", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_targets_that_are_in_ordinary_text(data, tmp_path):
    texts = letters(40)
    said = refused(*data(texts, prose(100) + "\n\nbefore that, " + texts[4] + " and more words after it, as in a book"))
    assert "candidates (line-5) are also in prose.txt" in said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_is_nowhere(data, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def absent(*arguments, **options):
        raise OSError("no such repository\nsecond line")

    monkeypatch.setattr(hub, "snapshot_download", absent)
    said = refused("--checkpoint", "nobody/nothing", *data())
    assert "'nobody/nothing' is no folder here and cannot be downloaded (no such repository)" in said


def test_too_many_candidates(data, lm):
    said = refused("--checkpoint", lm, *data(letters(3)[:1]))
    assert "data.points = 0" in said


def test_weights_of_another_shape(lm, data):
    edit(lm, n_embd=32)
    assert "missing or of another shape" in refused("--checkpoint", lm, *data())


def test_weights_that_are_not_finite(lm, data):
    from safetensors.numpy import load_file, save_file

    state = load_file(lm / "model.safetensors")
    state["transformer.ln_f.bias"][0] = np.nan
    save_file(state, lm / "model.safetensors")
    said = refused("--checkpoint", lm, "--models", 6, *data())
    assert "finite" in said or "NaN" in said


def test_poisoning_that_diverges_keeps_what_was_good(tmp_path):
    (tmp_path / "c.toml").write_text(TINY_DIGITS.format(lr="1e30"))
    said = refused("--config", tmp_path / "c.toml", "--out", tmp_path / "run")
    assert "poisoning diverged at step" in said
    assert "lower poison.lr" in said
    key = said.split("in the store as ")[1][:12]
    (kept,) = (tmp_path / "run" / "store").glob(f"*/{key}*.safetensors")
    from safetensors.numpy import load_file

    assert all(np.isfinite(value).all() for value in load_file(kept).values())
    (tmp_path / "c.toml").write_text(TINY_DIGITS.format(lr="1e-3"))
    done = CliRunner().invoke(
        app, ["audit", "poisoning", "--config", str(tmp_path / "c.toml"), "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 0, done.stderr
    assert "finetuned: all weights; seen: the probability of every class or token" in " ".join(done.stdout.split())
    assert "Recipe(" not in done.stdout + (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("models = 4", "models = 4; it must be even and at least 6"),
        ("[data]\ntargets = 1", "data.targets = 1"),
        ("[poison]\ntarget_weight = 2.0", "poison.target_weight = 2.0"),
        ("[poison]\nweight = 0.2", "weight"),
        ("[model]\ncheckpoint = 'x'", "model.checkpoint is of a language model or a CLIP"),
        ("views = ['watermark']", "'watermark' is of texts: it needs a language model"),
        ("recipes = ['full', 'neftune']", "'neftune' is of texts"),
        ("sweep = 'poison.direction'\nsweep_values = [1.0]", "name a number"),
    ],
)
def test_a_configuration_that_means_nothing(tmp_path, changes, says):
    (tmp_path / "c.toml").write_text(changes + "\n")
    assert says in refused("--config", tmp_path / "c.toml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
