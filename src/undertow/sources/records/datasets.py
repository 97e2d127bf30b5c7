"""Where records come from: the embedded digits, a folder of npz files, or a pair of public datasets."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from undertow.audits.settings import DataSettings, ModelSettings
from undertow.audits.supply import Supply, split, with_label_noise
from undertow.sources.records.own_records import own_records
from undertow.sources.records.pairs import load_pair
from undertow.sources.records.public import HUB
from undertow.types import ConfigError, Examples, MissingExtra

PLAIN = ModelSettings()  # reads vectors, and images of any shape as such


def load_supply(audit: str, settings: DataSettings, seed: int, model: ModelSettings = PLAIN) -> Supply:
    """The records of an audit, label noise applied; raises BadInput or ConfigError naming file and fix.

    `model` says what reads a user's records: images of one channel are given as (N, 1, H, W), token ids stay whole.
    """
    if settings.pair:
        if audit != "tmi":
            raise ConfigError(f"data.pair = {settings.pair!r} is for tmi; {audit} audits one dataset: --data DIR")
        supply = load_pair(settings, seed)
    elif settings.source == "digits":
        supply = digits(settings, seed)
    elif settings.source == HUB:
        raise ConfigError(
            "--data hub downloads pairs of public datasets: name one, e.g. --preset cifar100-cifar10-linear-small"
        )
    else:
        supply = own_records(audit, Path(settings.source), settings, seed, model)
    if settings.label_noise:
        classes = int(supply.secret.y.max()) + 1
        supply = replace(supply, secret=with_label_noise(supply.secret, settings.label_noise, classes, seed))
    if settings.label_noise and not supply.embedded:
        said = f"{settings.label_noise:.0%} of the audited pool have a random label (data.label_noise)"
        supply = replace(supply, notes=(*supply.notes, f"{said}: models memorise these more than true ones."))
    return supply


def digits(settings: DataSettings, seed: int) -> Supply:
    """The 1,797 scanned 8x8 digits that scikit-learn ships, split into audited, other and test records."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "train") from error
    raw = load_digits()
    x = raw.data.astype(np.float32) / 16
    x = (x - x.mean(0)) / (x.std(0) + 0.1)  # some pixels are always blank
    records = Examples(x, raw.target.astype(np.int64), "digits")
    audited, other, rest = split(records, seed, settings.pool or 400, settings.other or 1000)
    pictures = (255 - raw.images[audited] * 15.9).astype(np.uint8)
    return Supply(
        name="digits (scikit-learn)",
        secret=records.take(audited),
        other=records.take(other),
        test=records.take(rest) if len(rest) else None,
        ids=tuple(f"digit-{i}" for i in audited),
        embedded=True,
        pictures=pictures,
    )
