"""Reading and writing single files: whole or not at all, never a pickle, refusals in one clear line."""

import errno
import gzip
import io
import json
import os
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from undertow.types import Array, BadInput, ConfigError, StoreError


def write_atomic(path: Path, raw: bytes, mode: int = 0o644) -> None:
    """Write `raw` to `path` so that a reader sees the old file or the new one, never a part.

    Raises StoreError when the disk is full or the folder cannot be written; nothing half-written stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"disk full while writing {path}: free some space (or choose another --out) and run the same "
                "command again; everything finished so far is kept"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(f"cannot write {path}: the folder is read-only; choose another --out") from error
        raise StoreError(f"cannot write {path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """A whole file that is not empty; BadInput otherwise."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    if not raw:
        raise BadInput(f"{path} is empty")
    return raw


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an npz file; pickled objects are refused, never read."""
    try:
        raw = path.read_bytes()
        _check_npz(path, raw)
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise BadInput(f"{path} cannot be read as npz without unpickling: {error}") from error


def _check_npz(path: Path, raw: bytes) -> None:
    """BadInput that says what the file is, where it is surely no npz."""
    if raw.startswith(b"PK"):
        return
    if raw.startswith(b"\x93NUMPY"):
        raise BadInput(f"{path} is a single .npy array; write an .npz with named arrays: np.savez(path, x=..., y=...)")
    if not raw:
        raise BadInput(f"{path} is empty")
    kinds = {b"PAR1": "a parquet table", b"\x1f\x8b": "a gzip archive", b"\x80": "a pickle", b"\x89HDF": "an HDF5 file"}
    found = next((kind for start, kind in kinds.items() if raw.startswith(start)), "")
    if not found and b"\0" not in raw[:1024]:
        found = "text"
    if found:
        raise BadInput(f"{path} is no npz: it looks like {found}; write one with np.savez(path, x=..., y=...)")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError naming the file and the line."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf8"))
    except FileNotFoundError as error:
        raise ConfigError(f"--config {path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--config {path}: {error}") from error


def read_text(path: Path) -> str:
    """A UTF-8 text file, gzipped where its name ends in .gz; BadInput in one line where it cannot be read."""
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; BadInput naming it where it holds none."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} must hold one JSON object")
    return content
