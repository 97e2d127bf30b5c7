"""Image and text classifiers, and embedding models, of transformers as checkpoints to judge: config.json and weights.

Which class reads a checkpoint is what transformers knows of its model_type; nothing that lies in the folder is run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from undertow.models.architecture import head_name, initial_state
from undertow.models.huggingface import HuggingFace, classifier_from, described, families, padding, without_dropout
from undertow.sources.checkpoints.clip import Preprocessor, preprocessor_of
from undertow.sources.checkpoints.language import tensors_in
from undertow.storage.files import read_json
from undertow.training.task import to_params
from undertow.types import Array, BadInput, ConfigError, Params

Kind = Literal["language", "images", "texts"]
LANGUAGE = ("ForCausalLM", "LMHeadModel")  # endings of the classes that predict the next token
PICTURES = "preprocessor_config.json"


@dataclass(frozen=True, eq=False)
class Classifier:
    """A checkpoint as a classifier of the user's classes."""

    architecture: HuggingFace
    params: Params
    own_head: bool  # its own head answers; else a fresh one


def kind_of(folder: Path) -> Kind:
    """What a folder's config.json says that it is; ConfigError, in one line, for what is judged by no audit."""
    content = read_json(folder / "config.json")
    names = [str(name) for name in content.get("architectures") or ()]
    name = content.get("model_type")
    of_images, of_texts, of_language = families(str(name))
    if any(n.endswith(LANGUAGE) for n in names) or (of_language and not names):
        return "language"
    if of_images:
        return "images"
    if any("ForSequenceClassification" in n for n in names) or (of_texts and not of_language):
        return "texts"
    if of_texts and any(n.endswith(("ForMaskedLM", "ForPreTraining", "Model")) for n in names):
        return "texts" if name in ENCODERS else "language"
    if of_language:
        return "language"
    raise ConfigError(
        f"--checkpoint {folder} is a {name} ({', '.join(names) or 'no architectures named'}); judged are image and "
        "text classifiers, embedding models, causal language models and CLIP"
    )


ENCODERS = ("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "electra", "data2vec-text", "ernie",
            "megatron-bert", "rembert", "roformer", "xmod", "roberta-prelayernorm")  # fmt: skip
"""Types with a causal class too, whose checkpoints are encoders unless they say otherwise."""


def read_classifier(folder: Path, shape: tuple[int, ...], classes: int, seed: int) -> Classifier:
    """The classifier of a folder for records of this shape; a head that is missing, or of other classes, is fresh.

    Fresh heads of one seed are the same. BadInput or ConfigError in one line where it does not fit its config.json or
    cannot read such records.
    """
    content = read_json(folder / "config.json")
    architecture = without_dropout(described(content))
    if len(shape) == 1:
        architecture = replace(architecture, exchange=max(padding(architecture), 0))
    try:
        params, own = classifier_from(architecture, tensors_in(folder), shape, classes, seed)
    except BadInput as error:
        sides = _sides(content)
        if len(shape) == 3 and sides and sides != shape[1:]:
            raise ConfigError(
                f"the images are {shape[1]} x {shape[2]}, but --checkpoint {folder} reads {sides[0]} x {sides[1]}; "
                f"bring them to that size (bytes, uint8, are brought there by its {PICTURES})"
            ) from error
        raise BadInput(f"{folder}: {error}") from error
    return Classifier(architecture, params, own)


def without_head(params: Params, architecture: HuggingFace, shape: tuple[int, ...], classes: int, seed: int) -> Params:
    """The weights with a head that is drawn from `seed` alone, the same for every checkpoint of this architecture."""
    fresh = to_params(initial_state(architecture, shape, classes, seed))
    head = head_name(architecture.build(shape, classes)) + "."
    return {name: fresh[name] if name.startswith(head) else value for name, value in params.items()}


def class_numbers(folder: Path, names: tuple[str, ...], mapped: bool) -> tuple[Array, int]:
    """For each of the user's classes its number among the checkpoint's own, and how many those are.

    Names are looked up in label2id; numbers 0..K-1 are the checkpoint's where it has as many. Otherwise the user's own
    numbers, whose head cannot be the checkpoint's.
    """
    content = read_json(folder / "config.json")
    known = content.get("label2id")
    count = len(content["id2label"]) if isinstance(content.get("id2label"), Mapping) else content.get("num_labels")
    own = np.arange(len(names))
    if mapped and isinstance(known, Mapping) and all(name in known for name in names):
        numbers = np.array([int(known[name]) for name in names])
        return numbers, max(int(count or 0), int(numbers.max()) + 1)
    if not mapped and isinstance(count, int) and count >= len(names):
        return own, count
    return own, len(names)


def pixels_as_read(folder: Path, x: Array) -> tuple[Array, str]:
    """Images (N, C, H, W) of bytes as the checkpoint reads them, and a sentence on how."""
    look, how = Preprocessor(x.shape[2], (0.5,) * x.shape[1], (0.5,) * x.shape[1]), "mean 0.5 and deviation 0.5"
    if (folder / PICTURES).is_file():
        look, how = preprocessor_of(folder / PICTURES), f"the checkpoint's {PICTURES}"
    if len(look.mean) != x.shape[1]:
        raise ConfigError(f"the images have {x.shape[1]} channels, --checkpoint {folder} reads {len(look.mean)}")
    square = x.astype(np.uint8).transpose(0, 2, 3, 1)
    if x.shape[1] != 3 and x.shape[2:] != (look.size, look.size):
        raise ConfigError(f"the images are {x.shape[2]} x {x.shape[3]}; bring them to {look.size} x {look.size}")
    return look(square), f"Pixels were brought to what the model reads by {how}."


def same_kind(one: Path, other: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two config.json without the names of their classes, which may differ."""
    return tuple(  # type: ignore[return-value]
        {k: v for k, v in read_json(folder / "config.json").items() if k not in ("id2label", "label2id", "num_labels")}
        for folder in (one, other)
    )


def _sides(content: Mapping[str, Any]) -> tuple[int, ...]:
    """The size of images that a config.json names, (height, width); empty where it names none."""
    vision = content.get("vision_config")
    size = content.get("image_size", vision.get("image_size") if isinstance(vision, Mapping) else None)
    if isinstance(size, list) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (size, size) if isinstance(size, int) else ()
