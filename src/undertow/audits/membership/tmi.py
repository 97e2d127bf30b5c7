"""TMI: does a finetuned model give away who was in the *pretraining* data? (Abascal et al., PoPETs 2024)

The game: the challenger pretrains on a secret half of the pool, replaces the head and finetunes on other data.
The adversary queries only the finetuned model and says, for each record of the pool, whether pretraining saw
it. It may pretrain and finetune shadow models of its own, on halves it knows.

Attacks of kind "direct" query the pretrained model itself, which this adversary cannot: the same rule at both places
tells what finetuning hides from it. They bound nothing: another rule may do better through the finetuned model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from undertow.attacks.attack import TMI
from undertow.attacks.catalog import offered_by
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
from undertow.audits.membership.blind import with_blind_error
from undertow.audits.membership.direct import direct_differences, too_costly
from undertow.audits.membership.leak import leak_test
from undertow.audits.membership.reading import reading
from undertow.audits.membership.together import TOGETHER, asked_together, together_rows
from undertow.audits.settings import LeakageConfig
from undertow.audits.supply import Supply
from undertow.engine.design import Design
from undertow.engine.membership import Fold
from undertow.engine.play import Trace
from undertow.stages.finetune import Finetune
from undertow.stages.likelihood import Likelihood
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query, Then
from undertow.training.privacy import Noise
from undertow.types import AuditResult, BadInput, Evidence, Scores, Slot

STAGES = {"shadow": "finetune", "victim": "finetune victims"}  # where the result names the engines of each role
GROUPED = ("tmi-default",)  # measured again with fewer records asked together
CONTROL = "no-pretraining"  # the same game on models whose pretraining never happened


@dataclass(frozen=True, eq=False)
class Game:
    """The table once laid: who plays, on which chain, and what they are asked."""

    design: Design
    slots: Sequence[Slot]
    engines: Mapping[str, Decision]
    pretrain: Pretrain
    ask_base: Query | Likelihood
    finetune: Mapping[str, Finetune]  # by role: the attacker may guess wrong how the victims are finetuned
    ask: Mapping[str, Query]

    @property
    def fold(self) -> Fold:
        return held_out(self.design.shadows, self.design.victims)

    @property
    def noise(self) -> Noise | None:
        """Of the victims' finetuning; the shadows' is the same."""
        return self.finetune["victim"].noise


def audit_tmi(config: LeakageConfig, supply: Supply, host: Host) -> AuditResult:
    """Play the TMI game on `supply` and measure every attack of the configuration.

    Raises ConfigError, BadInput, StoreError or WorkerDied; whatever was finished stays in the host's store.
    """
    supply = ready(config, supply)
    workshop, clock = Workshop(config, supply, host), Stopwatch()
    with clock.stage("choose engines"):
        game = lay_table(workshop)
    with clock.stage("train"):
        finetuned, direct = _train(workshop, game)
    evidence = _evidence(workshop, game, finetuned, direct)
    costly = too_costly(evidence)
    names = choose_attacks(config.attacks, _offered(config, evidence), evidence)
    with clock.stage("attack"):
        scores = attack_all(evidence, [game.fold], names, config.seed, progress=host.progress)
    controls: tuple[Scores, ...] = ()
    if config.control:
        with clock.stage("control"):
            controls = _control(workshop, game, names)
    with clock.stage("measure"):
        rows, control_rows = measure_all(scores, config.seed), measure_all(controls, config.seed)
        rows = with_blind_error(rows, scores, evidence, config.seed, game.fold.targets)
        rows, leak = leak_test(scores, rows, evidence, config.seed, game.fold.targets)
        rows += direct_differences(scores)
    with clock.stage("fewer records asked together"):
        rows += together_rows(evidence, [game.fold], scores, GROUPED, config.seed)
    return AuditResult(
        audit="tmi",
        config=plain(config),
        seed=config.seed,
        environment={
            **host.environment,
            "engines": {name: decision.note() for name, decision in game.engines.items()},
            "finetuning": finetuning(config),
            TOGETHER: asked_together(names, evidence.member, game.fold.targets),
            **promise(game.noise),
        },
        data=supply.describe(),
        measurements=with_epsilon(rows, game.noise),
        controls=with_epsilon(control_rows, game.noise),
        timing=clock.seconds,
        utility=_utility(workshop, game, finetuned, direct),
        warnings=(*supply.notes, *assumptions(config)),
        scores=(*scores, *controls),
        ids=tuple(supply.ids[int(q)] for q in game.design.points),
        not_run=(costly,) if costly and costly["attack"] not in names else (),
        design=reading(evidence.member, game.fold.targets),
        leak=leak,
    )


def offered() -> tuple[str, ...]:
    """Names of the attacks that run unasked, the default rule first."""
    return offered_by(TMI, first=GROUPED)


def lay_table(workshop: Workshop) -> Game:
    """Deal the memberships, decide the engines of all stages, and make the links."""
    config, supply = workshop.config, workshop.supply
    if supply.other is None:
        raise BadInput(f"{supply.name}: tmi needs finetuning data beside the audited pretraining pool")
    design = design_of(config, supply)
    slots = [*design.slots("shadow"), *design.slots("victim")]
    views = workshop.put_views(design.points)
    engines, finetune, ask = {}, {}, {}
    for role, strategy in finetuning(config)["strategy"].items():
        hidden = [replace(s, member=None) for s in slots if s.role == role]  # finetuning knows nothing of the halves
        finetune[role], engines[STAGES[role]] = workshop.finetune(
            supply.other, hidden, draw=config.data.draw, relation=config.data.relation, strategy=strategy
        )
        ask[role] = workshop.query(finetune[role], views)
    pretrain, engines["pretrain"] = workshop.pretrain(supply.secret, config.pretrain, slots)
    ask_base = workshop.ask_base(pretrain, views)
    return Game(design, slots, engines, pretrain, ask_base, finetune, ask)


def finetuning(config: LeakageConfig) -> dict[str, Any]:
    """How each role is finetuned, and how the rows of the two relate."""
    strategy = {"shadow": config.strategy, "victim": config.victim_strategy or config.strategy}
    return {"strategy": strategy, "relation": config.data.relation}


def assumptions(config: LeakageConfig) -> tuple[str, ...]:
    """What the reader must know of the attacker's finetuning, where it is not the default."""
    found = []
    shadow, victim = finetuning(config)["strategy"].values()
    if shadow != victim:
        found.append(
            f"Mismatch: the attacker finetunes its shadows by {shadow!r}, the victims are finetuned by {victim!r}. "
            "One that guesses right may do better."
        )
    if config.data.relation == "same":
        found.append(
            "The attacker finetunes on exactly the victims' rows (data.relation = 'same'): more than it usually knows."
        )
    return tuple(found)


