"""Trained language models from their files: safetensors and tokenizer.json, nothing that runs."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from undertow.models.causal_lm import causal_lm
from undertow.sources.checkpoints.language import checkpoint
from undertow.sources.records.stories import stories260k
from undertow.sources.records.tokens import own_tokens, padded
from undertow.texts import next_tokens
from undertow.training.sequential import cross_entropy
from undertow.training.task import load_state, to_params
from undertow.types import BadInput, ConfigError

TEXTS = ["the cat sat on the mat! and the dog sat on the log!", "a dog and a cat! they sat"] * 4
V, L = 270, 16
ARCHITECTURE = causal_lm("gpt2", 16, 1, V, L)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint whose token 0 is a real one and whose end of text is another."""
    module = ARCHITECTURE.build((L,), 0)
    module.model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"eos_token_id": 1}))
    own_tokens(TEXTS, V).tokenizer.save(str(tmp_path / "tokenizer.json"))
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = spec["model"]["vocab"]
    bang = vocabulary["!"]
    vocabulary |= {"!": 0, "<pad>": bang}  # token 0 means "!"
    for token in spec["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    return tmp_path


def test_weights_and_tokens_come_as_they_are(folder):
    architecture, state, tokens = checkpoint(folder)
    module = architecture.build((L,), 0)
    load_state(module, state, torch.float32)
    raw = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(state["model.transformer.wte.weight"], raw["transformer.wte.weight"])
    theirs = tokens.tokenizer.encode("the cat! and").ids
    assert 0 in theirs
    ours = padded(tokens.encode(["the cat! and"]), L)
    assert (ours != 0).sum() == len(theirs)  # the "!" does not end the text
    with torch.no_grad():
        a = module.model(torch.tensor([theirs])).logits.log_softmax(-1)[0]
        b = module(torch.as_tensor(ours)).log_softmax(1)[0]
    after = next_tokens(ours)[0]
    for place, token in enumerate(theirs[1:]):
        assert b[after[place], place] == pytest.approx(float(a[place, token]), abs=1e-5)


def test_tokens_return_as_text(folder):
    tokens = checkpoint(folder)[2]
    ids = padded(tokens.encode(["the cat! and"]), 40)[0]
    assert tokens.decode(ids) == "the cat! and"


def test_shards_are_joined(folder):
    whole = checkpoint(folder)[1]
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    places = {n: f"part-{i % 2}.safetensors" for i, n in enumerate(names)}
    for file in set(places.values()):
        save_file({n: tensors[n] for n in names if places[n] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    for name, value in checkpoint(folder)[1].items():
        np.testing.assert_array_equal(value, whole[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    with pytest.raises(BadInput, match="no safetensors file of its folder"):
        checkpoint(folder)


def test_a_pickle_is_refused_unread(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(BadInput, match=r"pytorch_model.bin, a pickle.*convert it to safetensors") as said:
        checkpoint(folder)
    assert "\n" not in str(said.value)


def test_half_precision_is_trained_as_float32(folder):
    tensors = {n: v.to(torch.bfloat16) for n, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    assert {v.dtype for v in checkpoint(folder)[1].values()} == {np.dtype("float32")}


def test_another_models_tokenizer_is_refused(folder):
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 100}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="tokenizer does not match the model"):
        checkpoint(folder)


def edit(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_code_of_the_checkpoint_never_runs(folder):
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    edit(folder, auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"})
    checkpoint(folder)
    edit(folder, model_type="evil")
    with pytest.raises(ConfigError, match="does not know"):
        checkpoint(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_or_absent_files_are_one_line(folder, file):
    (folder / file).write_text("{ torn")
    with pytest.raises(BadInput, match=file) as said:
        checkpoint(folder)
    assert "\n" not in str(said.value)
    (folder / file).unlink()
    with pytest.raises(BadInput, match=file):
        checkpoint(folder)


def test_stories_are_told_word_for_word(shared_data):
    """Greedy decoding gives the sample of llama2.c's doc/stories260K.md; so the rotation is permuted right."""
    architecture, state, tokens = stories260k(shared_data)
    module = architecture.build((128,), 0)
    load_state(module, state, torch.float32)
    module.eval()
    told = [tokens.begin]
    with torch.no_grad():
        while len(told) < 90:
            told.append(int(module(torch.tensor([told]))[0, :, -1].argmax()))
    assert tokens.decode(np.array(told)).startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw "
        "a big, red ball. She wanted to play with it, but it was too high."
    )


def test_words_of_a_story_merge_as_in_the_whole_text(shared_data):
    tokens = stories260k(shared_data)[2]
    known = {piece: i for i, piece in enumerate(tokens.pieces) if i >= tokens.bytes_from + 256}
    for text in ("Once upon a time,  there was\na café; 12 of them.", "  ", "Lily's dog. ", "the theater then"):
        whole = tokens._merged(" " + text, known)
        assert tokens.encode([text]) == [[tokens.begin, *whole]], text


def test_stories_are_likelier_than_other_english(shared_data):
    architecture, state, tokens = stories260k(shared_data)
    module = architecture.build((64,), 0)
    load_state(module, state, torch.float32)
    texts = ["One day, Tim and his mom went to the park. Tim saw a big dog. The dog was very happy.",
             "Deprecated since version 3.4: use importlib.machinery.ModuleSpec instead of this attribute."]  # fmt: skip
    ids = padded(tokens.encode(texts), 64)
    assert [tokens.decode(row) for row in ids] == [texts[0], tokens.decode(ids[1])]
    with torch.no_grad():
        story, other = (
            float(cross_entropy(module(torch.as_tensor(row[None])), torch.as_tensor(next_tokens(row[None]))))
            for row in ids
        )
    assert story < 2
    assert other > 1.5 * story
    assert to_params(module.state_dict()).keys() == state.keys()
    assert replace(architecture, tied=False).build((64,), 0).load_state_dict(module.state_dict())
