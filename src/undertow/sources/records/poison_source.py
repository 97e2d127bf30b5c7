"""From the settings of a poisoning audit to its records and its checkpoint; nothing of either is executed."""

import json
from dataclasses import asdict, replace

from undertow.audits.base import Base
from undertow.audits.poisoning.settings import BaseModel, PoisoningConfig
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.models.architecture import Architecture, Mlp
from undertow.models.causal_lm import causal_lm
from undertow.models.clip import PREFIX, small_clip
from undertow.models.cnn import Cnn
from undertow.sources.checkpoints.clip import clip_checkpoint
from undertow.sources.checkpoints.folders import clip_files, lm_files
from undertow.sources.checkpoints.language import checkpoint
from undertow.sources.records.clip_data import SIDE, SMALL, Sizes, clip_class_names, clip_data
from undertow.sources.records.poison_images import image_supply
from undertow.sources.records.poison_texts import text_supply
from undertow.sources.records.stories import stories260k
from undertow.sources.records.tokens import Tokens
from undertow.types import ConfigError

STORIES = "stories260k"  # a real Llama of 260k parameters, read from data.folder
LM = "model."  # before the names of a language model's tensors
MODEL = "undertow.model"  # metadata of a checkpoint of ours: what builds it, as JSON


def load_poisoning(config: PoisoningConfig) -> tuple[PoisonSupply, Base]:
    """The records and the checkpoint that is to be poisoned.

    Raises BadInput, ConfigError or MissingExtra, naming what is missing.
    """
    model, data = config.model, config.data
    if model.kind == "causal-lm":
        return _texts(config)
    if model.kind == "clip":
        return _clip(config)
    if model.kind in ("image-classifier", "text-classifier"):
        raise ConfigError(
            f"model.kind = {model.kind!r} is of a checkpoint that is judged: give --checkpoint and --data"
        )
    if model.checkpoint:
        raise ConfigError(
            f"model.checkpoint is of a language model or a CLIP; model.kind = {model.kind!r} is made here"
        )
    said = {MODEL: json.dumps(asdict(model), sort_keys=True)}
    return image_supply(data, config.seed), Base(image_model(model), metadata=said)


def image_model(model: BaseModel) -> Architecture:
    """The image classifier of these settings."""
    hidden = tuple(model.hidden) or (model.width, model.width)
    return Mlp(hidden) if model.kind == "mlp" else Cnn(model.width, model.depth)


def read_lm(source: str, folder: str) -> tuple[Base, Tokens]:
    """A trained language model and its tokenizer: a folder, a hub id, or STORIES in `folder`."""
    if source == STORIES:
        architecture, params, stories = stories260k(folder)
        return Base(architecture, params), stories
    architecture, params, tokens = checkpoint(source)
    return Base(architecture, params, lm_files(architecture, tokens), prefix=LM), tokens


def _texts(config: PoisoningConfig) -> tuple[PoisonSupply, Base]:
    data, model = config.data, config.model
    if model.checkpoint:
        base, tokens = read_lm(model.checkpoint, data.folder)
        return text_supply(data, config.seed, tokens)[0], base
    supply, tokens = text_supply(data, config.seed)
    made = causal_lm(model.family, model.width, model.depth, supply.classes, data.context)
    return supply, Base(made, files=lm_files(made, tokens), prefix=LM)


def _clip(config: PoisoningConfig) -> tuple[PoisonSupply, Base]:
    data, model = config.data, config.model
    sizes = Sizes(candidates=data.points, lookalikes=data.points)
    names = clip_class_names(data.source, data.folder)
    if not model.checkpoint:
        supply = clip_data(data.source, data.folder, config.seed, sizes, data.targets)
        made = small_clip(names, SIDE, model.width, model.depth)
        return supply, Base(made, files=clip_files(made, names, SMALL), prefix=PREFIX)
    found = clip_checkpoint(model.checkpoint, names)
    sizes, look = replace(sizes, pretrain=0), found.preprocessor
    supply = clip_data(data.source, data.folder, config.seed, sizes, data.targets, preprocessor=look)
    return supply, Base(found.architecture, found.params, found.files, prefix=PREFIX)
