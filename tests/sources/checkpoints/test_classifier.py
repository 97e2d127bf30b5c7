"""Image and text classifiers and embedding models as suspects: read as transformers does, or refused in one line."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sklearn")

from safetensors.torch import load_file, save_file

from undertow.rng import stream
from undertow.sources.checkpoints.classifier import kind_of
from undertow.sources.checkpoints.judged import Suspect, load_judged
from undertow.sources.records.tokens import own_tokens
from undertow.types import AuditError
from undertow.workflows.audit import Given
from undertow.workflows.poisoning import configure

SIDE, SEED = 8, 3
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
          "image_size": SIDE, "patch_size": 4, "num_channels": 3}  # fmt: skip
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 300,
        "max_position_embeddings": 20}  # fmt: skip
IMAGES = {
    "vit": ("ViTConfig", "ViTForImageClassification", VISION),
    "convnext": ("ConvNextConfig", "ConvNextForImageClassification",
                 {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "num_channels": 3}),
    "siglip": ("SiglipConfig", "SiglipForImageClassification", {"vision_config": VISION, "text_config": TEXT}),
}  # fmt: skip
TEXTS = {
    "bert": ("BertConfig", "BertForSequenceClassification", {**TEXT, "pad_token_id": 0}),
    "roberta": ("RobertaConfig", "RobertaForSequenceClassification", {**TEXT, "pad_token_id": 1}),
    "llama": ("LlamaConfig", "LlamaForSequenceClassification", {**TEXT, "pad_token_id": 0}),
}
WORDS = ["red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "sings", "now", "here", "there"]


def saved(folder, config, kind, values, labels=("a", "b", "c"), seed=0):
    """A checkpoint as transformers saves it."""
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(getattr(transformers, config)(**values, **names))
    model.save_pretrained(folder)
    return model.eval()


def images(path, count, seed=0, labels=("a", "b", "c"), x=None):
    rng = stream(seed, "images")
    x = rng.normal(size=(count, 3, SIDE, SIDE)).astype(np.float32) if x is None else x
    np.savez(path, x=x, y=np.array(labels)[np.arange(count) % len(labels)])
    return str(path)


def texts(path, count, seed=0, labels=("a", "b", "c")):
    rng = stream(seed, "texts")
    rows = [{"text": " ".join(rng.choice(WORDS, 9)), "label": labels[i % len(labels)]} for i in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def judged(tmp_path, source, like="", reference="", checkpoint="suspect"):
    suspect = Suspect(str(tmp_path / checkpoint), str(tmp_path / reference) if reference else "", like)
    return load_judged(configure(Given(None, {"seed": SEED}, {"data": {"source": source}}), suspect), suspect)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_classifier_is_read_with_its_own_head(tmp_path, name):
    model = saved(tmp_path / "suspect", *IMAGES[name])
    saved(tmp_path / "reference", *IMAGES[name], seed=1)
    found = judged(tmp_path, images(tmp_path / "mine.npz", 60, labels=("c", "a", "b")),
                   images(tmp_path / "like.npz", 30, 1), "reference")  # fmt: skip
    assert (found.config.model.kind, found.supply.classes, found.supply.targets) == ("image-classifier", 3, 40)
    assert found.reference.keys() == found.base.params.keys()
    assert found.supply.labels == {"a": 0, "b": 1, "c": 2}
    module = found.base.architecture.build((3, SIDE, SIDE), 3).eval()
    module.load_state_dict({n: torch.as_tensor(v) for n, v in found.base.params.items()})
    x = torch.as_tensor(found.supply.candidates.x[:4])
    with torch.no_grad():
        torch.testing.assert_close(module(x), model(pixel_values=x).logits)
    assert any("own head of 3 classes is kept" in note for note in found.supply.notes)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_classifier_is_read_with_its_own_tokens(tmp_path, name):
    model = saved(tmp_path / "suspect", *TEXTS[name])
    tokens = own_tokens([" ".join(WORDS)] * 4, 300).tokenizer
    tokens.save(str(tmp_path / "suspect" / "tokenizer.json"))
    assert kind_of(tmp_path / "suspect") == "texts"
    found = judged(tmp_path, texts(tmp_path / "mine.jsonl", 60), texts(tmp_path / "like.jsonl", 30, 1))
    assert (found.config.model.kind, found.supply.classes) == ("text-classifier", 3)
    pad = TEXTS[name][2]["pad_token_id"]
    longest = 20 if name != "roberta" else 18
    assert found.supply.candidates.x.shape[1] == longest
    module = found.base.architecture.build((longest,), 3).eval()
    module.load_state_dict({n: torch.as_tensor(v) for n, v in found.base.params.items()})
    ours = torch.as_tensor(found.supply.candidates.x[:4])
    theirs = torch.where(ours == 0, pad, torch.where(ours == pad, 0, ours))
    with torch.no_grad():
        own = model(input_ids=theirs, attention_mask=(theirs != pad).long()).logits
        torch.testing.assert_close(module(ours), own, rtol=1e-4, atol=1e-5)


def test_an_embedding_model_and_other_classes_get_one_fresh_head(tmp_path):
    for seed, folder in enumerate(("suspect", "reference")):
        torch.manual_seed(seed)
        transformers.ViTModel(transformers.ViTConfig(**VISION)).save_pretrained(tmp_path / folder)
    found = judged(tmp_path, images(tmp_path / "mine.npz", 60, labels=("u", "v")), reference="reference")
    head = [name for name in found.base.params if "classifier" in name]
    assert head
    assert found.supply.classes == 2
    for name in head:
        np.testing.assert_array_equal(found.base.params[name], found.reference[name])
    assert any("A fresh head of 2 classes" in note for note in found.supply.notes)
    body = next(name for name in found.base.params if name.endswith("query.weight") or "q_proj" in name)
    assert not np.array_equal(found.base.params[body], found.reference[body])


def test_bytes_are_prepared_as_the_checkpoint_says(tmp_path):
    saved(tmp_path / "suspect", *IMAGES["vit"])
    look = {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "suspect" / "preprocessor_config.json").write_text(json.dumps(look))
    raw = stream(0, "bytes").integers(0, 256, (60, SIDE, SIDE, 3)).astype(np.uint8)
    found = judged(tmp_path, images(tmp_path / "mine.npz", 60, x=raw))
    rows = [int(name.rpartition("-")[2]) for name in found.supply.ids[:5]]
    wanted = (raw[rows] / 255 - look["image_mean"]) / look["image_std"]
    np.testing.assert_allclose(found.supply.candidates.x[:5], wanted.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def refused(tmp_path, *arguments, **more):
    with pytest.raises(AuditError) as caught:
        judged(tmp_path, *arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_judged_is_one_true_line(tmp_path):
    saved(tmp_path / "suspect", *IMAGES["vit"])
    mine = images(tmp_path / "mine.npz", 60)
    assert "is a model of images; give --data mine.npz" in refused(tmp_path, texts(tmp_path / "t.jsonl", 60))
    small = images(tmp_path / "small.npz", 60, x=np.zeros((60, 3, 12, 12), np.float32))
    assert "the images are 12 x 12, but --checkpoint" in refused(tmp_path, small)
    flat = images(tmp_path / "flat.npz", 60, x=np.zeros((60, 7), np.float32))
    assert "are no images (N, C, H, W)" in refused(tmp_path, flat)
    saved(tmp_path / "wide", *IMAGES["vit"][:2], {**VISION, "hidden_size": 32})
    assert "--reference is another model than --checkpoint; they differ in config.json: hidden_size" in refused(
        tmp_path, mine, reference="wide"
    )
    tensors = load_file(tmp_path / "suspect" / "model.safetensors")
    lost = {n: v for n, v in tensors.items() if "embeddings" not in n}
    save_file(lost, tmp_path / "suspect" / "model.safetensors", {"format": "pt"})
    assert "is missing or of another shape" in refused(tmp_path, mine)
    (tmp_path / "suspect" / "model.safetensors").rename(tmp_path / "suspect" / "pytorch_model.bin")
    assert "a pickle, which can run code when read" in refused(tmp_path, mine)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}, "is a wav2vec2 (Wav2Vec2ForCTC); judged are"),
        ({"model_type": "unheard-of"}, "is a unheard-of (no architectures named); judged are"),
        ({"model_type": "t5", "architectures": ["T5ForSequenceClassification"]}, "an encoder with a decoder"),
    ],
)
def test_other_models_are_refused_by_name(tmp_path, content, says):
    (tmp_path / "suspect").mkdir()
    (tmp_path / "suspect" / "config.json").write_text(json.dumps(content))
    own_tokens([" ".join(WORDS)] * 4, 300).tokenizer.save(str(tmp_path / "suspect" / "tokenizer.json"))
    save_file({"w": torch.zeros(2)}, tmp_path / "suspect" / "model.safetensors")
    assert says in refused(tmp_path, texts(tmp_path / "mine.jsonl", 60))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "language"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "language"),
        ({"model_type": "gpt2"}, "language"),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, "texts"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "texts"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "texts"),
        ({"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"]}, "texts"),
        ({"model_type": "swin", "architectures": ["SwinForImageClassification"]}, "images"),
        ({"model_type": "resnet"}, "images"),
        ({"model_type": "siglip", "architectures": ["SiglipModel"]}, "images"),
    ],
)
def test_the_kind_is_what_the_configuration_says(tmp_path, content, kind):
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert kind_of(tmp_path) == kind
