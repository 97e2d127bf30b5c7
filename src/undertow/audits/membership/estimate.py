"""What an audit will cost, before it costs it."""

import time
from dataclasses import dataclass, replace

import numpy as np

from undertow.attacks.attack import MIA, TMI
from undertow.attacks.catalog import offered_by
from undertow.audits.chain import Decision, Host, Workshop, class_count, ready
from undertow.audits.language import blind_features
from undertow.audits.leakage import attack_all, choose_attacks, held_out
from undertow.audits.membership import mia, tmi
from undertow.audits.settings import LeakageConfig
from undertow.audits.supply import Supply
from undertow.rng import stream
from undertow.types import Array, Evidence, Examples, Params


@dataclass(frozen=True)
class Estimate:
    """Models that are trained (once per stage), seconds of work, and bytes on disk."""

    models: int
    seconds: float
    disk: int
    engines: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what is done to the records, and what is assumed


@dataclass(frozen=True)
class _Leg:
    """One stage for one group of models."""

    decision: Decision
    models: int
    kept: int  # bytes per model


def estimate(audit: str, config: LeakageConfig, supply: Supply, host: Host, workers: int = 1) -> Estimate:
    """Models, seconds and bytes of `undertow audit mia|tmi`: probed on the real data, nothing trained."""
    supply = ready(config, supply)
    workshop = Workshop(config, supply, host)
    legs = _tmi_legs(workshop) if audit == "tmi" else _mia_legs(workshop)
    training = sum(leg.models * leg.decision.steps * _pace(leg.decision) for leg in legs)
    arms = 2 if audit == "tmi" and config.control else 1
    attacking = arms * _attack_seconds(audit, config, supply)
    return Estimate(
        models=sum(leg.models for leg in legs),
        seconds=training / workers + attacking,
        disk=sum(leg.models * leg.kept for leg in legs),
        engines=tuple(dict.fromkeys(leg.decision.plan.engine for leg in legs)),
        notes=(*supply.notes, *(tmi.assumptions(config) if audit == "tmi" else ())),
    )


def _tmi_legs(workshop: Workshop) -> list[_Leg]:
    config = workshop.config
    game = tmi.lay_table(workshop)
    direct = _answer_bytes(config, workshop, game.ask_base.classes)
    answer = _answer_bytes(config, workshop, game.ask["shadow"].classes)
    model = _bytes(game.pretrain.task(game.slots[:1], [{}], workshop.supply.secret).states[0])
    pretrained = _Leg(game.engines["pretrain"], len(game.slots), model + direct)
    counts = {"finetune": config.shadows, "finetune victims": config.victims}
    finetuned = [_Leg(game.engines[name], count, answer) for name, count in counts.items()]
    if not config.control:
        return [pretrained, *finetuned]
    untrained = replace(pretrained, decision=replace(pretrained.decision, steps=0))
    return [pretrained, *finetuned, untrained, *finetuned]


def _mia_legs(workshop: Workshop) -> list[_Leg]:
    game = mia.lay_table(workshop, only_look=True)
    answer = _answer_bytes(workshop.config, workshop, class_count(workshop.supply.secret))
    return [_Leg(d, 1 if name == "pretrain" else len(game.slots), answer) for name, d in game.engines.items()]


def _pace(decision: Decision) -> float:
    return decision.seconds.get(decision.plan.engine, 0.0)


def _answer_bytes(config: LeakageConfig, workshop: Workshop, classes: int) -> int:
    points = config.challenge or len(workshop.supply.secret)
    return points * config.views * classes * 4


def _bytes(state: Params) -> int:
    return sum(int(value.nbytes) for value in state.values())


def _attack_seconds(audit: str, config: LeakageConfig, supply: Supply, points: int = 24) -> float:
    """Time the attacks on noise for a few points, scaled to all: their cost is per point."""
    asked = config.challenge or len(supply.secret)
    few = min(points, asked)
    evidence = _noise(config, supply.secret.take(np.arange(few)), _classes(audit, supply))
    offered = tmi.offered() if audit == TMI else offered_by(MIA)
    names = choose_attacks(config.attacks, offered, evidence)
    start = time.perf_counter()
    attack_all(evidence, [held_out(config.shadows, config.victims)], names, config.seed)
    return (time.perf_counter() - start) * asked / few


def _classes(audit: str, supply: Supply) -> int:
    """Classes of the finetuned models, whose answers are attacked."""
    return class_count(supply.other if audit == "tmi" and supply.other is not None else supply.secret)


def _noise(config: LeakageConfig, records: Examples, classes: int) -> Evidence:
    rng = stream(config.seed, "estimate")
    models, points = config.shadows + config.victims, len(records)
    member: Array = np.zeros((models, points), bool)
    member[::2] = rng.random((len(member[::2]), points)) < 0.5
    member[1::2] = ~member[: len(member) - len(member) % 2 : 2]
    logits = rng.standard_normal((models, points, config.views, classes))
    labels = rng.integers(classes, size=points)  # what they are does not matter: time is taken
    return Evidence(member, None, logits, labels, logits, labels, features=blind_features(config, records))
