"""MIA: does a finetuned model give away who was in its *finetuning* data?

The classical game (Carlini et al. 2022, arXiv:2112.03570) at the second stage: one public base, and
models finetuned from it on secret halves of the pool. Without base data the models are trained from scratch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from undertow.attacks.attack import MIA
from undertow.attacks.catalog import offered_by
from undertow.audits.chain import Decision, Host, Workshop, design_of, ready
from undertow.audits.language import blind_features
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
from undertow.audits.membership.leak import leak_test
from undertow.audits.membership.reading import reading
from undertow.audits.membership.together import TOGETHER, asked_together, together_rows
from undertow.audits.settings import LeakageConfig
from undertow.audits.supply import Supply
from undertow.engine.design import Design
from undertow.engine.play import Trace
from undertow.stages.query import Then
from undertow.training.privacy import Noise
from undertow.types import AuditResult, ConfigError, Evidence, Slot

GROUPED = ("rmia",)  # measured again with fewer records asked together


@dataclass(frozen=True, eq=False)
class Game:
    """Who plays, from which base, through which link."""

    design: Design
    slots: Sequence[Slot]
    link: Then
    start: tuple[str, ...] | None
    engines: dict[str, Decision]
    noise: Noise | None = None


def audit_mia(config: LeakageConfig, supply: Supply, host: Host) -> AuditResult:
    """Play the membership game at finetuning and measure every attack of the configuration.

    Raises ConfigError, BadInput, StoreError or WorkerDied; whatever was finished stays in the host's store.
    """
    supply = ready(config, supply)
    workshop, clock = Workshop(config, supply, host), Stopwatch()
    with clock.stage("choose engines"):
        game = lay_table(workshop)
    with clock.stage("train"):
        trace = workshop.play([game.link], game.slots, secret=game.link.name, start=game.start)
    evidence = _evidence(workshop, game, trace)
    names = choose_attacks(config.attacks, offered_by(MIA), evidence)
    design = game.design
    fold = held_out(design.shadows, design.victims)
    with clock.stage("attack"):
        scores = attack_all(evidence, [fold], names, config.seed, progress=host.progress)
    with clock.stage("measure"):
        rows = measure_all(scores, config.seed)
        rows = with_blind_error(rows, scores, evidence, config.seed, fold.targets)
        rows, leak = leak_test(scores, rows, evidence, config.seed, fold.targets)
    with clock.stage("fewer records asked together"):
        rows += together_rows(evidence, [fold], scores, GROUPED, config.seed)
    return AuditResult(
        audit="mia",
        config=plain(config),
        seed=config.seed,
        environment={
            **host.environment,
            "engines": {k: d.note() for k, d in game.engines.items()},
            TOGETHER: asked_together(names, evidence.member, fold.targets),
            **promise(game.noise),
        },
        data=supply.describe(),
        measurements=with_epsilon(rows, game.noise),
        timing=clock.seconds,
        utility=_utility(workshop, game, trace, evidence),
        warnings=supply.notes,
        scores=scores,
        ids=tuple(supply.ids[int(q)] for q in design.points),
        design=reading(evidence.member, fold.targets),
        leak=leak,
    )


def lay_table(workshop: Workshop, *, only_look: bool = False) -> Game:
    """Deal the memberships, decide the engines and train the base (unless we `only_look`)."""
    config, supply = workshop.config, workshop.supply
    _check(config, scratch=supply.other is None)
    design = design_of(config, supply)
    slots = [*design.slots("shadow"), *design.slots("victim")]
    views = workshop.put_views(design.points)
    if supply.other is None:
        scratch, decision = workshop.pretrain(supply.secret, config.finetune, slots)
        link = Then(scratch, workshop.query(scratch, views))
        return Game(design, slots, link, None, {"train": decision})
    base_slot = [Slot("base", 0, config.seed, None)]
    pretrain, first = workshop.pretrain(supply.other, config.pretrain, base_slot)
    finetune, second = workshop.finetune(supply.secret, slots, shared_base=True)
    link = Then(finetune, workshop.query(finetune, views))
    base = ("",) if only_look else workshop.play([pretrain], base_slot, secret="").keys["pretrain"]
    start = base * len(slots)
    return Game(design, slots, link, start, {"pretrain": first, "finetune": second}, finetune.noise)


def _check(config: LeakageConfig, scratch: bool) -> None:
    """Refuse what this game would silently ignore."""
    if config.victim_strategy not in ("", config.strategy) or config.data.relation != "subset":
        raise ConfigError("victim_strategy and data.relation are for tmi: in mia the finetuning rows are the secret")
    if scratch and (config.privacy.epsilon or config.strategy != "full"):
        what = "privacy.epsilon" if config.privacy.epsilon else f"strategy = {config.strategy!r}"
        raise ConfigError(f"{what} finetunes a base: mia needs pretrain.npz beside finetune.npz")


def _evidence(workshop: Workshop, game: Game, trace: Trace) -> Evidence:
    design, records = game.design, workshop.supply.secret.take(game.design.points)
    return Evidence(
        member=np.concatenate([design.member("shadow"), design.member("victim")]),
        logits=trace.stack(game.link.name, "logits"),
        labels=records.y,
        features=blind_features(workshop.config, records),
    )


def _utility(workshop: Workshop, game: Game, trace: Trace, evidence: Evidence) -> dict[str, float]:
    """What the victims are worth, so that nobody audits broken models unawares."""
    victims = slice(game.design.shadows, None)
    if evidence.logits is None or evidence.labels is None:
        return {}
    hit = evidence.logits[victims, :, 0].argmax(-1) == evidence.labels
    member = evidence.member[victims]
    result = {
        "finetuned model, accuracy on its members": float(hit[member].mean()),
        "finetuned model, accuracy on non-members": float(hit[~member].mean()),
    }
    if workshop.supply.test is not None:
        accuracy = trace.stack(game.link.name, "accuracy")[victims].mean()
        result["finetuned model, accuracy on test records"] = float(accuracy)
    return result
