"""Vision transformers in the data-trap audit: pretrained here with their room kept free, or given."""

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from undertow.audits.base import Base
from undertow.audits.datatrap.kit import Judged, TrapKit, expected_share, sequential_plan
from undertow.audits.datatrap.settings import DataTrapConfig
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.stored import put_examples
from undertow.models.huggingface import HuggingFace
from undertow.stages.finetune import Finetune
from undertow.stages.plant_transformer import PlantVit, bare
from undertow.stages.pretrain_roomy import PretrainRoomy
from undertow.traps import Captures, Room, Trap, VitTrap, captures
from undertow.traps.recorder import Candidates
from undertow.types import Array, Params, Store

NEAR = 0.0125  # of the range from black to white: largest error of a pixel of an exact capture
SIMILAR = (0.95, 0.8)  # SSIM from which a patch, and a whole image, counts as seen


def vit_kit(config: DataTrapConfig, supply: TrapSupply, base: Base, store: Store) -> TrapKit:
    """Traps for patches or whole images; the supply's images lie in -1..1."""
    traps, plan, shape, classes = config.traps, sequential_plan(config), supply.shape, supply.classes
    architecture = base.architecture
    auxiliary, victim = put_examples(store, supply.auxiliary), put_examples(store, supply.victim)
    pretrain = PretrainRoomy(
        auxiliary, architecture, shape, supply.attacker_classes or classes, config.pretrain, plan, traps.side, traps.key
    )
    patches = 1 if traps.whole else np.prod(shape[1:]) / _patch(architecture) ** 2
    share = expected_share(config, supply) / float(patches)

    def judge(trap: Trap, _: Params, found: Candidates) -> Judged:
        assert isinstance(trap, VitTrap)
        return judge_images(trap, found, supply.victim.x)

    return TrapKit(
        architecture=architecture,
        pretrain=pretrain,
        plant=PlantVit(auxiliary, traps.count, share, traps.whole, traps.side, traps.key),
        finetune=Finetune(
            victim, architecture, shape, classes, config.strategy, 0, config.finetune, plan,
            head_rate=config.head_rate, clip=config.clip,
        ),
        named=bare,
        judge=judge,
        graded=base.params is None and not supply.attacker_classes,
    )  # fmt: skip


def judge_images(trap: VitTrap, found: Candidates, images: Array) -> Judged:
    """Whole readings against whole records, patches or images; grey, in 0..1."""
    room, parts = trap.room, trap.room.patches
    truth = _shown(room, room.grey(images), trap.whole)
    values = _shown(room, found.values, trap.whole)
    accepted = np.all(found.accepted, axis=1, keepdims=True)
    reasons = np.array([next((r for r in row if r), "") for row in found.reasons], object)[:, None]
    step = found.step.min(1, keepdims=True)
    held = replace(found, values=values[:, None], step=step, accepted=accepted, reasons=reasons)
    seen = captures(held, truth, NEAR)
    side = (room.grid[0] * room.side, room.grid[1] * room.side) if trap.whole else (room.side, room.side)
    of = np.arange(len(truth)) // (1 if trap.whole else parts)
    return Judged(held, seen, truth, of, side, quality(held.values[:, 0], truth, seen, side, SIMILAR[trap.whole]))


def quality(
    values: Array, truth: Array, seen: Captures, side: tuple[int, int], limit: float
) -> dict[str, tuple[float | None, int, str]]:
    """Mean SSIM, median PSNR and distinct records of at least SSIM `limit`, by scikit-image; empty without it."""
    if find_spec("skimage") is None or min(side) < 3:
        return {}
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    window = 7 if min(side) >= 7 else 3
    similar, noise = np.full((2, len(values)), np.nan)
    for k in np.flatnonzero(np.isfinite(seen.error)):
        a, b = truth[seen.nearest[k]].reshape(side), values[k].reshape(side)
        similar[k] = structural_similarity(a, b, data_range=1.0, win_size=window)
        noise[k] = peak_signal_noise_ratio(a, b, data_range=1.0)
    known = np.isfinite(similar)
    written, distinct = int(known.sum()), len(np.unique(seen.nearest[similar >= limit]))
    return {
        "similar_unique": (float(distinct), len(values), "traps"),
        "ssim": (float(similar[known].mean()) if written else None, written, "readings"),
        "psnr": (float(np.median(noise[known])) if written else None, written, "readings"),
    }


def _shown(room: Room, patches: Array, whole: bool) -> Array:
    """Patches (N, P, d) in -1..1 as flat pictures in 0..1: of whole images (N, D), or one by one (N P, d)."""
    values = (patches + 1) / 2
    return room.pictures(values).reshape(len(values), -1) if whole else values.reshape(-1, room.pixels)


def _patch(architecture: object) -> int:
    assert isinstance(architecture, HuggingFace)
    return int(json.loads(architecture.config).get("patch_size", 16))
