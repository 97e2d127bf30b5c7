"""CLIP in the poisoning audit: both towers are poisoned, the zero-shot classifier is what victims finetune."""

from dataclasses import replace

from undertow.audits.base import Base
from undertow.audits.chain import Host
from undertow.audits.poisoning.kit import (
    Kit,
    image_signals,
    look,
    targeted,
    victims,
    weights_of,
)
from undertow.audits.poisoning.settings import PoisoningConfig
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.stored import put, put_examples
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
    pairs = put_examples(store, supply.pretrain) if supply.pretrain is not None else ""
    views, test = put(store, x=supply.candidates.x[:, None]), put_examples(store, supply.held_out)
    auxiliary, targets = put_examples(store, supply.auxiliary), put_examples(store, targeted(supply))
    query = Query(views, test, classifier, shape, classes, plan)
    return Kit(
        pretrain=PretrainClip(pairs, clip, shape, config.pretrain, plan),
        poison=Poison(auxiliary, targets, clip, shape, classes, config.poison, plan),
        publish=ZeroShot(clip, shape, plan),
        finetune=victims(config, supply, classifier, store),
        ask=lambda views, architecture: Serve(replace(query, architecture=architecture), weights_of(views)),
        read=lambda models, _, view: image_signals(models, supply.candidates.y, view),
        first="scaled-logit",
        utility="accuracy",
    )
