"""Image and text classifiers of Hugging Face transformers, from a `config.json` alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, arange, from_numpy, nn, where

from undertow.models.architecture import head_name
from undertow.models.causal_lm import quiet
from undertow.types import BadInput, ConfigError, MissingExtra, Params

LABELS = ("id2label", "label2id", "num_labels")
OWN_CODE = "auto_map"  # names Python files beside the configuration: never run


@dataclass(frozen=True)
class HuggingFace:
    """A classifier with random weights: the game needs starts that are independent.

    The configuration itself is the field, not the place it came from, so that it alone decides a model's key.
    """

    config: str  # the content of config.json, keys sorted
    exchange: int = 0  # texts: the token that changes places with 0, which pads them everywhere in Undertow
    libraries: ClassVar[tuple[str, ...]] = ("transformers",)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Images (C, H, W) or token ids (L,); the number of labels and the image size follow the data."""
        return self._built(shape, classes, _fresh)

    def loaded(self, params: Params, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The same with the weights `params`, named as any version of transformers names them.

        What they lack, or hold in another shape (the head), is fresh. ConfigError where nothing fits.
        """
        return self._built(shape, classes, lambda kind, config: _with_weights(kind, config, params))

    def _built(self, shape: tuple[int, ...], classes: int, make: Callable[[Any, Any], nn.Module]) -> nn.Module:
        transformers = _transformers()
        config = _parse(self.config, classes)
        kind, name = type(config), config.model_type
        images = transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
        texts = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
        if kind in images and len(shape) == 3:
            _fit_image(config, shape)
            return ImageClassifier(make(images[kind], config))
        if kind in texts and len(shape) == 1:
            if getattr(config, "is_encoder_decoder", False):
                raise ConfigError(
                    f"model.checkpoint is a {name}, an encoder with a decoder; texts are classified here by an encoder "
                    "or a decoder alone, such as BERT, RoBERTa, GPT-2 or Llama"
                )
            longest = _positions(config) or shape[0]
            if shape[0] > longest:
                raise ConfigError(
                    f"model.checkpoint reads {longest} tokens, but the records have {shape[0]}; set data.context = "
                    f"{longest} or less"
                )
            return TextClassifier(make(texts[kind], config), _padding(config), self.exchange)
        if kind in images or kind in texts:
            wanted = "images (C, H, W)" if kind in images else "token ids (L,)"
            raise ConfigError(f"model.checkpoint is a {name} and needs {wanted}; these records have shape {shape}")
        raise ConfigError(f"model.checkpoint is a {name}, for which transformers has no image or text classifier")


class ImageClassifier(nn.Module):
    """(N, C, H, W) -> logits (N, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=x).logits
        return logits


class TextClassifier(nn.Module):
    """Token ids (N, L) int64 -> logits (N, classes); `padding` is the id that is not looked at (-1: none).

    `exchange` changes places with 0 in the ids before the model sees them; 0: nothing does.
    """

    def __init__(self, model: nn.Module, padding: int, exchange: int = 0) -> None:
        super().__init__()
        self.model: Any = model
        self.padding = padding
        self.exchange = exchange

    def forward(self, x: Tensor) -> Tensor:
        if self.exchange:
            x = where(x == 0, self.exchange, where(x == self.exchange, 0, x))
        kept = x != self.padding
        logits: Tensor
        if not isinstance(getattr(self.model, "score", None), nn.Linear):
            logits = self.model(input_ids=x, attention_mask=kept.long()).logits
            return logits
        # A decoder's head reads the last token. Picked before the head, not after it as transformers does, so
        # that what enters the head is one vector per record.
        hidden = self.model.base_model(input_ids=x, attention_mask=kept.long(), use_cache=False).last_hidden_state
        places = arange(x.shape[1], device=x.device)
        last = (places * kept).argmax(-1)
        logits = self.model.score(hidden[arange(len(x), device=x.device), last])
        return logits


def huggingface(checkpoint: str) -> HuggingFace:
    """The architecture of a folder or hub id; of its files only `config.json` is read.

    Raises ConfigError where there is none, MissingExtra without transformers.
    """
    path = Path(checkpoint) / "config.json"
    try:
        content = (path if path.parent.is_dir() else _download(checkpoint)).read_text(encoding="utf-8")
        found = json.loads(content)
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"model.checkpoint = {checkpoint!r} has no readable config.json: {first}") from error
    if not isinstance(found, dict) or "model_type" not in found:
        raise ConfigError(f"model.checkpoint = {checkpoint!r}: its config.json names no model_type")
    return described(found)


def described(config: Mapping[str, object]) -> HuggingFace:
    """The architecture of the content of a config.json; ConfigError where transformers does not know it."""
    architecture = HuggingFace(json.dumps(config, sort_keys=True))
    _parse(architecture.config, 2)  # refuses what cannot be built
    return architecture


