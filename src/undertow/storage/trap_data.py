"""Records for the data-trap audit: the embedded digits, CIFAR-10, or the user's own npz; values in 0..1."""

from pathlib import Path

import numpy as np

from undertow.audits.datatrap_settings import TrapData
from undertow.audits.supply import row_hashes
from undertow.audits.trap_supply import TrapSupply
from undertow.rng import stream
from undertow.storage.poison_images import npz_examples
from undertow.storage.public import CIFAR10, open_images
from undertow.types import BadInput, ConfigError, Examples, MissingExtra


def load_traps(settings: TrapData, seed: int) -> TrapSupply:
    """The records split at random; copies of a record count once.

    Raises BadInput where there are too few records or their values lie outside 0..1, ConfigError where the folder of
    a named dataset is missing, MissingExtra without scikit-learn (digits) or Pillow (CIFAR-10).
    """
    wanted = settings.auxiliary + settings.victim + settings.test
    records = _open(settings, wanted, seed)
    if records.x.min() < 0 or records.x.max() > 1:
        raise BadInput(f"{records.name}: values lie in {records.x.min():g}..{records.x.max():g}; bring them to 0..1")
    different = _once(records)
    order = different[stream(seed, "datatrap", "split").permutation(len(different))]
    if len(order) < settings.auxiliary + settings.victim + 1:
        raise BadInput(
            f"{records.name}: {len(order)} different records are too few for data.auxiliary = {settings.auxiliary}, "
            f"data.victim = {settings.victim} and some that test"
        )
    ends = (settings.auxiliary, settings.auxiliary + settings.victim, wanted)
    auxiliary, victim, test = (order[a:b] for a, b in zip((0, *ends), ends, strict=False))
    return TrapSupply(
        records.name,
        *(records.take(rows) for rows in (auxiliary, victim, test)),
        classes=int(records.y.max()) + 1,
        ids=tuple(f"{records.name}-{i}" for i in victim),
        embedded=settings.source == "digits",
        picture=_picture(records.x.shape[1:]),
    )


def _picture(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which such a record can be looked at."""
    if shape == (64,):
        return (8, 8)
    return shape if len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3)) else ()


def _open(settings: TrapData, wanted: int, seed: int) -> Examples:
    if settings.source == "digits":
        return _digits()
    if settings.source != "cifar10":
        return npz_examples(Path(settings.source))
    if not settings.folder:
        raise ConfigError("data.source = 'cifar10' needs --data, the folder that holds cifar10")
    train = open_images(CIFAR10, settings.folder, settings.size or 32)["train"]
    rows = np.sort(stream(seed, "datatrap", "draw").permutation(len(train))[: wanted + 50])
    pixels = train.read(rows).transpose(0, 3, 1, 2)
    return Examples((pixels / 255).astype(np.float32), train.labels["label"][rows].astype(np.int64), "cifar10")


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
