"""What differs between images, image-text pairs and language: the stages, and how their answers are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from undertow import signals
from undertow.audits.base import Base
from undertow.audits.chain import UNDECIDED, Host, decided
from undertow.audits.poisoning.recipes import Recipe
from undertow.audits.poisoning.settings import PoisoningConfig
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.stored import put, put_examples
from undertow.engine.key import canonical, code_versions, digest
from undertow.models.architecture import Architecture, initial_state
from undertow.models.causal_lm import for_strategy
from undertow.stages.finetune import Finetune
from undertow.stages.poison import Poison
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query
from undertow.stages.serve import BITS, Serve
from undertow.training.choose import Plan, pick_device
from undertow.training.privacy import ACCOUNTANTS, Noise, Privacy, calibrate
from undertow.training.schedule import Fit
from undertow.training.task import to_params
from undertow.types import Array, ConfigError, Examples, Slot, Stage, Store

Answers = Mapping[str, Array]  # of all models of one arm, stacked: "view/array" -> (M, ...)
BASE_SLOT = "base"  # the role of a checkpoint


@dataclass(frozen=True, eq=False)
class Kit:
    """One family of models, from checkpoint to signals."""

    pretrain: Stage  # not used where the checkpoint is given
    poison: Poison
    finetune: Finetune  # by the recipe "full"
    ask: Callable[[Sequence[str], Architecture], Stage]  # the views the attacker has, of models of this architecture
    read: Callable[[Answers, Answers, str], dict[str, Array]]  # models', base's answers, view -> statistic (M, Q)
    first: str  # the statistic LiRA reads, where a view has it
    utility: str  # "accuracy" | "heldout_loss": a metric, and the name of the array that holds it
    publish: Stage | None = None  # from what is published to what is finetuned (CLIP: the zero-shot classifier)


def with_public(supply: PoisonSupply) -> Examples:
    """The candidates, and behind them the public records every victim trains on."""
    if supply.public is None:
        return supply.candidates
    x, y = (np.concatenate([getattr(part, n) for part in (supply.candidates, supply.public)]) for n in ("x", "y"))
    return Examples(x, y, supply.candidates.name)


def targeted(supply: PoisonSupply) -> Examples:
    """The candidates in the attacker's set."""
    return supply.candidates.take(np.flatnonzero(supply.targeted))


def look(config: PoisoningConfig) -> Plan:
    """How single models are trained and asked: no probe, one after the other."""
    return Plan("sequential", 1, config.engine.dtype, config.engine.threads, pick_device(config.engine.device))


def image_kit(config: PoisoningConfig, supply: PoisonSupply, base: Base, host: Host) -> Kit:
    """Image classifiers whose own head the victims keep."""
    store, plan, shape, classes = host.store, look(config), supply.shape, supply.classes
    data = put_examples(store, supply.pretrain) if supply.pretrain is not None else ""
    auxiliary, targets = put_examples(store, supply.auxiliary), put_examples(store, targeted(supply))
    views, test = put(store, x=supply.candidates.x[:, None]), put_examples(store, supply.held_out)
    query = Query(views, test, base.architecture, shape, classes, plan)
    return Kit(
        pretrain=Pretrain(data, base.architecture, shape, classes, config.pretrain, plan),
        poison=Poison(auxiliary, targets, base.architecture, shape, classes, config.poison, plan),
        finetune=victims(config, supply, base.architecture, store),
        ask=lambda views, architecture: Serve(replace(query, architecture=architecture), weights_of(views)),
        read=lambda models, _, view: image_signals(models, supply.candidates.y, view),
        first="scaled-logit",
        utility="accuracy",
    )


def victims(config: PoisoningConfig, supply: PoisonSupply, architecture: Architecture, store: Store) -> Finetune:
    """How victims finetune by the recipe "full"; its engine is not decided yet."""
    data = put_examples(store, with_public(supply))
    return Finetune(
        data, architecture, supply.shape, supply.classes, "full", 0, config.finetune, UNDECIDED,
        keep_head=True, repeat=config.data.repeat,
    )  # fmt: skip


def weights_of(views: Sequence[str]) -> tuple[str, ...]:
    """Which views of the weights are needed to show the attacker `views`; "top-5" and "label" are of exact ones."""
    return tuple(dict.fromkeys(view if view in BITS else "exact" for view in ("exact", *views)))


def image_signals(models: Answers, labels: Array, view: str) -> dict[str, Array]:
    """Statistics (M, Q) of what the attacker sees, higher = member.

    "top-5": the scaled logit where the label is among the five likeliest, else of a label as unlikely as the fifth.
    "label": 1 where the predicted class is the label.
    """
    if view == "watermark":
        raise ConfigError("view 'watermark' is of texts: it marks the tokens a model draws")
    logits = models[f"{view if view in BITS else 'exact'}/logits"]
    if view == "label":
        return {"hit-rate": (logits[:, :, 0].argmax(-1) == labels).astype(float)}
    scaled = signals.label_confidence(logits, labels)
    if view != "top-5":
        return {"scaled-logit": scaled, "loss": signals.negative_loss(logits, labels)}
    fifth = np.sort(signals.scaled_logits(logits[:, :, 0]), -1)[..., -min(5, logits.shape[-1])]
    return {"top-probability": np.maximum(scaled, fifth)}


def finetune_stage(kit: Kit, recipe: Recipe, slots: Sequence[Slot], host: Host, config: PoisoningConfig) -> Finetune:
    """The finetuning stage of a recipe, its engine decided and its noise calibrated."""
    fit = kit.finetune.fit
    fit = replace(fit, lr=fit.lr * recipe.lr, epochs=max(1, round(fit.epochs * recipe.epochs)))
    architecture = for_strategy(kit.finetune.architecture, recipe.strategy)
    bare = replace(
        kit.finetune, strategy=recipe.strategy, fit=fit, architecture=architecture, neftune=recipe.neftune,
        repeat=1 if recipe.epsilon else kit.finetune.repeat,  # a record that is there twice would cost twice
    )  # fmt: skip
    arrays = host.store.get(bare.data)
    records = Examples(arrays["x"], arrays["y"], "finetuning records")
    if recipe.epsilon:
        count = len(bare.rows(slots[0], len(records)))
        bare = replace(bare, noise=_noise(Privacy(recipe.epsilon, trainer="opacus"), count, fit, host.store))
    if recipe.epsilon or records.of_tokens:
        return replace(bare, plan=replace(look(config), engine="opacus" if recipe.epsilon else "sequential"))
    start = to_params(initial_state(architecture, bare.shape, bare.classes, 0))  # a probe needs shapes only
    decision = decided(
        bare, lambda s, some: s.task(some, [start] * len(some), records), slots, config.engine, host.store
    )
    return replace(bare, plan=decision.plan)


def _noise(privacy: Privacy, records: int, fit: Fit, store: Store) -> Noise:
    key = digest(["noise", canonical(privacy), canonical(fit), records, code_versions(ACCOUNTANTS)])
    note = store.get_note(key)
    if note is None:
        note = dict(vars(calibrate(privacy, records, fit)))
        store.put_note(key, note)
    return Noise(**note)
