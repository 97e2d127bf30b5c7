"""From the settings of a poisoning audit to its records and its checkpoint."""

from dataclasses import replace

from undertow.audits.poison_supply import Base, PoisonSupply
from undertow.audits.poisoning_settings import PoisoningConfig
from undertow.models.architecture import Architecture, Mlp
from undertow.models.causal_lm import causal_lm
from undertow.models.clip import small_clip
from undertow.models.cnn import Cnn
from undertow.storage.checkpoint_lm import checkpoint
from undertow.storage.clip_data import SIDE, Sizes, clip_class_names, clip_data
from undertow.storage.clip_files import clip_checkpoint
from undertow.storage.poison_images import image_supply
from undertow.storage.poison_texts import text_supply
from undertow.storage.stories import stories260k
from undertow.types import ConfigError

STORIES = "stories260k"  # a real Llama of 260k parameters, read from data.folder


def load_poisoning(config: PoisoningConfig) -> tuple[PoisonSupply, Base]:
    """The records and the checkpoint; nothing of either is executed.

    Raises BadInput, ConfigError or MissingExtra, naming what is missing.
    """
    if config.model.kind == "causal-lm":
        return _texts(config)
    if config.model.kind == "clip":
        return _clip(config)
    model = config.model
    if model.checkpoint:
        raise ConfigError(
            f"model.checkpoint is of a language model or a CLIP; model.kind = {model.kind!r} is made here"
        )
    architecture: Architecture = Mlp(model.hidden) if model.kind == "mlp" else Cnn(model.width, model.depth)
    return image_supply(config.data, config.seed), Base(architecture)


def _texts(config: PoisoningConfig) -> tuple[PoisonSupply, Base]:
    data, model = config.data, config.model
    if not model.checkpoint:
        supply = text_supply(data, config.seed)
        return supply, Base(causal_lm(model.family, model.width, model.depth, supply.classes, data.context))
    read = stories260k(data.folder) if model.checkpoint == STORIES else checkpoint(model.checkpoint)
    architecture, params, tokens = read
    return text_supply(data, config.seed, tokens), Base(architecture, params)


def _clip(config: PoisoningConfig) -> tuple[PoisonSupply, Base]:
    data, model = config.data, config.model
    sizes = Sizes(candidates=data.points, lookalikes=data.points)
    if not model.checkpoint:
        supply = clip_data(data.source, data.folder, config.seed, sizes, data.targets)
        names = clip_class_names(data.source, data.folder)
        return supply, Base(small_clip(names, SIDE, model.width, model.depth))
    found = clip_checkpoint(model.checkpoint, clip_class_names(data.source, data.folder))
    sizes, look = replace(sizes, pretrain=0), found.preprocessor
    supply = clip_data(data.source, data.folder, config.seed, sizes, data.targets, preprocessor=look)
    return supply, Base(found.architecture, found.params)
