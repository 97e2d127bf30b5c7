"""A trained CLIP from its folder: safetensors only, its own tokens, its own view of images; refusals in one line."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.numpy import load_file, save_file
from tests.sources.records.toy_images import pictures

from undertow.models.clip import caption_texts
from undertow.sources.checkpoints.clip import Preprocessor, clip_checkpoint
from undertow.training.task import load_state
from undertow.types import BadInput, ConfigError

NAMES, TEMPLATES = ("cat", "lawn_mower"), ("a photo of a {name}.", "the {name}.")
WORDS = ["a", "photo", "of", "the", "cat", "lawn", "mower", "."]
LAST = len(WORDS) + 1  # the end token; releases of CLIP say 2 in config.json and mean the highest id


def write(folder, eos=2):
    """A tiny CLIP as transformers saves one, its end token written as in the first releases."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**tower, "vocab_size": LAST + 1, "max_position_embeddings": 12, "eos_token_id": eos},
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({"<s>": 0, **{w: i for i, w in enumerate(WORDS, 1)}, "</s>": LAST}, "a"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", LAST)])
    tokenizer.save(str(folder / "tokenizer.json"))
    content = {"crop_size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.1]}
    (folder / "preprocessor_config.json").write_text(json.dumps({**content, "resample": 3}))
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    return tmp_path


def read(folder):
    return clip_checkpoint(str(folder), NAMES, TEMPLATES)


@pytest.mark.parametrize("eos", [2, LAST])
def test_its_zero_shot_logits_are_those_of_transformers(tmp_path, eos):
    theirs = write(tmp_path, eos)
    found = read(tmp_path)
    ours = found.architecture.build(found.preprocessor.shape, 2).eval()
    load_state(ours, found.params, torch.float32)
    assert caption_texts(NAMES, TEMPLATES)[2] == "a photo of a lawn mower."
    assert found.architecture.captions[2] == (0, 1, 2, 3, 1, 6, 7, 8, LAST)
    assert found.architecture.captions[1] == (0, 4, 5, 8, *[LAST] * 5)
    prompts = torch.tensor([found.architecture.captions[0], found.architecture.captions[2]])
    x = torch.tensor(found.preprocessor(pictures(3, 16)))
    with torch.no_grad():
        expected = theirs(input_ids=prompts, pixel_values=x).logits_per_image
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [16, 12, 20])
def test_images_are_prepared_as_transformers_does(size):
    processor = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_mean=[0.5, 0.4, 0.3]
    )
    ours = Preprocessor(16, (0.5, 0.4, 0.3), tuple(processor.image_std))
    x = np.concatenate([pictures(2, size), pictures(2, size, seed=1)], axis=1)  # twice as high as wide
    np.testing.assert_allclose(ours(x), processor(list(x), return_tensors="np")["pixel_values"], rtol=0, atol=1e-5)
    assert ours(x).shape == (2, *ours.shape)


def test_old_releases_carry_positions_which_are_passed_over(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"text_model.embeddings.position_ids": np.arange(12)[None]}, folder / "model.safetensors")
    assert "clip.logit_scale" in read(folder).params


def test_half_precision_is_read_as_single(folder):
    tensors = {k: v.astype(np.float16) for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    assert {v.dtype for v in read(folder).params.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), r"pickled weights .* never read"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04junk"), "a pickle by content"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "not of a CLIP"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be read as a tokenizer"),
        (lambda f: (f / "preprocessor_config.json").write_text("{}"), "does not say size"),
        (lambda f: save_file({"logit_scale": np.float32([1])}, f / "model.safetensors"), "tensor .* is missing"),
        (lambda f: _change(f, "extra", np.zeros(1, np.float32)), "'extra' is not in the model"),
        (lambda f: _change(f, "logit_scale", np.zeros(3, np.float32)), r"'logit_scale' is float32 \(3,\)"),
    ],
)
def test_what_cannot_be_used_is_one_line(folder, spoil, said):
    spoil(folder)
    with pytest.raises((BadInput, ConfigError), match=said) as error:
        read(folder)
    assert "\n" not in str(error.value)


def _change(folder, name, value):
    save_file(load_file(folder / "model.safetensors") | {name: value}, folder / "model.safetensors")


def test_a_hub_out_of_reach_is_one_line(monkeypatch):
    import huggingface_hub

    def refuse(*_, **asked):
        assert set(asked["allow_patterns"]) == {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "preprocessor_config.json",
        }
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(BadInput, match=r"'nobody/clip' is no folder and cannot be downloaded \(no network\)"):
        clip_checkpoint("nobody/clip", NAMES)
