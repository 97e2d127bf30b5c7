"""Transformers' classifiers from tiny configurations: random starts, one head, only config.json is read."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from torch import nn

from undertow.audits.settings import ModelSettings
from undertow.engine.key import digest
from undertow.models.architecture import head_name, initial_state
from undertow.models.choose import architecture_of
from undertow.models.huggingface import described, huggingface
from undertow.rng import stream
from undertow.training.choose import candidates
from undertow.training.schedule import Fit, own_order
from undertow.training.sequential import sequential
from undertow.training.task import Task, load_state, to_params
from undertow.types import ConfigError, Slot

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "vit": {**TINY, "patch_size": 8, "image_size": 224},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "bert": {**TINY, "vocab_size": 50},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 50},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50, "eos_token_id": 49, "bos_token_id": 49},
}
SHAPES = {"vit": (3, 32, 32), "resnet": (3, 32, 32), "bert": (12,), "distilbert": (12,), "gpt2": (12,)}
HEADS = {"vit": "classifier", "resnet": "classifier.1", "bert": "classifier", "distilbert": "classifier",
         "gpt2": "score"}  # fmt: skip


def write(folder, kind, **more):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **CONFIGS.get(kind, {}), **more}))
    return huggingface(str(folder))


def inputs(kind):
    torch.manual_seed(0)
    return torch.randn(4, 3, 32, 32) if len(SHAPES[kind]) == 3 else torch.randint(1, 48, (4, 12))


@pytest.mark.parametrize("kind", CONFIGS)
def test_forward_is_logits_and_the_head_receives_one_vector_per_record(kind, tmp_path):
    module = write(tmp_path, kind).build(SHAPES[kind], 7).eval()
    head = module.get_submodule(head_name(module))
    assert head_name(module) == "model." + HEADS[kind]
    seen = []
    head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    logits = module(inputs(kind))
    assert logits.shape == (4, 7)
    assert seen[0].shape == (4, 16)
    torch.testing.assert_close(head(seen[0]), logits)


@pytest.mark.parametrize("kind", CONFIGS)
def test_starts_are_independent_and_decided_by_their_seed(kind, tmp_path):
    architecture = write(tmp_path, kind)
    one, again, other = (initial_state(architecture, SHAPES[kind], 7, seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    head = f"model.{HEADS[kind]}.weight"
    assert not torch.equal(one[head], other[head])


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2"])
def test_padding_is_not_looked_at(kind, tmp_path):
    module = write(tmp_path, kind).build(SHAPES[kind], 3).eval()
    long = inputs(kind)
    long[:, 8:] = module.padding
    torch.testing.assert_close(module(long), module(long[:, :8]), atol=1e-6, rtol=1e-5)


def test_a_decoder_answers_as_transformers_does(tmp_path):
    module = write(tmp_path, "gpt2", pad_token_id=0).build((12,), 3).eval()
    x = inputs("gpt2")
    x[1, 5:], x[2, 1:] = 0, 0
    theirs = module.model(input_ids=x, attention_mask=(x != 0).long()).logits
    torch.testing.assert_close(module(x), theirs)


@pytest.mark.parametrize("kind", ["vit", "gpt2"])
def test_a_classifier_is_trained_one_by_one(kind, tmp_path):
    architecture, shape = write(tmp_path, kind), SHAPES[kind]
    states = [to_params(initial_state(architecture, shape, 2, 0))]
    slot, fit = Slot("shadow", 0, 0, None), Fit(epochs=8, batch=4, optimizer="adamw", lr=0.01)
    schedule = own_order(fit, "test", [slot], [np.arange(4)])
    y = torch.tensor([0, 1, 0, 1])
    noise = [lambda: stream(0, "none")]
    task = Task(architecture.build(shape, 2), states, inputs(kind), y, schedule, fit, noise, [0])
    assert candidates(task) == ["sequential"]
    load_state(task.module, sequential(task)[0], task.dtype)
    assert (task.module.eval()(task.x).argmax(-1) == y).all()


def test_the_content_decides_the_key_and_the_place_does_not(tmp_path):
    a, moved = write(tmp_path / "a", "vit"), write(tmp_path / "b", "vit")
    edited = write(tmp_path / "a", "vit", hidden_size=32)
    assert digest(a) == digest(moved) != digest(edited)
    assert architecture_of(ModelSettings(kind="huggingface", checkpoint=str(tmp_path / "a"))) == edited


def test_code_in_the_folder_is_never_run(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')\n")
    remote = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"}
    assert isinstance(write(tmp_path, "vit", auto_map=remote).build((3, 32, 32), 2), nn.Module)
    with pytest.raises(ConfigError, match="does not know"):
        write(tmp_path, "evil", auto_map=remote)


def test_what_cannot_be_built_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match=r"no readable config\.json"):
        huggingface(str(tmp_path))
    vit, bert = write(tmp_path / "vit", "vit"), write(tmp_path / "bert", "bert", max_position_embeddings=8)
    for architecture, shape, says in [
        (vit, (12,), "is a vit and needs images"),
        (bert, (3, 32, 32), r"is a bert and needs token ids \(L,\)"),
        (vit, (3, 30, 32), "patches of 8 pixels, which 30x32 images do not fill"),
        (bert, (12,), "reads 8 tokens, but the records have 12"),
        (write(tmp_path / "t5", "clap"), (12,), "no image or text classifier"),
    ]:
        with pytest.raises(ConfigError, match=says):
            architecture.build(shape, 2)


@pytest.mark.parametrize("kind", ["vit", "bert", "gpt2"])
def test_a_checkpoint_is_loaded_into_its_architecture(tmp_path, kind):
    architecture = write(tmp_path / kind, kind)
    source = architecture.build(SHAPES[kind], 3)
    params = {name.removeprefix("model."): value.numpy() for name, value in source.state_dict().items()}
    loaded = architecture.loaded(params, SHAPES[kind], 5)
    head = f"{head_name(loaded)}."
    for name, value in loaded.state_dict().items():
        if not name.startswith(head):
            assert torch.equal(value, source.state_dict()[name]), name
    assert loaded(torch.zeros((2, *SHAPES[kind]), dtype=torch.float32 if kind == "vit" else torch.int64)).shape == (
        2,
        5,
    )


def test_weights_of_something_else_are_refused(tmp_path):
    architecture = write(tmp_path / "bert", "bert")
    for odd in ({"w": np.zeros((2, 2), np.float32)}, {"encoder.layer.0.output.dense.weight": np.zeros(3, np.float32)}):
        with pytest.raises(ConfigError, match="not of the bert"):
            architecture.loaded(odd, (12,), 2)


def test_roberta_reads_its_full_length_and_no_more():
    """Its positions begin behind the pad: of 20 that it has, 18 are there for tokens."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = {"model_type": "roberta", "vocab_size": 30, "max_position_embeddings": 20, "pad_token_id": 1, **sizes}
    architecture = described(config)
    model = architecture.build((18,), 2)
    assert model(torch.full((2, 18), 5)).shape == (2, 2)
    with pytest.raises(ConfigError, match=r"reads 18 tokens, but the records have 19; set data\.context = 18"):
        architecture.build((19,), 2)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_with_a_decoder_is_refused(kind):
    sizes = {"d_model": 8, "vocab_size": 30, "d_ff": 8, "d_kv": 4, "num_layers": 1, "num_heads": 2, "encoder_layers": 1,
             "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2}  # fmt: skip
    with pytest.raises(ConfigError, match=f"is a {kind}, an encoder with a decoder"):
        described({"model_type": kind, **sizes}).build((8,), 2)
