"""What differs between perceptrons, vision transformers and BERT in the data-trap game: the stages, and scoring."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from undertow.audits.base import Base
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.stored import put_examples
from undertow.models.architecture import Architecture
from undertow.stages.finetune import Finetune
from undertow.stages.plant import Plant
from undertow.stages.pretrain import Pretrain
from undertow.training.choose import Plan, pick_device
from undertow.traps import Captures, MlpTrap, Trap, Whisper, best_expected, captures
from undertow.traps.recorder import Candidates
from undertow.types import Array, ConfigError, Params, Slot, Stage, Store


class Planting(Stage, Protocol):
    """A stage that plants traps, and says with which key."""

    def trap(self, slot: Slot, state: Params, store: Store) -> Trap: ...


@dataclass(frozen=True, eq=False)
class Judged:
    """Readings as records, one for each trap, beside the victim's."""

    candidates: Candidates  # (K, 1, d); images in 0..1, texts as token ids
    captures: Captures
    truth: Array  # (N, d) the victim's records as the traps could hold them
    of: Array  # (N,) int: the victim's record each of them is, or lies in
    picture: tuple[int, ...] = ()  # shape of a record as a picture; empty: it is none
    quality: Mapping[str, tuple[float | None, int, str]] = field(
        default_factory=dict
    )  # metric: value, of how many, unit


@dataclass(frozen=True, eq=False)
class TrapKit:
    """One family of models, from checkpoint to records."""

    architecture: Architecture
    pretrain: Pretrain  # not used where the checkpoint is given
    plant: Planting
    finetune: Finetune
    named: Callable[[Params], Params]  # the tensors as traps and published checkpoints name them
    judge: Callable[[Trap, Params, Candidates], Judged]  # what was read of traps in a planted checkpoint, so named
    merge: Stage | None = None  # makes a model of what the finetuning leaves; None: it is one
    graded: bool = True  # whether the checkpoint's own head is for the victim's classes


def sequential_plan(config: DataTrapConfig) -> Plan:
    """How single models are trained and asked."""
    engine = config.engine
    if engine.name not in ("auto", "sequential"):
        raise ConfigError(f"engine.name = {engine.name!r}: one model is trained at a time; use 'sequential'")
    return Plan("sequential", 1, engine.dtype, engine.threads, pick_device(engine.device))


def expected_share(config: DataTrapConfig, supply: TrapSupply) -> float:
    """Of records like the victim's, the share that should fire a trap."""
    n, batch = len(supply.victim), config.finetune.batch
    planned = best_expected(n, batch, classes=supply.classes, auxiliary=len(supply.auxiliary))
    return (config.traps.expected or planned) / n


def dense_kit(config: DataTrapConfig, supply: TrapSupply, base: Base, store: Store) -> TrapKit:
    """Perceptrons and CNNs: traps in two dense layers with ReLU."""
    model, fit, traps = config.model, config.finetune, config.traps
    plan, shape, classes = sequential_plan(config), supply.shape, supply.classes
    architecture = base.architecture
    auxiliary, victim = put_examples(store, supply.auxiliary), put_examples(store, supply.victim)
    plant = Plant(
        auxiliary, architecture, shape, classes, traps.count, expected_share(config, supply), traps.nested,
        traps.slope, traps.rows, 0.0 if traps.slope else fit.lr / fit.batch, plan,
        Whisper(fit.lr) if fit.optimizer == "adamw" else None, traps.layer, config.keep_head,
    )  # fmt: skip

    def judge(trap: Trap, planted: Params, found: Candidates) -> Judged:
        assert isinstance(trap, MlpTrap)
        truth = plant.inputs(planted, supply.victim.x)
        domain = trap.domain
        seen = captures(found, truth, grid=domain.grid)
        return Judged(found, seen, truth, np.arange(len(truth)), supply.picture if model.kind == "mlp" else ())

    return TrapKit(
        architecture=architecture,
        pretrain=Pretrain(auxiliary, architecture, shape, classes, config.pretrain, plan),
        plant=plant,
        finetune=Finetune(
            victim, architecture, shape, classes, config.strategy, 0, fit, plan,
            layers=len(model.hidden) + 1 - traps.layer, keep_head=config.keep_head, head_rate=config.head_rate,
            clip=config.clip,
        ),
        named=lambda params: params,
        judge=judge,
    )  # fmt: skip
