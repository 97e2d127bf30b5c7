"""From the settings of a poisoning audit to its records and its checkpoint."""

from undertow.audits.poison_supply import Base, PoisonSupply
from undertow.audits.poisoning_settings import Candidates, PoisoningConfig
from undertow.models.architecture import Architecture, Mlp
from undertow.models.causal_lm import causal_lm
from undertow.models.cnn import Cnn
from undertow.storage.checkpoint_lm import checkpoint
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
        found = text_supply(data, config.seed)
        made = causal_lm(model.family, model.width, model.depth, found.vocabulary, data.context)
        return of_texts(found, data), Base(made)
    read = stories260k(data.folder) if model.checkpoint == STORIES else checkpoint(model.checkpoint)
    architecture, params, tokens = read
    return of_texts(text_supply(data, config.seed, tokens), data), Base(architecture, params)


def of_texts(found, data: Candidates) -> PoisonSupply:
    return PoisonSupply(
        name=found.name, candidates=found.candidates, targets=data.targets, auxiliary=found.auxiliary,
        held_out=found.held_out, classes=found.vocabulary, pretrain=found.pretrain, public=found.public,
        lookalikes=found.lookalikes, ids=found.ids, texts=found.texts, notes=found.notes,
    )  # fmt: skip


def _clip(config: PoisoningConfig) -> tuple[PoisonSupply, Base]:
    from undertow.models.clip import small_clip
    from undertow.storage.clip_data import Sizes, clip_data

    data, model = config.data, config.model
    sizes = Sizes(candidates=data.points, lookalikes=data.points)
    found = clip_data(data.source, data.folder, config.seed, sizes, 20)
    base = Base(small_clip(found.class_names, 32, model.width, model.depth))
    supply = PoisonSupply(
        name=found.name, candidates=found.candidates, targets=data.targets, auxiliary=found.ordinary,
        held_out=found.test, classes=len(found.class_names), pretrain=found.pretrain, lookalikes=found.lookalikes,
        ids=found.ids, pictures=found.pictures, notes=found.notes,
    )  # fmt: skip
    return supply, base
