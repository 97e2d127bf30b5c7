"""Where records come from: the embedded digits, a folder of npz files, or a pair of public datasets."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from undertow.audits.settings import DataSettings
from undertow.audits.supply import Supply, split, with_label_noise
from undertow.storage.data.pairs import load_pair
from undertow.storage.data.public import HUB
from undertow.storage.files import read_npz
from undertow.types import Array, BadInput, ConfigError, Examples, MissingExtra

FILES = {"pretrain": "pretrain.npz", "finetune": "finetune.npz", "test": "test.npz"}


def load_supply(audit: str, settings: DataSettings, seed: int) -> Supply:
    """The records of an audit, label noise applied; raises BadInput or ConfigError naming file and fix."""
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
        supply = folder(audit, Path(settings.source), settings, seed)
    if settings.label_noise:
        classes = int(supply.secret.y.max()) + 1
        supply = replace(supply, secret=with_label_noise(supply.secret, settings.label_noise, classes, seed))
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


def folder(audit: str, path: Path, settings: DataSettings, seed: int) -> Supply:
    """`pretrain.npz`, `finetune.npz` and optionally `test.npz` in a folder; each holds x (N, ...), y (N,).

    Inputs are standardised by the mean and deviation of the data that is not audited.
    """
    if not path.is_dir():
        raise BadInput(f"--data {path}: no such folder")
    parts = {stage: read_examples(path / name) for stage, name in FILES.items() if (path / name).is_file()}
    secret, other = ("pretrain", "finetune") if audit == "tmi" else ("finetune", "pretrain")
    needed = (secret, other) if audit == "tmi" else (secret,)
    for stage in needed:
        if stage not in parts:
            raise BadInput(
                f"--data {path}: {FILES[stage]} is missing; it holds x (N, ...) and y (N,) of the {stage} data"
            )
    ids = _ids(path / FILES[secret], len(parts[secret]))
    order = split(parts[secret], seed, settings.pool or len(parts[secret]), 0)[0]
    if not settings.pool:
        order = np.arange(len(parts[secret]))
    rest = parts.get(other)
    if rest is not None and settings.other:
        rest = rest.take(split(rest, seed + 1, settings.other, 0)[0])
    reference = (rest or parts[secret]).x
    scale = [_standardise(p, reference) for p in (parts[secret].take(order), rest, parts.get("test"))]
    if scale[0] is None:
        raise BadInput(f"--data {path}: {FILES[secret]} is empty")
    return Supply(
        name=path.name or str(path),
        secret=scale[0],
        other=scale[1],
        test=scale[2],
        ids=tuple(str(ids[i]) for i in order),
        pictures=_pictures(parts[secret].x[order]),
    )


def read_examples(path: Path) -> Examples:
    """x and y of one npz file (no pickled objects); BadInput naming the file and the key."""
    arrays = read_npz(path)
    for key in ("x", "y"):
        if key not in arrays:
            raise BadInput(f"{path}: key {key!r} is missing; found: {', '.join(arrays) or 'nothing'}")
    x, y = arrays["x"], arrays["y"]
    if x.dtype.kind not in "fiub":
        raise BadInput(f"{path}: x holds {x.dtype}; it must be numbers")
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / 255
    x = x.astype(np.float32)
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        raise BadInput(f"{path}: x holds {x[tuple(bad[0])]} at record {bad[0][0]}; remove or repair it")
    if y.dtype.kind not in "iu":
        raise BadInput(f"{path}: y holds {y.dtype}; it must be whole class numbers 0..K-1")
    return Examples(x, y.astype(np.int64), path.name)


def _pictures(x: Array) -> Array | None:
    """Images (N, H, W) or (N, C, H, W) as people see them, uint8 (N, H, W[, 3]); None where these are no images."""
    if x.ndim == 4 and x.shape[1] in (1, 3):
        x = x[:, 0] if x.shape[1] == 1 else x.transpose(0, 2, 3, 1)
    elif x.ndim != 3:
        return None
    low, high = float(x.min()), float(x.max())
    return ((x - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)


def _ids(path: Path, count: int) -> Array:
    ids = read_npz(path).get("id")
    if ids is None:
        return np.arange(count).astype(str)
    if ids.shape != (count,):
        raise BadInput(f"{path}: id has shape {ids.shape}; it must name each of the {count} records")
    return ids.astype(str)


def _standardise(part: Examples | None, reference: Array) -> Examples | None:
    if part is None:
        return None
    axes = {2: (0,), 4: (0, 2, 3)}.get(reference.ndim)  # per feature; per channel of (N, C, H, W); else over all
    mean, deviation = reference.mean(axes, keepdims=True), reference.std(axes, keepdims=True)
    return replace(part, x=((part.x - mean) / (deviation + 1e-3)).astype(np.float32))
