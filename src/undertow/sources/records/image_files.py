"""Image datasets in files: labels first, pixels only of the records that are asked for. Never a pickle."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from undertow.storage.files import read_npz
from undertow.types import Array, BadInput, MissingExtra

TESTS = ("test", "val", "valid", "validation")  # what a split that is not for training may be called


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of an image dataset; its pixels are read when they are asked for."""

    name: str  # "cifar100-train": its record 7 is called "cifar100-train-7"
    labels: Mapping[str, Array]  # column -> (N,) int
    read: Callable[[Array], Array]  # rows (n,) -> (n, H, W, C) uint8

    def __len__(self) -> int:
        return len(next(iter(self.labels.values())))


def sheets(folder: Path, columns: Mapping[str, str], size: int) -> dict[str, ImageSet]:
    """`train.webp` and `test.webp`, 100 images of 32 x 32 per row of a lossless sheet, and `labels.npz`.

    `columns` names the labels: {"label": "y"} reads y_train and y_test. Raises BadInput naming what is missing.
    """
    arrays = read_npz(folder / "labels.npz")
    found = {}
    for split in ("train", "test"):
        path = folder / f"{split}.webp"
        if not path.is_file():
            raise BadInput(f"{path} is missing: it holds the images that {folder / 'labels.npz'} labels")
        labels = {name: _labels(folder / "labels.npz", arrays, f"{key}_{split}") for name, key in columns.items()}
        found[split] = ImageSet(f"{folder.name}-{split}", labels, partial(_from_sheet, path, size))
    return found


def npz_images(path: Path, name: str, size: int) -> dict[str, ImageSet]:
    """An npz of uint8 images: x_train, y_train, x_test, y_test, or one set as x (N, H, W[, 3]) and y."""
    arrays = read_npz(path)
    found = {}
    for split, tail in (("train", "_train"), ("test", "_test"), ("train", "")):
        if "x" + tail in arrays:
            x = arrays["x" + tail]
            pixels = resized(x if x.ndim == 4 else x[..., None], size)
            labels = {"label": _labels(path, arrays, "y" + tail)}
            found[split] = ImageSet(f"{name}-{split}", labels, pixels.__getitem__)
    if "train" not in found:
        raise BadInput(f"{path}: neither x_train nor x is there; found: {', '.join(arrays) or 'nothing'}")
    return found


def parquet_images(
    files: Sequence[Path], name: str, columns: Sequence[str], channels: int, size: int
) -> dict[str, ImageSet]:
    """Parquet files as the Hugging Face hub keeps them: encoded images (bytes, or a struct with bytes) and labels.

    A file's split is its `split` column, else how its name begins (train-..., test-..., valid-...), else its folder.
    Raises BadInput naming file and column, MissingExtra without pyarrow.
    """
    parts: dict[str, list[tuple[Path, Array]]] = {"train": [], "test": []}
    labels: dict[str, list[dict[str, Array]]] = {"train": [], "test": []}
    for path in sorted(files):
        schema = _columns(path)
        table = _table(path, [*columns, *(["split"] if "split" in schema else [])])
        marks = table["split"].to_pylist() if "split" in schema else [_named_split(path)] * len(table)
        for split in parts:
            rows = np.flatnonzero([_split(mark) == split for mark in marks])
            parts[split].append((path, rows))
            labels[split].append({c: _whole(path, c, table[c].to_numpy())[rows] for c in columns})
    found = {}
    for split, some in labels.items():
        joined = {c: np.concatenate([part[c] for part in some]) for c in columns}
        if len(joined[columns[0]]):
            read = partial(_from_parquet, parts[split], channels, size)
            found[split] = ImageSet(f"{name}-{split}", joined, read)
    if "train" not in found:
        raise BadInput(f"{files[0].parent}: no training split there (files named train-*.parquet, or a column split)")
    return found


def resized(x: Array, size: int) -> Array:
    """Images (N, H, W, C) uint8 as (N, size, size, C): the centre square, averaged over boxes."""
    if x.dtype != np.uint8:
        raise BadInput(f"images hold {x.dtype}; they must be uint8")
    if x.shape[1:3] == (size, size):
        return x
    image = _pillow()
    return np.stack([_fit(image.fromarray(one.squeeze()), x.shape[3], size) for one in x])


def _labels(path: Path, arrays: Mapping[str, Array], key: str) -> Array:
    if key not in arrays:
        raise BadInput(f"{path}: key {key!r} is missing; found: {', '.join(arrays) or 'nothing'}")
    return _whole(path, key, arrays[key])


def _named_split(path: Path) -> str:
    begins = path.stem.split("-")[0]
    return begins if begins in ("train", *TESTS) else path.parent.name


def _split(mark: str) -> str:
    return "test" if mark in TESTS else mark


def _from_sheet(path: Path, size: int, rows: Array) -> Array:
    sheet = decoded(path)
    cells = sheet.reshape(sheet.shape[0] // 32, 32, -1, 32, 3)
    if len(rows) and int(rows.max()) >= cells.shape[0] * cells.shape[2]:
        raise BadInput(f"{path}: fewer images than labels; get the file again")
    return resized(cells[rows // cells.shape[2], :, rows % cells.shape[2]], size)


def decoded(path: Path) -> Array:
    """The pixels of one picture file, (H, W, 3) uint8."""
    try:
        with _pillow().open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read as a picture: {error}") from error


def _from_parquet(parts: Sequence[tuple[Path, Array]], channels: int, size: int, rows: Array) -> Array:
    offsets = np.cumsum([0, *(len(mine) for _, mine in parts)])
    pixels = np.zeros((len(rows), size, size, channels), np.uint8)
    for (path, mine), low, high in zip(parts, offsets[:-1], offsets[1:], strict=True):
        wanted = np.flatnonzero((low <= rows) & (rows < high))
        if len(wanted):
            pixels[wanted] = _decode(path, mine[rows[wanted] - low], channels, size)
    return pixels


def _decode(path: Path, rows: Array, channels: int, size: int) -> Array:
    """The images at these rows of one file, (n, size, size, channels)."""
    column, image = "img" if "img" in _columns(path) else "image", _pillow()
    cells = _table(path, [column])[column].take(rows).to_pylist()
    pixels = []
    for row, cell in zip(rows, cells, strict=True):
        raw = cell["bytes"] if isinstance(cell, dict) else cell
        try:
            pixels.append(_fit(image.open(io.BytesIO(raw)), channels, size))
        except (OSError, TypeError, ValueError) as error:
            raise BadInput(f"{path}: record {row} holds no readable image ({error})") from error
    return np.stack(pixels)


def _fit(picture: Any, channels: int, size: int) -> Array:
    from PIL import Image, ImageOps

    picture = picture.convert("RGB" if channels == 3 else "L")
    if picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BOX)
    return np.asarray(picture).reshape(size, size, channels)


def _table(path: Path, columns: Sequence[str]) -> Any:
    there = _columns(path)
    for column in columns:
        if column not in there:
            raise BadInput(f"{path}: column {column!r} is missing; found: {', '.join(there)}")
    with _parquet_errors(path):
        return _parquet().read_table(path, columns=list(columns))


def _columns(path: Path) -> list[str]:
    with _parquet_errors(path):
        return list(_parquet().read_schema(path).names)


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as parquet: {error}") from error


def _whole(path: Path, column: str, values: Array) -> Array:
    if values.dtype.kind not in "iu":
        raise BadInput(f"{path}: {column!r} holds {values.dtype}; it must be whole class numbers")
    return values.astype(np.int64)


@cache
def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    return pyarrow.parquet


@cache
def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    return Image
