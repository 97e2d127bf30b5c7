"""Checkpoints as safetensors: weights and text, nothing that could run. A pickle is refused, never opened."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from undertow.opening.blocks import NATIVE
from undertow.opening.safe_file import PICKLES, REFUSED, reading_safetensors
from undertow.storage.files import storage_errors, write_atomic
from undertow.types import BadInput, Params, StoreError

PLANTED = "undertow.planted"  # metadata of a checkpoint that Undertow poisoned itself: "true"
WRITER = "undertow.checkpoint"  # metadata of every checkpoint that Undertow wrote: the number of its layout
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def write_checkpoint(path: Path, params: Params, metadata: Mapping[str, str]) -> None:
    """Write `params` as one safetensors file, whole or not at all; a planted one carries PLANTED = "true".

    StoreError where `path` holds a file that Undertow did not write, or cannot be written; BadInput where a
    weight is not finite or not a number.
    """
    if path.suffix != ".safetensors":
        raise StoreError(f"{path}: a checkpoint's name ends in .safetensors")
    if path.exists() and not _is_ours(path):
        raise StoreError(f"{path} is there already and was not written by Undertow; choose another name")
    _check_finite(params, path)
    whole = {name: np.array(value, order="C") for name, value in params.items()}  # keeps the shape () as it is
    write_atomic(path, save(whole, metadata={**metadata, WRITER: "1"}))


def read_checkpoint(path: str | Path) -> tuple[Params, dict[str, str]]:
    """The weights and the metadata of a safetensors file, or of a folder with one (or with an index and shards).

    bfloat16 comes as float32, everything else as it is. Nothing else of a folder is read: no configuration, no
    code. BadInput in one line: a pickle (by name or content), a missing, torn or invalid file, a folder without
    safetensors, an index that points elsewhere, no weights at all, or a weight that is not finite.
    """
    path = Path(path)
    params, metadata = _read_folder(path) if path.is_dir() else _read_file(path)
    if not params:
        raise BadInput(f"{path}: the checkpoint holds no weights")
    _check_finite(params, path)
    return params, metadata


def _read_folder(folder: Path) -> tuple[Params, dict[str, str]]:
    if (folder / WHOLE).exists():
        return _read_file(folder / WHOLE)
    if (folder / INDEX).exists():
        return _read_shards(folder)
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return _read_file(files[0])
    if files:
        names = ", ".join(file.name for file in files[:3])
        raise BadInput(f"{folder}: {len(files)} safetensors files ({names}, ...) and no {INDEX}; name one file")
    pickles = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLES]
    if pickles:
        raise BadInput(f"{folder} holds no safetensors, only {pickles[0]}: {REFUSED}")
    raise BadInput(f"{folder} holds no safetensors file")


def _read_shards(folder: Path) -> tuple[Params, dict[str, str]]:
    """The tensors that the index names, each from the file it says; files of other folders are refused."""
    places = _weight_map(folder / INDEX)
    params: Params = {}
    metadata: dict[str, str] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or "\\" in shard or not shard.endswith(".safetensors"):
            raise BadInput(f"{folder / INDEX} points to {shard!r}; shards are safetensors files beside it")
        held, said = _read_file(folder / shard)
        metadata |= said
        wanted = [name for name, place in places.items() if place == shard]
        lost = [name for name in wanted if name not in held]
        if lost:
            raise BadInput(f"{folder / shard} lacks {lost[0]!r}, which {INDEX} says is there")
        params |= {name: held[name] for name in wanted}
    return params, metadata


def _weight_map(path: Path) -> dict[str, str]:
    try:
        places = json.loads(path.read_text(encoding="utf8"))["weight_map"]
        if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
            raise TypeError("weight_map is no table of file names")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{path} is not the index of a checkpoint: {_first_line(error)}") from error
    return places


def _read_file(path: Path) -> tuple[Params, dict[str, str]]:
    """The arrays of one file, in memory of their own and of the type they are stored in (bfloat16: float32)."""
    with reading_safetensors(path) as (found, said):
        for tensor in found.values():
            if tensor.dtype not in NATIVE and tensor.dtype != "BF16":
                kind = f"{tensor.name!r} has type {tensor.dtype}"
                raise BadInput(f"{path}: {kind}, which cannot be audited; save it as float32 or bfloat16")
        return {name: np.asarray(tensor.whole(), NATIVE.get(tensor.dtype)) for name, tensor in found.items()}, said


def _check_finite(params: Params, path: Path) -> None:
    for name, value in params.items():
        if np.asarray(value).dtype.kind not in "fiub":
            raise BadInput(f"{path}: {name!r} holds {np.asarray(value).dtype}, not numbers")
        if not np.isfinite(value).all():
            raise BadInput(f"{path}: {name!r} holds NaN or infinity; such a checkpoint cannot be audited")


def _is_ours(path: Path) -> bool:
    """Whether Undertow wrote the safetensors file at `path`; only its header is read."""
    with storage_errors(path):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            raw = file.read(min(length, path.stat().st_size))
    try:
        return WRITER in json.loads(raw)["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
