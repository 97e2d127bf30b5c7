"""What Undertow writes beside the weights makes a folder that transformers, and Undertow itself, read back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from undertow.models.causal_lm import causal_lm
from undertow.models.clip import PREFIX, small_clip
from undertow.rng import stream
from undertow.sources.checkpoints.clip import clip_checkpoint
from undertow.sources.checkpoints.files import write_checkpoint
from undertow.sources.checkpoints.folders import clip_files, lm_files
from undertow.sources.checkpoints.language import checkpoint
from undertow.sources.records.clip_data import SIDE, SMALL
from undertow.sources.records.tokens import own_tokens
from undertow.training.task import to_params

NAMES = ["apple", "lawn_mower", "sea"]
TEXTS = ["Hello, my name is Alice Smith.", "The card of Bob ends in 4929.", "Nothing to see here."]


def write(folder, params, prefix, files):
    stripped = {name.removeprefix(prefix): value for name, value in params.items()}
    write_checkpoint(folder / "model.safetensors", stripped, {})
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture
def language(tmp_path):
    tokens = own_tokens(TEXTS, 300)
    made = causal_lm("gpt2", 32, 1, tokens.size, 24)
    module = made.build((24,), tokens.size)
    write(tmp_path, to_params(module.state_dict()), "model.", lm_files(made, tokens))
    return tmp_path, tokens, module.eval()


def test_transformers_cuts_texts_as_the_model_was_trained_on(language):
    folder, tokens, _ = language
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert [theirs(text)["input_ids"] for text in TEXTS] == tokens.encode(TEXTS)


def test_transformers_answers_as_the_model_that_was_written(language):
    folder, tokens, module = language
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.as_tensor([tokens.encode(TEXTS)[0]])
    padded = torch.nn.functional.pad(ids, (0, 24 - ids.shape[1]))
    with torch.no_grad():
        np.testing.assert_allclose(theirs(ids).logits[0], module(padded)[0].T[: ids.shape[1]], atol=1e-5)


def test_our_own_reader_finds_the_language_model(language):
    folder, tokens, _ = language
    assert checkpoint(str(folder))[2].encode(TEXTS) == tokens.encode(TEXTS)


def test_a_clip_made_here_comes_back_with_its_captions_and_answers(tmp_path):
    made = small_clip(NAMES, SIDE, width=32, depth=1)
    module = made.build((3, SIDE, SIDE), len(NAMES)).eval()
    write(tmp_path, to_params(module.state_dict()), PREFIX, clip_files(made, NAMES, SMALL))
    found = clip_checkpoint(str(tmp_path), NAMES)
    assert found.architecture.captions == made.captions
    assert found.preprocessor == SMALL
    theirs = transformers.CLIPModel.from_pretrained(tmp_path).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path)
    asked = tokens([f"a photo of a {name.replace('_', ' ')}." for name in NAMES], padding=True, return_tensors="pt")
    x = torch.as_tensor(stream(0, "test").normal(size=(2, 3, SIDE, SIDE)), dtype=torch.float32)
    with torch.no_grad():
        logits = theirs(pixel_values=x, input_ids=asked["input_ids"]).logits_per_image
        np.testing.assert_allclose(logits, module(x), atol=1e-4)
