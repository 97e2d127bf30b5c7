"""What differs between images, image-text pairs and language: the stages, and how their answers are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from undertow import signals
from undertow.audits.chain import UNDECIDED, Decision, Host, decided
from undertow.audits.poison_supply import PoisonSupply
from undertow.audits.poisoning_settings import PoisoningConfig
from undertow.audits.recipes import Recipe
from undertow.engine.key import canonical, digest, fingerprint
from undertow.models.architecture import Architecture, Mlp
from undertow.models.cnn import Cnn
from undertow.stages.finetune import Finetune
from undertow.stages.poison import Poison
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query
from undertow.stages.serve import BITS, Serve
from undertow.training.choose import Plan, pick_device
from undertow.training.privacy import Noise, Privacy, calibrate
from undertow.training.schedule import Fit
from undertow.types import Array, ConfigError, Examples, Params, Slot, Stage, Store

Answers = Mapping[str, Array]  # of all models of one arm, stacked: "view/array" -> (M, ...)
BASE_SLOT = "base"  # the role of a checkpoint


@dataclass(frozen=True, eq=False)
class Kit:
    """One family of models, from checkpoint to signals."""

    pretrain: Stage | None  # None: the checkpoint is given
    given: Params | None
    poison: Poison
    publish: Stage | None  # from what is published to what is finetuned (CLIP: the zero-shot classifier)
    finetune: Finetune  # by the recipe "full"
    ask: Callable[[Sequence[str]], Stage]  # the views the attacker has
    read: Callable[[Answers, Answers, str], dict[str, Array]]  # models', base's answers, view -> statistic (M, Q)
    first: str  # the statistic LiRA reads, where a view has it
    utility: str  # "accuracy" | "heldout_loss": a metric, and the name of the array that holds it


def put(store: Store, examples: Examples) -> str:
    """Store the examples under their content; returns the key."""
    key = fingerprint(examples.x, examples.y)
    if not store.has(key):
        store.put(key, {"x": examples.x, "y": examples.y})
    return key


def with_public(supply: PoisonSupply) -> Examples:
    """The candidates, and behind them the public records every victim trains on."""
    if supply.public is None:
        return supply.candidates
    x, y = (np.concatenate([getattr(part, n) for part in (supply.candidates, supply.public)]) for n in ("x", "y"))
    return Examples(x, y, supply.candidates.name)


def targeted(supply: PoisonSupply) -> Examples:
    """The candidates in the attacker's set."""
    return supply.candidates.take(np.flatnonzero(supply.targeted))


def image_kit(config: PoisoningConfig, supply: PoisonSupply, host: Host) -> Kit:
    """Image classifiers: an MLP or a small CNN, pretrained here, its own head kept by the victims."""
    store, model = host.store, config.model
    architecture: Architecture = Mlp(model.hidden) if model.kind == "mlp" else Cnn(model.width, model.depth)
    shape = tuple(supply.candidates.x.shape[1:])
    look = Plan("sequential", 1, config.engine.dtype, config.engine.threads, pick_device(config.engine.device))
    if supply.pretrain is None:
        raise ConfigError("image classifiers are pretrained here; the data holds nothing to pretrain on")
    pretrain = Pretrain(put(store, supply.pretrain), architecture, shape, supply.classes, config.pretrain, look)
    auxiliary, targets = put(store, supply.auxiliary), put(store, targeted(supply))
    finetune = Finetune(
        put(store, with_public(supply)), architecture, shape, supply.classes, "full", 0, config.finetune, UNDECIDED,
        keep_head=True,
    )  # fmt: skip
    views = put_views(store, supply.candidates.x)
    query = Query(views, put(store, supply.held_out), architecture, shape, supply.classes, look)
    return Kit(
        pretrain=pretrain,
        given=None,
        poison=Poison(auxiliary, targets, architecture, shape, supply.classes, config.poison, look),
        publish=None,
        finetune=finetune,
        ask=lambda wanted: Serve(query, weights_of(wanted)),
        read=lambda models, base, view: image_signals(models, supply.candidates.y, view),
        first="scaled-logit",
        utility="accuracy",
    )


def put_views(store: Store, x: Array) -> str:
    """Store the candidates as a `Query` reads them, one view each; returns the key."""
    views = x[:, None]
    key = fingerprint(views)
    if not store.has(key):
        store.put(key, {"x": views})
    return key


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


def cooked(kit: Kit, recipe: Recipe, slots: Sequence[Slot], host: Host, config: PoisoningConfig) -> Finetune:
    """The finetuning stage of a recipe, its engine decided and its noise calibrated."""
    fit = kit.finetune.fit
    fit = replace(fit, lr=fit.lr * recipe.lr, epochs=max(1, round(fit.epochs * recipe.epochs)))
    bare = replace(kit.finetune, strategy=recipe.strategy, fit=fit)
    if recipe.neftune:
        bare = replace(bare, neftune=recipe.neftune)
    examples = host.store.get(bare.data)
    records = Examples(examples["x"], examples["y"], "finetuning records")
    if recipe.epsilon:
        bare = replace(bare, repeat=1)  # a record that occurs twice would cost twice its epsilon
        count = len(bare.rows(slots[0], len(records)))
        bare = replace(bare, noise=_noise(Privacy(recipe.epsilon, trainer="opacus"), count, fit, host.store))
    start = kit_start(kit)
    decision: Decision = decided(
        bare, lambda s, some: s.task(some, [start] * len(some), records), slots, config.engine, host.store
    )
    return replace(bare, plan=decision.plan)


def kit_start(kit: Kit) -> Params:
    """Some weights of the architecture that is finetuned, for a probe: shapes only."""
    from undertow.models.architecture import initial_state
    from undertow.training.task import to_params

    stage = kit.finetune
    return to_params(initial_state(stage.architecture, stage.shape, stage.classes, 0))


def _noise(privacy: Privacy, records: int, fit: Fit, store: Store) -> Noise:
    key = digest(["noise", canonical(privacy), canonical(fit), records])
    note = store.get_note(key)
    if note is None:
        note = dict(vars(calibrate(privacy, records, fit)))
        store.put_note(key, note)
    return Noise(**note)
