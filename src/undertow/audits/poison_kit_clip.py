"""CLIP in the poisoning audit: both towers are poisoned, the zero-shot classifier is what victims finetune."""

from dataclasses import replace

from undertow.audits.chain import Host
from undertow.audits.poison_kit import (
    Kit,
    image_signals,
    look,
    put,
    put_views,
    targeted,
    victims,
    weights_of,
)
from undertow.audits.poison_supply import Base, PoisonSupply
from undertow.audits.poisoning_settings import PoisoningConfig
from undertow.models.clip import Clip
from undertow.stages.contrastive import PretrainClip
from undertow.stages.poison import Poison
from undertow.stages.query import Query
from undertow.stages.serve import Serve
from undertow.stages.zero_shot import ZeroShot
from undertow.types import ConfigError


def clip_kit(config: PoisoningConfig, supply: PoisonSupply, base: Base, host: Host) -> Kit:
    """Contrastive pretraining and stealth term; the targets' loss is that of zero-shot classification."""
    clip = base.architecture
    if not isinstance(clip, Clip):
        raise ConfigError("model.kind = 'clip' needs a CLIP")
    store, plan, shape, classes = host.store, look(config), supply.shape, supply.classes
    classifier = clip.classifier()
    pairs = put(store, supply.pretrain) if supply.pretrain is not None else ""
    query = Query(put_views(store, supply.candidates.x), put(store, supply.held_out), classifier, shape, classes, plan)
    return Kit(
        pretrain=PretrainClip(pairs, clip, shape, config.pretrain, plan),
        poison=Poison(
            put(store, supply.auxiliary), put(store, targeted(supply)), clip, shape, classes, config.poison, plan
        ),
        publish=ZeroShot(clip, shape, plan),
        finetune=victims(config, supply, classifier, store),
        ask=lambda views, architecture: Serve(replace(query, architecture=architecture), weights_of(views)),
        read=lambda models, _, view: image_signals(models, supply.candidates.y, view),
        first="scaled-logit",
        utility="accuracy",
    )
