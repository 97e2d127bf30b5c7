"""Perceptrons whose victim trains LoRA in the data-trap audit: records are read approximately, off the factors."""

from dataclasses import fields, replace

import numpy as np

from undertow.audits.base import Base
from undertow.audits.datatrap.kit import Judged, TrapKit, dense_kit
from undertow.audits.datatrap.kit_vit import quality
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.datatrap.supply import TrapSupply
from undertow.stages.lora import Adapt, Merge, PlantLora, published
from undertow.stages.plant import Plant
from undertow.traps import LoraCandidates, LoraTrap, Trap, captures
from undertow.traps.recorder import Candidates
from undertow.types import Array, Params, Store

SIMILAR = 0.8  # SSIM from which a reading counts as seen


def lora_kit(config: DataTrapConfig, supply: TrapSupply, base: Base, store: Store) -> TrapKit:
    """`dense_kit`, but the victim publishes the factors and not the merged weights."""
    kit = dense_kit(config, supply, base, store)
    assert isinstance(kit.plant, Plant)
    dense, fit = kit.plant, kit.finetune
    adapt = Adapt(**{f.name: getattr(fit, f.name) for f in fields(fit)} | {"rank": config.lora_rank})

    def judge(trap: Trap, planted: Params, found: Candidates) -> Judged:
        assert isinstance(trap, LoraTrap)
        assert isinstance(found, LoraCandidates)
        return judge_readings(trap, found, dense.inputs(planted, supply.victim.x), supply.picture)

    return replace(
        kit, plant=PlantLora(dense), finetune=adapt, named=published, judge=judge,
        merge=Merge(adapt.architecture, adapt.shape, adapt.classes, adapt.rank),
    )  # fmt: skip


def judge_readings(trap: LoraTrap, found: LoraCandidates, truth: Array, picture: tuple[int, ...]) -> Judged:
    """Readings against the victim's records (N, D).

    A reading is right if the nearest record is the one whose projection fits best, of those that fire the trap.
    `identified` are the records so found, `identified_blind` those that the prior alone would find: chance. Pictures
    are compared with the best-fitting record, not with the nearest.
    """
    fires = truth @ trap.dense.directions.T > trap.dense.thresholds
    held = np.where((found.step[:, 0] != 0) & fires.any(0), found.best(truth, fires), -1)
    nearest, guessed = (_nearest(values, truth) for values in (found.values[:, 0], trap.blind()))
    right = nearest == held
    seen = replace(captures(found, truth), nearest=np.maximum(nearest, 0), right=right)
    measured: dict[str, tuple[float | None, int, str]] = {
        "identified": (float(len(np.unique(nearest[right]))), len(found), "traps"),
        "identified_blind": (float(len(np.unique(guessed[guessed == held]))), len(found), "traps"),
    }
    if len(picture) == 2:
        there = np.where(held < 0, np.inf, seen.error)
        beside = replace(seen, nearest=np.maximum(held, 0), error=there)
        measured |= quality(found.values[:, 0], truth, beside, (picture[0], picture[1]), SIMILAR)
    return Judged(found, seen, truth, np.arange(len(truth)), picture, measured)


def _nearest(values: Array, truth: Array) -> Array:
    """(K,) int: the record (of `truth`, (N, D)) at the least mean squared distance; -2 where nothing was read."""
    near: Array = ((truth**2).sum(1) - 2 * np.nan_to_num(values) @ truth.T).argmin(1)
    return np.where(np.isfinite(values).all(1), near, -2)
