"""CLIP (Radford et al. 2021, arXiv:2103.00020): an image and a text tower with one embedding, from a configuration.

Nothing is downloaded here, and no code beside a configuration is run.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from undertow.models.architecture import Shape
from undertow.models.huggingface import OWN_CODE
from undertow.types import ConfigError, MissingExtra

BEGIN, END = 0, 1  # token ids of a model made here; its words follow
TEMPLATES = (
    "a photo of a {name}.",
    "a blurry photo of a {name}.",
    "a small picture of the {name}.",
    "a low resolution photo of the {name}.",
)
LARGEST_SCALE = 100.0  # of the logits, as in the paper (section 2.5)
BOOKKEEPING = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")  # in config.json
PREFIX = "clip."  # of the names of a CLIP's tensors

Captions = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Clip:
    """Both towers, and the captions they are trained on and asked about, as token ids.

    Caption c of the table is template c % T of class c // T. The prompt of a class is its caption of template 0.
    """

    config: str  # the content of config.json, keys sorted
    captions: Captions  # (K x T, L), each with its end token, filled with end tokens
    templates: int  # T
    library: str  # whose code the towers are, with its version: it decides a model's bits
    libraries: ClassVar[tuple[str, ...]] = ("transformers",)

    def build(self, shape: Shape, classes: int) -> "ClipModule":
        """For images (C, H, W). ConfigError where the configuration is for others, or for other classes."""
        if classes * self.templates != len(self.captions):
            raise ConfigError(
                f"this CLIP has captions for {len(self.captions) // self.templates} classes; the records have {classes}"
            )
        config = _parse(self.config)
        _check_shape(config, shape)
        table = torch.tensor(self.captions, dtype=torch.int64)
        if int(table.max()) >= config.text_config.vocab_size or table.shape[1] > _longest(config):
            raise ConfigError("the captions do not fit the text tower: its vocabulary or its context is too small")
        return ClipModule(_transformers().CLIPModel(config), table, self.templates)

    @property
    def classes(self) -> int:
        """K, of zero-shot classification."""
        return len(self.captions) // self.templates

    def classifier(self) -> "ClipClassifier":
        """What zero-shot classification becomes for finetuning: the image tower and a linear head."""
        return ClipClassifier(self.config, self.library)


@dataclass(frozen=True)
class ClipClassifier:
    """The image tower of a CLIP, its projection, unit length, and an `nn.Linear` head."""

    config: str  # of the whole CLIP
    library: str
    libraries: ClassVar[tuple[str, ...]] = ("transformers",)

    def build(self, shape: Shape, classes: int) -> "ImageTower":
        config = _parse(self.config)
        _check_shape(config, shape)
        vision = _transformers().CLIPVisionModel(config.vision_config)
        return ImageTower(vision, config.vision_config.hidden_size, config.projection_dim, classes)


class ClipModule(nn.Module):
    """Both towers. Called on images it classifies zero-shot."""

    captions: Tensor

    def __init__(self, model: nn.Module, captions: Tensor, templates: int) -> None:
        super().__init__()
        self.clip: Any = model
        self.templates = templates
        self.register_buffer("captions", captions, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) -> logits (N, K): scaled cosines with the prompts, which are embedded anew each time."""
        return self.scale() * self.images(x) @ self.prompts().t()

    def contrastive(self, x: Tensor, captions: Tensor) -> Tensor:
        """Symmetric InfoNCE of image-caption pairs, (B,) nats: the mean of image-to-text and text-to-image.

        `captions` (B,) are places in the table. Two pairs of one class are not each other's negatives: they are
        left out of each other's sums. (Counted as positives instead, the least loss would depend on who else is
        in the batch. Counted as negatives, as for captions that hardly ever repeat, the loss would push an image
        from a caption that is true of it.)
        """
        distinct, place = captions.unique(return_inverse=True)
        texts = self.texts(self.captions[distinct])[place]
        similar = self.scale() * self.images(x) @ texts.t()
        kind, own = captions // self.templates, torch.arange(len(x), device=x.device)
        aside = (kind[:, None] == kind) & (own[:, None] != own)
        similar = similar.masked_fill(aside, -math.inf)
        there, back = (cross_entropy(s, own, reduction="none") for s in (similar, similar.t()))
        return (there + back) / 2

    def images(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D), of length 1."""
        return normalize(self.clip.get_image_features(pixel_values=x).pooler_output, dim=-1)

    def texts(self, ids: Tensor) -> Tensor:
        """Token ids (N, L) -> (N, D), of length 1. Attention is causal: what follows the end counts for nothing."""
        return normalize(self.clip.get_text_features(input_ids=ids).pooler_output, dim=-1)

    def prompts(self) -> Tensor:
        """(K, D), of length 1."""
        return self.texts(self.captions[:: self.templates])

    def scale(self) -> Tensor:
        """What cosines are multiplied by; learnt, at most 100."""
        scale: Tensor = self.clip.logit_scale.exp().clamp(max=LARGEST_SCALE)
        return scale


class ImageTower(nn.Module):
    """(N, C, H, W) -> logits (N, K). The names of its tensors are those of the CLIP, less `clip.`; and `head`."""

    def __init__(self, vision: nn.Module, width: int, projection: int, classes: int) -> None:
        super().__init__()
        self.vision_model = vision
        self.visual_projection = nn.Linear(width, projection, bias=False)
        self.head = nn.Linear(projection, classes)  # a bias, as every engine of linear heads expects

    def forward(self, x: Tensor) -> Tensor:
        features = self.visual_projection(self.vision_model(pixel_values=x).pooler_output)
        logits: Tensor = self.head(normalize(features, dim=-1))
        return logits


def small_clip(
    class_names: Sequence[str],
    size: int,
    width: int = 64,
    depth: int = 3,
    patch: int = 8,
    templates: Sequence[str] = TEMPLATES,
) -> Clip:
    """A CLIP to be trained from scratch on colour images of `size` x `size` pixels; tokens are words.

    `width` of both towers and of the embedding, `depth` layers of images and two of texts. Raises ConfigError.
    """
    if width % 32:
        raise ConfigError(f"model.width = {width}; a CLIP that is made here needs a multiple of 32")
    if size % patch:
        raise ConfigError(f"patches of {patch} pixels do not fill images of {size}x{size}")
    captions, vocabulary = word_captions(class_names, templates)
    tower = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 32}
    ends = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": END}
    text = {**tower, **ends, "num_hidden_layers": 2, "vocab_size": vocabulary}
    config = {
        "model_type": "clip",
        "projection_dim": width,
        "vision_config": {**tower, "num_hidden_layers": depth, "image_size": size, "patch_size": patch},
        "text_config": {**text, "max_position_embeddings": max(map(len, captions))},
    }
    return Clip(json.dumps(config, sort_keys=True), captions, len(templates), library())


def word_captions(class_names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> tuple[Captions, int]:
    """Every template of every class as ids of its words (and full stops), and how many ids there are.

    >>> word_captions(["cat", "dog"], ["a {name}."])
    (((0, 3, 4, 2, 1), (0, 3, 5, 2, 1)), 6)
    """
    texts = caption_texts(class_names, templates)
    ids = word_ids(texts)
    return table_of([[BEGIN, *(ids[w] for w in _words(text)), END] for text in texts]), len(ids) + END + 1


def word_ids(texts: Sequence[str]) -> dict[str, int]:
    """The id of every word and mark of these texts, in lower case."""
    return {word: i for i, word in enumerate(sorted({w for text in texts for w in _words(text)}), start=END + 1)}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def caption_texts(class_names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """The captions in the order of the table, `_` in names as a space.

    >>> caption_texts(["lawn_mower"], ["a {name}", "the {name}"])
    ['a lawn mower', 'the lawn mower']
    """
    return [template.format(name=name.replace("_", " ")) for name in class_names for template in templates]


def table_of(texts: Sequence[Sequence[int]]) -> Captions:
    """Token ids of unequal lengths as one table, each filled with its last token (the end)."""
    longest = max(map(len, texts))
    return tuple((*text, *[text[-1]] * (longest - len(text))) for text in texts)


def clip_config(content: Any) -> str:
    """The content of a config.json as a `Clip` keeps it; ConfigError where it is of no CLIP."""
    if not isinstance(content, dict) or content.get("model_type") != "clip":
        raise ConfigError("config.json is not of a CLIP model (model_type 'clip')")
    text = json.dumps({k: v for k, v in content.items() if k != OWN_CODE}, sort_keys=True)
    _parse(text)
    return text


def clip_settings(config: str) -> dict[str, Any]:
    """What a configuration says of the model, defaults filled in; who saved it, and how, is left out."""
    found = _parse(config).to_dict()
    parts = {name: _settings(found.pop(name)) for name in ("text_config", "vision_config")}
    return _settings(found) | parts


def _settings(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in BOOKKEEPING}


def library() -> str:
    """'transformers' and its version."""
    try:
        return f"transformers {version('transformers')}"
    except PackageNotFoundError as error:
        raise MissingExtra("transformers", "hf") from error


def _parse(content: str) -> Any:
    raw = json.loads(content)
    raw.pop("model_type", None)
    try:
        return _transformers().CLIPConfig(**raw)
    except Exception as error:  # its checks of fields raise the hub's own kind
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"transformers cannot build this CLIP: {said}") from error


def _check_shape(config: Any, shape: Shape) -> None:
    wanted = (config.vision_config.num_channels, *[config.vision_config.image_size] * 2)
    if tuple(shape) != wanted:
        raise ConfigError(f"this CLIP reads images of shape {wanted}; these records have {tuple(shape)}")


def _longest(config: Any) -> int:
    return int(config.text_config.max_position_embeddings)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "hf") from error
    return transformers