def from_tensors(architecture: HuggingFace, tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Params:
    """The state dict of the built classifier from a checkpoint's tensors, as float32; its head is a fresh one.

    transformers matches the names, which in files differ from those in memory. Raises BadInput where a tensor other
    than the head's is missing or of another shape.
    """
    return classifier_from(architecture, tensors, shape, 2)[0]


def classifier_from(
    architecture: HuggingFace, tensors: Mapping[str, Tensor], shape: tuple[int, ...], classes: int, seed: int = 0
) -> tuple[Params, bool]:
    """The same for so many classes, and whether the head is the checkpoint's own; a fresh one is drawn from `seed`.

    Raises ConfigError too, where the model cannot read records of this shape.
    """
    lacking: list[str] = []

    def make(kind: Any, config: Any) -> nn.Module:
        model, lost = _load(kind, config, dict(tensors))
        lacking.extend(lost)
        return model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = architecture._built(shape, classes, make)
    head = head_name(module)
    wrong = sorted(name for name in lacking if not f"model.{name}".startswith(head + "."))
    if wrong:
        raise BadInput(f"the checkpoint does not fit its config.json: {wrong[0]} is missing or of another shape")
    _check_reads(module.eval(), shape)
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}, not lacking


@torch.no_grad()
def _check_reads(module: nn.Module, shape: tuple[int, ...]) -> None:
    """ConfigError where the module cannot read records of this shape."""
    batch = torch.ones(2, *shape, dtype=torch.int64) if len(shape) == 1 else torch.zeros(2, *shape)
    try:
        module(batch)
    except Exception as error:  # whatever its layers say of a shape
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ConfigError(f"the checkpoint cannot read records of shape {tuple(shape)}: {said}") from error


def families(name: str) -> tuple[bool, bool, bool]:
    """Whether transformers has an image classifier, a text classifier and a causal language model of this type."""
    transformers = _transformers()
    known = transformers.CONFIG_MAPPING
    kind = known[name] if name in known else None  # noqa: SIM401 - its get() imports what it does not know
    return (
        kind in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        kind in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
    )


def without_dropout(architecture: HuggingFace) -> HuggingFace:
    """The same architecture, whose every dropout is off."""
    config = json.loads(architecture.config)
    off = {name: 0.0 for name in config if "dropout" in name or name.endswith("drop")}
    if config["model_type"] == "gpt2":
        off |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    off |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return replace(architecture, config=json.dumps(config | off, sort_keys=True))


def positions(architecture: HuggingFace) -> int:
    """Tokens that a text classifier of this architecture reads; 0: any number."""
    return _positions(_parse(architecture.config, 2))


def padding(architecture: HuggingFace) -> int:
    """The token id that a text classifier of this architecture does not look at; -1: none."""
    return _padding(_parse(architecture.config, 2))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "hf") from error
    return transformers


def _download(checkpoint: str) -> Path:
    _transformers()
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(checkpoint, "config.json"))


def _parse(content: str, classes: int) -> Any:
    known = _transformers().CONFIG_MAPPING
    raw = {k: v for k, v in json.loads(content).items() if k not in (*LABELS, OWN_CODE)}
    name = raw.pop("model_type")
    if name not in known:
        raise ConfigError(f"model.checkpoint is a {name!r}, which this version of transformers does not know")
    return known[name](**raw, num_labels=classes)


def _fit_image(config: Any, shape: tuple[int, ...]) -> None:
    channels, height, width = shape
    patch = getattr(config, "patch_size", 1)
    if isinstance(patch, int) and (height % patch or width % patch):
        raise ConfigError(f"model.checkpoint has patches of {patch} pixels, which {height}x{width} images do not fill")
    if hasattr(config, "num_channels"):
        config.num_channels = channels
    if hasattr(config, "image_size"):
        config.image_size = height if height == width else (height, width)


OFFSET = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "xmod", "longformer",
          "data2vec-text", "ibert", "mpnet", "luke", "esm")  # fmt: skip


def _positions(config: Any) -> int:
    """Tokens that a model reads; 0: any number. RoBERTa and its kin begin to count positions behind their pad."""
    longest = int(getattr(config, "max_position_embeddings", None) or 0)
    if longest and config.model_type in OFFSET:
        longest -= int(getattr(config, "pad_token_id", None) or 0) + 1
    return longest


def _padding(config: Any) -> int:
    """The padding token; the end token where there is none, as is usual for GPT-2."""
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(config, name, None)
        if found is not None:
            return int(found[0] if isinstance(found, list) else found)
    return -1


def _with_weights(kind: Any, config: Any, params: Params) -> nn.Module:
    model, lost = _load(kind, config, {name: from_numpy(value.copy()) for name, value in params.items()})
    if 2 * len(lost) > len(model.state_dict()):
        raise ConfigError(f"the weights are not of the {config.model_type} of config.json: it finds few of its own")
    return model


def _load(kind: Any, config: Any, tensors: dict[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """A model with these tensors, as float32, and the names of its own that it did not find or not in their shape.

    Tensors are handed over; no file is opened by transformers. ConfigError where they cannot be put into it.
    """
    try:
        with quiet():
            model, info = kind.from_pretrained(
                None, config=config, state_dict=tensors, ignore_mismatched_sizes=True, output_loading_info=True,
                dtype=torch.float32,
            )  # fmt: skip
    except (ValueError, RuntimeError, KeyError, OSError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"the weights are not of the {config.model_type} of config.json: {first}") from error
    return model, [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]


def _fresh(kind: Any, config: Any) -> nn.Module:
    try:
        model: nn.Module = kind(config)
    except (ValueError, RuntimeError, KeyError, ZeroDivisionError) as error:
        raise ConfigError(f"transformers cannot build this {config.model_type}: {error}") from error
    return model
