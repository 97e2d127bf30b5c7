"""TMI: does a finetuned model give away who was in the *pretraining* data? (Abascal et al., PoPETs 2024)

The game: the challenger pretrains on a secret half of the pool, replaces the head and finetunes on other data.
The adversary queries only the finetuned model and says, for each record of the pool, whether pretraining saw
it. It may pretrain and finetune shadow models of its own, on halves it knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from undertow.audits.chain import Decision, Host, Workshop, design_of, ready
from undertow.audits.language import blind_features, direct_access, pretrained_utility
from undertow.audits.leakage import (
    Stopwatch,
    attack_all,
    choose_attacks,
    held_out,
    measure_all,
    plain,
    promise,
    with_epsilon,
)
from undertow.audits.settings import LeakageConfig
from undertow.audits.supply import Supply
from undertow.engine.design import Design, Fold
from undertow.engine.play import Trace
from undertow.stages.finetune import Finetune
from undertow.stages.likelihood import Likelihood
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query, Then
from undertow.types import AuditResult, BadInput, Evidence, Scores, Slot

OFFERED = (
    "tmi", "tmi-averaged", "tmi-lda", "tmi-global", "tmi-knn", "tmi-label-only", "tmi-top-k",
    "adapted-lira", "adapted-lira-averaged", "loss", "confidence", "entropy", "margin", "blind", "direct-lira",
)  # fmt: skip
CONTROL = "no-pretraining"  # the same game on models whose pretraining never happened


@dataclass(frozen=True, eq=False)
class Game:
    """The table once laid: who plays, on which chain, and what they are asked."""

    design: Design
    slots: Sequence[Slot]
    pretrain: Pretrain
    finetune: Finetune
    ask_base: Query | Likelihood
    ask: Query

    @property
    def fold(self) -> Fold:
        return held_out(self.design.shadows, self.design.victims)


def audit_tmi(config: LeakageConfig, supply: Supply, host: Host) -> AuditResult:
    """Play the TMI game on `supply` and measure every attack of the configuration.

    Raises ConfigError, BadInput, StoreError or WorkerDied; whatever was finished stays in the host's store.
    """
    supply = ready(config, supply)
    workshop, clock = Workshop(config, supply, host), Stopwatch()
    with clock.stage("choose engines"):
        game, first, second = lay_table(workshop)
    with clock.stage("train"):
        finetuned, direct = _train(workshop, game)
    evidence = _evidence(workshop, game, finetuned, direct)
    names = choose_attacks(config.attacks, _offered(config), evidence)
    with clock.stage("attack"):
        scores = attack_all(evidence, [game.fold], names, config.seed, progress=host.progress)
    controls: tuple[Scores, ...] = ()
    if config.control:
        with clock.stage("control"):
            controls = _control(workshop, game, names)
    with clock.stage("measure"):
        rows, control_rows = measure_all(scores, config.seed), measure_all(controls, config.seed)
    return AuditResult(
        audit="tmi",
        config=plain(config),
        seed=config.seed,
        environment={
            **host.environment,
            "engines": {"pretrain": first.note(), "finetune": second.note()},
            **promise(game.finetune.noise),
        },
        data=supply.describe(),
        measurements=with_epsilon(rows, game.finetune.noise),
        controls=with_epsilon(control_rows, game.finetune.noise),
        timing=clock.seconds,
        utility=_utility(workshop, game, finetuned, direct),
        warnings=supply.notes,
        scores=(*scores, *controls),
        ids=tuple(supply.ids[int(q)] for q in game.design.points),
    )


def lay_table(workshop: Workshop) -> tuple[Game, Decision, Decision]:
    """Deal the memberships, decide the engines of both stages, and make the links."""
    config, supply = workshop.config, workshop.supply
    if supply.other is None:
        raise BadInput(f"{supply.name}: tmi needs finetuning data beside the audited pretraining pool")
    design = design_of(config, supply)
    slots = [*design.slots("shadow"), *design.slots("victim")]
    pretrain, first = workshop.pretrain(supply.secret, config.pretrain, slots)
    hidden = [replace(slot, member=None) for slot in slots]  # finetuning knows nothing of the pretraining halves
    finetune, second = workshop.finetune(supply.other, hidden, draw=config.data.draw, shared_base=False)
    views = workshop.put_views(design.points)
    ask_base = workshop.ask_base(pretrain, views)
    game = Game(design, slots, pretrain, finetune, ask_base, workshop.query(finetune, views))
    return game, first, second


def _train(workshop: Workshop, game: Game) -> tuple[Trace, Trace]:
    """What the finetuned models answer, and what the pretrained ones would.

    Pretrained models are kept (other downstream tasks may follow); of finetuned ones only the answers.
    """
    chain = [game.pretrain, Then(game.finetune, game.ask)]
    finetuned = workshop.play(chain, game.slots, secret="pretrain")
    direct = workshop.play([game.pretrain, game.ask_base], game.slots, secret="pretrain")
    return finetuned, direct


def _evidence(workshop: Workshop, game: Game, finetuned: Trace, direct: Trace) -> Evidence:
    design, records = game.design, workshop.supply.secret.take(game.design.points)
    return Evidence(
        member=np.concatenate([design.member("shadow"), design.member("victim")]),
        logits=finetuned.stack("finetune", "logits"),
        labels=records.y if workshop.config.data.same_labels else None,
        features=blind_features(workshop.config, records),
        **direct_access(direct, records),
    )


def _offered(config: LeakageConfig) -> tuple[str, ...]:
    """Label-based thresholds mean something only where both stages have the same classes."""
    return OFFERED if config.data.same_labels else tuple(n for n in OFFERED if n not in ("loss", "margin"))


def _control(workshop: Workshop, game: Game, names: Sequence[str]) -> tuple[Scores, ...]:
    """Zero epochs of pretraining: whatever an attack scores above chance here is not membership."""
    untrained = replace(game.pretrain, fit=replace(game.pretrain.fit, epochs=0))
    bare = replace(game, pretrain=untrained)
    evidence = _evidence(workshop, bare, *_train(workshop, bare))
    seeing = [name for name in names if name != "blind"]  # blind never sees a model: it would be the same row
    config = workshop.config
    return attack_all(evidence, [game.fold], seeing, config.seed, group=CONTROL, progress=workshop.host.progress)


def _utility(workshop: Workshop, game: Game, finetuned: Trace, direct: Trace) -> dict[str, float]:
    """What the victims are worth, so that nobody audits broken models unawares."""
    design, victims = game.design, slice(game.design.shadows, None)
    records = workshop.supply.secret.take(design.points)
    result = pretrained_utility(direct, records, design.member("victim"), victims)
    if workshop.supply.test is not None:
        accuracy = finetuned.stack("finetune", "accuracy")[victims].mean()
        result["finetuned model, accuracy on test records"] = float(accuracy)
    return result
