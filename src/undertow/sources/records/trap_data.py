"""Records for the data-trap audit: the embedded digits, CIFAR-10, Caltech-101, or the user's own npz."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from undertow.audits.datatrap.settings import TrapData
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.supply import row_hashes
from undertow.rng import stream
from undertow.sources.records.npz_records import Own, npz_records
from undertow.sources.records.public import CALTECH101, CIFAR10, CIFAR100, Dataset, open_images
from undertow.types import BadInput, ConfigError, Examples, MissingExtra

NAMED = {dataset.name: dataset for dataset in (CIFAR10, CALTECH101)}


def load_traps(settings: TrapData, seed: int) -> TrapSupply:
    """The records split at random; copies of a record count once.

    Raises BadInput where there are too few records or their values lie outside 0..1, ConfigError where the folder of
    a named dataset is missing, MissingExtra without scikit-learn (digits), Pillow (CIFAR-10) or pyarrow (Caltech-101).
    """
    records, own = _open(settings, settings.source, _wanted(settings), seed)
    return _told(_split(records, settings, seed), own)


def load_images(settings: TrapData, seed: int, side: int = 0) -> TrapSupply:
    """The same as images (N, C, H, W) with values in -1..1, as vision transformers read them.

    `side`: brought to so many pixels a side (0: as the settings say). Where `settings.attacker` names another set,
    the attacker's records are of that one. BadInput where the records are no images, or not of `side`.
    """
    if side:
        settings = replace(settings, size=side)
    other = _named(CIFAR100, settings, settings.auxiliary, seed) if settings.attacker else None
    records, own = _open(settings, settings.source, _wanted(settings), seed)
    supply = _told(_split(records, settings, seed, other), own)
    auxiliary, victim, test = (_centred(part, side) for part in (supply.auxiliary, supply.victim, supply.test))
    return replace(supply, auxiliary=auxiliary, victim=victim, test=test)


def _centred(part: Examples, side: int) -> Examples:
    x = part.x.reshape(-1, 1, 8, 8) if part.x.shape[1:] == (64,) else part.x
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or (side and x.shape[2:] != (side, side)):
        raise BadInput(f"{part.name}: records of shape {part.x.shape[1:]} are no images that this model reads")
    return Examples(2 * x - 1, part.y, part.name)


def _wanted(settings: TrapData) -> int:
    return settings.victim + settings.test + (0 if settings.attacker else settings.auxiliary)


def _split(records: Examples, settings: TrapData, seed: int, attacker: Examples | None = None) -> TrapSupply:
    if records.x.min() < 0 or records.x.max() > 1:
        raise BadInput(f"{records.name}: values lie in {records.x.min():g}..{records.x.max():g}; bring them to 0..1")
    own = settings.auxiliary if attacker is None else 0
    different = _once(records)
    order = different[stream(seed, "datatrap", "split").permutation(len(different))]
    if len(order) < own + settings.victim + 1:
        raise BadInput(
            f"{records.name}: {len(order)} different records are too few for data.auxiliary = {own}, "
            f"data.victim = {settings.victim} and some that test"
        )
    ends = (own, own + settings.victim, own + settings.victim + settings.test)
    auxiliary, victim, test = (order[a:b] for a, b in zip((0, *ends), ends, strict=False))
    return TrapSupply(
        records.name,
        records.take(auxiliary) if attacker is None else attacker.take(_once(attacker)[: settings.auxiliary]),
        records.take(victim),
        records.take(test),
        classes=int(records.y.max()) + 1,
        ids=tuple(f"{records.name}-{i}" for i in victim),
        embedded=settings.source == "digits",
        picture=_picture(records.x.shape[1:]),
        attacker_classes=0 if attacker is None else int(attacker.y.max()) + 1,
    )


def _picture(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which such a record can be looked at."""
    if shape == (64,):
        return (8, 8)
    return shape if len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3)) else ()


def _open(settings: TrapData, source: str, wanted: int, seed: int) -> tuple[Examples, Own | None]:
    """The records, and how they were read where they are the user's own."""
    if source == "digits":
        return _digits(), None
    if source in NAMED:
        return _named(NAMED[source], settings, wanted, seed), None
    own = npz_records(Path(source))[0]
    return own.records, own


def _told(supply: TrapSupply, own: Own | None) -> TrapSupply:
    """The supply with what was done to the user's records: labels that were mapped, records that are not used."""
    if own is None:
        return supply
    parts = (supply.auxiliary, supply.victim, supply.test)
    used, there = sum(map(len, parts)), len(own.records)
    sizes = " + ".join(f"{len(part):,}" for part in parts)
    left = (f"{used:,} of {there:,} records of {supply.name} are used ({sizes}: auxiliary, finetuned on, tested on).",)
    return replace(supply, notes=(*own.notes, *(left if used < there else ())), labels=own.mapping)


def _named(dataset: Dataset, settings: TrapData, wanted: int, seed: int) -> Examples:
    """So many of a public dataset's training images, drawn at random."""
    if not settings.folder:
        raise ConfigError(f"data.source = {dataset.name!r} needs --data, the folder that holds {dataset.name}")
    train = open_images(dataset, settings.folder, settings.size or 32)["train"]
    rows = np.sort(stream(seed, "datatrap", "draw").permutation(len(train))[: wanted + 50])
    pixels = train.read(rows).transpose(0, 3, 1, 2)
    labels = train.labels[dataset.label][rows].astype(np.int64)
    return Examples((pixels / 255).astype(np.float32), labels, dataset.name)


def _once(records: Examples) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows of records that are not copies of an earlier one."""
    first: dict[object, int] = {}
    for row, key in enumerate(row_hashes(records.x)):
        first.setdefault(key, row)
    return np.array(sorted(first.values()))


def _digits() -> Examples:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "train") from error
    raw = load_digits()
    return Examples((raw.data / 16).astype(np.float32), raw.target.astype(np.int64), "digits")
