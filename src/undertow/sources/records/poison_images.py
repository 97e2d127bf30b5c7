"""Images for the poisoning audit: the embedded digits, or the user's own npz."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from undertow.audits.poisoning.settings import Candidates
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.supply import share_used
from undertow.rng import stream
from undertow.sources.records.npz_records import Own, npz_records
from undertow.types import BadInput, Examples, MissingExtra

PRETRAINED = 0.5  # share of the records the checkpoint is trained on, which are the attacker's auxiliary data too


def image_supply(settings: Candidates, seed: int) -> PoisonSupply:
    """Records split at random into pretraining (and auxiliary), candidates, look-alikes and held-out ones.

    Raises BadInput naming the file and what it lacks, MissingExtra where scikit-learn is absent.
    """
    if settings.source == "digits":
        records, name = _digits()
        return divided(records, name, settings, seed, embedded=True)
    own = npz_records(Path(settings.source))[0]
    supply = divided(_standardised(own), own.records.name, settings, seed)
    there, kept = len(own.records), settings.points
    notes = (*own.notes, *share_used(kept, there, f"records of {supply.name} are candidates", "data.points"))
    notes = tuple(
        note.replace("the others are not used", f"{PRETRAINED:.0%} pretrain the checkpoint") for note in notes
    )
    if settings.noise:
        notes = (*notes, f"Gaussian noise of deviation {settings.noise:g} was added to the records (data.noise).")
    return replace(supply, notes=notes, labels=own.mapping)


def divided(records: Examples, name: str, settings: Candidates, seed: int, *, embedded: bool = False) -> PoisonSupply:
    """The parts of one dataset; half of what is neither pretrained on nor a candidate are look-alikes."""
    count, pretrained = len(records), int(len(records) * PRETRAINED)
    left = count - pretrained - settings.points
    if left < 40:
        raise BadInput(
            f"{name}: {count} records are too few for data.points = {settings.points}: {pretrained} pretrain the "
            f"checkpoint and at least 40 are held out; use at most {max(count - pretrained - 40, 0)}"
        )
    noise = stream(seed, "record noise").standard_normal(records.x.shape).astype(np.float32)
    noisy = Examples(records.x + np.float32(settings.noise) * noise, records.y, records.name)
    order = stream(seed, "split").permutation(count)
    pretrain, candidates, rest = np.split(order, [pretrained, pretrained + settings.points])
    likes = rest[: min(len(rest) // 2, settings.points)]
    base = noisy.take(pretrain)
    return PoisonSupply(
        name=name,
        candidates=noisy.take(candidates),
        targets=settings.targets,
        auxiliary=base,
        held_out=noisy.take(rest[len(likes) :]),
        classes=int(records.y.max()) + 1,
        pretrain=base,
        lookalikes=noisy.take(likes),
        ids=tuple(f"{records.name}-{i}" for i in candidates),
        embedded=embedded,
    )


def _digits() -> tuple[Examples, str]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "train") from error
    raw = load_digits()
    x = (raw.data / 16 - 0.3).astype(np.float32)
    return Examples(x, raw.target.astype(np.int64), "digit"), "digits (scikit-learn)"


def _standardised(own: Own) -> Examples:
    raw = own.records
    return Examples((raw.x - raw.x.mean(0)) / (raw.x.std(0) + 0.1), raw.y, raw.name)