def _train(workshop: Workshop, game: Game) -> tuple[Trace, Trace]:
    """What the finetuned models answer, and what the pretrained ones would.

    Pretrained models are kept (other downstream tasks may follow); of finetuned ones only the answers.
    """
    base = workshop.play([game.pretrain], game.slots, secret="pretrain").keys["pretrain"]
    keys: list[str] = []
    for role, stage in game.finetune.items():
        mine = [i for i, slot in enumerate(game.slots) if slot.role == role]
        some = [game.slots[i] for i in mine]
        link = Then(stage, game.ask[role])
        keys += workshop.play([link], some, secret="", start=[base[i] for i in mine]).keys["finetune"]
    direct = workshop.play([game.ask_base], game.slots, secret="", start=base)
    return Trace({"finetune": tuple(keys)}, workshop.store), direct


def _evidence(workshop: Workshop, game: Game, finetuned: Trace, direct: Trace) -> Evidence:
    design, records = game.design, workshop.supply.secret.take(game.design.points)
    return Evidence(
        member=np.concatenate([design.member("shadow"), design.member("victim")]),
        logits=finetuned.stack("finetune", "logits"),
        labels=records.y if workshop.config.data.same_labels else None,
        features=blind_features(workshop.config, records),
        **direct_access(direct, records),
    )


def _offered(config: LeakageConfig, evidence: Evidence) -> tuple[str, ...]:
    """Label-based thresholds mean something only where both stages have the same classes."""
    left = set() if config.data.same_labels else {"loss", "margin"}
    costly = too_costly(evidence)
    left |= {costly["attack"]} if costly else set()
    return tuple(name for name in offered() if name not in left)


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
